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
    """A card for each file; those that do not suit the model come last. chosen: the name of the one that is marked."""
    entries = studio.library.entries  # another page may refresh the library at any time
    groups: dict[bool, list[str]] = {True: [], False: []}
    for entry in sorted(entries, key=lambda entry: entry.name.casefold()):
        suits = entry.embedding is not None and not entry.fault and studio.engine.supports(entry.embedding)
        groups[suits].append(_card(studio, entries, entry, chosen))
    if not entries:
        return "<p>There is no aesthetic yet. Make one under Create, or import files.</p>"
    others = f"<h4>For other models</h4><div class='dimmed'>{picture_html.grid(groups[False])}</div>"
    return picture_html.grid(groups[True]) + (others if groups[False] else "")


def facts(library: Library, entry: Entry) -> str:
    unusable = entry.embedding is None or bool(entry.fault)
    about = error(entry.fault) if unusable else embedding_facts(library, entry, show_path=False)
    return f"<h3>{escape(entry.name)}</h3>{about}"


def find(entries: Sequence[Entry], name: str) -> Entry | None:
    """The file that a name leads to."""
    same = [entry for entry in entries if entry.name == name]
    return next((entry for entry in same if entry.embedding and not entry.fault), next(iter(same), None))


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
        faulty=bool(entry.fault),
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
    """Kept while the file stays as it is."""
    with suppress(Exception):  # Pillow's readers raise whatever a damaged file leads them to
        return picture_html.thumbnail(path)
    return None
