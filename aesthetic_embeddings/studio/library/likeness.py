"""The part of the tab Library that shows how alike the aesthetics are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gradio as gr
import torch

from ...aesthetics.library import Library
from ...aesthetics.vectors import without
from ...ui.family_names import label
from .. import plots
from ..state import QUIET, Studio, elem_id

MAX_SHOWN = 60  # aesthetics: the table has the square of it


def build(studio: Studio, page: gr.Blocks) -> None:
    gr.Markdown("### How alike they are")
    family = gr.Radio(label="For", visible=False, elem_id=elem_id("family"))
    table = gr.HTML(elem_id=elem_id("map"))

    def update(family: str | None) -> list[Any]:
        studio.library.refresh()
        vectors = [studio.library.get(name).vectors for name in studio.library.names()]
        counts = Counter(family for each in vectors for family in each)
        families = sorted(counts, key=lambda each: (each not in studio.engine.families, -counts[each]))
        family = family if family in families else next(iter(families), None)
        names = [(label(each), each) for each in families]
        choice = gr.update(choices=names, value=family, visible=len(families) > 1)
        return [choice, likenesses(studio.library, family or "")]

    gr.on([page.load, studio.version.change, family.input], update, family, [family, table], **QUIET)


def likenesses(library: Library, family: str) -> str:
    """The cosine of each aesthetic with each, as a heat map in HTML: of what ordinary pictures do not have."""
    neutral = library.neutral.vectors.get(family) if library.neutral else None
    all_own = {
        e.name: without(e.vectors[family], neutral) for e in map(library.get, library.names()) if family in e.vectors
    }
    found = [(name, own) for name, own in all_own.items() if own is not None]
    if len(found) < 2:
        return "<p>Two or more aesthetics are compared here.</p>"
    shown = found[:MAX_SHOWN]
    rest = f"<p>The first {MAX_SHOWN} of {len(found)} are shown.</p>" if len(found) > MAX_SHOWN else ""
    kind = "" if neutral is None else "<p>Without what ordinary pictures share.</p>"
    return kind + plots.heat_map([name for name, _ in shown], torch.stack([own for _, own in shown])) + rest
