"""The part of the tab Library that shows how similar the aesthetics are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gradio as gr
import torch

from ...aesthetics.embedding import common_families
from ...aesthetics.library import Library
from ...aesthetics.vectors import without
from ...ui.family_names import label
from .. import plots
from ..state import INTERNAL_EVENT, Studio, elem_id

MAX_SHOWN = 60  # aesthetics; the table has the square of this


def build(studio: Studio, page: gr.Blocks) -> None:
    gr.Markdown("### How alike they are")
    family = gr.Radio(label="For", visible=False, elem_id=elem_id("family"))
    table = gr.HTML(elem_id=elem_id("map"))

    def update(family: str | None) -> list[Any]:
        studio.library.refresh()
        vectors = [studio.library.get(name).vectors for name in studio.library.names()]
        counts = Counter(family for by_family in vectors for family in by_family)
        families = sorted(counts, key=lambda name: (name not in studio.engine.families, -counts[name]))
        family = family if family in families else next(iter(families), None)
        names = [(label(name), name) for name in families]
        choice = gr.update(choices=names, value=family, visible=len(families) > 1)
        return [choice, similarity_map(studio.library, family or "")]

    gr.on([page.load, studio.version.change, family.input], update, family, [family, table], **INTERNAL_EVENT)


def similarity_map(library: Library, family: str) -> str:
    """The cosines between all aesthetics, as a heat map in HTML. What ordinary pictures share is removed first."""
    having = [e for e in map(library.get, library.names()) if family in e.vectors]
    alike = [e for e in having if family in common_families([having[0], e])]
    neutral = library.neutral.vectors.get(family) if library.neutral else None
    if neutral is not None and alike and neutral.shape != alike[0].vectors[family].shape:
        neutral = None
    own_by_name = {e.name: without(e.vectors[family], neutral) for e in alike}
    comparable = [(name, own) for name, own in own_by_name.items() if own is not None]
    if len(comparable) < 2:
        return "<p>Two or more aesthetics are compared here.</p>"
    shown = comparable[:MAX_SHOWN]
    truncated = f"<p>The first {MAX_SHOWN} of {len(comparable)} are shown.</p>" if len(comparable) > MAX_SHOWN else ""
    note = "" if neutral is None else "<p>Without what ordinary pictures share.</p>"
    return note + plots.heat_map([name for name, _ in shown], torch.stack([own for _, own in shown])) + truncated
