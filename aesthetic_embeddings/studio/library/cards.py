"""The aesthetics of a library as cards, and the facts of one, as HTML."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from ...aesthetics.library import Entry, Library
from ...errors import AestheticError
from ...ui.facts import facts as embedding_facts
from ...ui.family_names import label
from ...ui.messages import error
from .. import picture_html
from ..state import Studio


def cards(studio: Studio, chosen: str) -> str:
    """A card for each file. Those for other models come last. chosen: the name of the card that is marked."""
    entries = studio.library.entries  # a copy: another page may refresh the library meanwhile
    groups: dict[bool, list[str]] = {True: [], False: []}
    for entry in sorted(entries, key=lambda entry: entry.name.casefold()):
        supported = entry.embedding is not None and not entry.fault and studio.engine.supports(entry.embedding)
        groups[supported].append(_card(studio, entries, entry, chosen))
    if not entries:
        return "<p>There is no aesthetic yet. Make one under Create, or import files.</p>"
    other_models = f"<h4>For other models</h4><div class='dimmed'>{picture_html.grid(groups[False])}</div>"
    return picture_html.grid(groups[True]) + (other_models if groups[False] else "")


def facts(library: Library, entry: Entry) -> str:
    unreadable = entry.embedding is None or bool(entry.fault)
    html = error(entry.fault) if unreadable else embedding_facts(library, entry, show_path=False)
    return f"<h3>{escape(entry.name)}</h3>{html}"


def find(entries: Sequence[Entry], name: str) -> Entry | None:
    """The entry that a name refers to. A readable file takes precedence."""
    candidates = [entry for entry in entries if entry.name == name]
    return next((entry for entry in candidates if entry.embedding and not entry.fault), next(iter(candidates), None))


def _card(studio: Studio, entries: Sequence[Entry], entry: Entry, chosen: str) -> str:
    e, reachable = entry.embedding, find(entries, entry.name) is entry
    if e is None or entry.fault:
        lines = ["unreadable" if reachable else "hidden: another file has this name"]
    else:
        count = f"{e.images} picture{'s' * (e.images != 1)}" if e.images else ""
        lines = [line for line in (count, ", ".join(map(label, e.vectors)), e.created[:10]) if line]
        lines += [f"the same as {entry.duplicate_of}"] if entry.duplicate_of else []
    return picture_html.card(
        _preview(studio.library, entry) if reachable else None,
        name=entry.name,
        lines=lines,
        chosen=chosen == entry.name and reachable,
        unreadable=bool(entry.fault),
        enabled=reachable,
        hue=int(e.content_hash[:2], 16) if e else 0,
    )


def _preview(library: Library, entry: Entry) -> bytes | None:
    with suppress(OSError, AestheticError):
        path = library.preview(entry.name)
        return _thumbnail(path, path.stat().st_mtime_ns) if path else None
    return None


@functools.lru_cache(maxsize=512)
def _thumbnail(path: Path, _modified: int) -> bytes | None:
    """A thumbnail, cached until the file changes."""
    with suppress(Exception):  # Pillow raises many kinds of errors for damaged files
        return picture_html.thumbnail(path)
    return None
