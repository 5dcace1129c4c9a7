"""How alike pictures are, as HTML."""

from __future__ import annotations

from html import escape
from pathlib import Path

from ...ui.family_names import models
from .. import picture_html
from . import uploads
from .uploads import Pictures

MAX_SHOWN = 100  # pictures, and names of skipped files


def summary(pictures: Pictures) -> str:
    """How alike the pictures are, which models they are for, and what was skipped."""
    lines = []
    for creation in pictures.creations:
        x = creation.similarities
        encoder = f"By {escape(creation.embedding.encoder)}: " if len(pictures.creations) > 1 else ""
        if len(x) == 1:
            lines.append(f"{encoder}<b>One picture.</b> A few more make the taste clearer.")
        else:
            spread = f"similarity to their mean <b>{x.mean():.2f} ± {x.std():.2f}</b>"
            lines.append(f"{encoder}<b>{len(x)} pictures</b>, {spread}.")
    if len(pictures.creations[0].files) > 1:
        lines.append("1 means identical pictures; lower means that they have less in common.")
    lines.append(f"For {escape(models(family for each in pictures.creations for family in each.embedding.vectors))}.")
    return "".join(f"<div>{line}</div>" for line in [*lines, _skipped(pictures)] if line)


def _skipped(pictures: Pictures) -> str:
    skipped = dict([*pictures.refused, *pictures.creations[0].skipped])
    if not skipped:
        return ""
    items = [f"<li>{escape(Path(file).name)}: {escape(reason)}</li>" for file, reason in skipped.items()][:MAX_SHOWN]
    items += [f"<li>and {len(skipped) - MAX_SHOWN} more</li>"] if len(skipped) > MAX_SHOWN else []
    opened = " open" if len(skipped) <= 5 else ""
    return f"<details{opened}><summary>Skipped: {len(skipped)}</summary><ul>{''.join(items)}</ul></details>"


def tiles(pictures: Pictures) -> str:
    """The pictures, each with a button that removes it; the least typical first."""
    first, odd = pictures.creations[0], pictures.outliers()
    order = first.similarities.argsort().tolist()
    shown = [
        picture_html.removable(
            pictures.thumbnails[file],
            key=uploads.key(file),
            caption=f"{first.similarities[i]:.2f}",
            name=Path(file).name,
            odd=file in odd,
        )
        for i in order[:MAX_SHOWN]
        if (file := first.files[i]) in pictures.thumbnails
    ]
    rest = len(order) - MAX_SHOWN
    return picture_html.grid(shown) + (f"<p>And {rest} that are more typical.</p>" if rest > 0 else "")
