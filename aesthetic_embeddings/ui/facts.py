"""The facts of an embedding, as an HTML table."""

from __future__ import annotations

from html import escape

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.library import Entry, Library
from ..errors import FileError
from .family_names import models


def facts(library: Library, entry: Entry, *, show_path: bool) -> str:
    """The metadata in the file of `entry`, and the nearest embeddings. show_path: include the file's path.

    Raises FileError if the file is unreadable.
    """
    e = entry.embedding
    if e is None:
        raise FileError(entry.fault)
    rows = {
        "For": escape(models(e.vectors)),
        "Families": f"<code>{escape(', '.join(e.vectors))}</code>",
        "Pictures": str(e.images or "unknown"),
        "Created": escape(e.created.replace("T", " ").replace("+00:00", " UTC") or "unknown"),
        "Encoder": escape(e.encoder or "unknown"),
        "Notes": escape(e.notes),
        "Hash": f"<code>{e.content_hash[:10]}</code>",
        "File": f"<code>{escape(str(entry.path))}</code>" if show_path else "",
        "Same as": escape(entry.duplicate_of),
    }
    table = "".join(f"<tr><th scope='row'>{key}</th><td>{value}</td></tr>" for key, value in rows.items() if value)
    return f"<table class='aesthetic-facts'>{table}</table>" + nearest(library, e)


def nearest(library: Library, e: AestheticEmbedding) -> str:
    """The most similar embeddings: a line for each CLIP family, as HTML."""
    return "".join(f"<div>{escape(line)}</div>" for line in library.nearest_in_words(e))
