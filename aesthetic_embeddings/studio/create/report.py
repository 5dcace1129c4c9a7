"""The similarity of pictures, as HTML."""

from __future__ import annotations

from html import escape
from pathlib import Path

from ...aesthetics.creation import FOR_MANY_PICTURES
from ...ui.family_names import models
from .. import picture_html
from . import uploads
from .uploads import Pictures

MAX_SHOWN = 100  # pictures, and names of skipped files


def summary(pictures: Pictures) -> str:
    """The similarity of the pictures, the models that they are for, and the skipped files."""
    lines = []
    for creation in pictures.creations:
        similarities = creation.similarities
        encoder = f"By {escape(creation.embedding.encoder)}: " if len(pictures.creations) > 1 else ""
        if len(similarities) == 1:
            lines.append(f"{encoder}<b>One picture.</b> A few more make the taste clearer.")
        else:
            similarity = f"similarity to their mean <b>{similarities.mean():.2f} ± {similarities.std():.2f}</b>"
            lines.append(f"{encoder}<b>{len(similarities)} pictures</b>, {similarity}.")
    if len(pictures.creations[0].files) > 1:
        lines.append("1 means identical pictures; lower means that they have less in common.")
    lines.append(
        f"For {escape(models(family for creation in pictures.creations for family in creation.embedding.vectors))}."
    )
    return "".join(f"<div>{line}</div>" for line in [*lines, _skipped(pictures)] if line)


def _skipped(pictures: Pictures) -> str:
    skipped = dict([*pictures.refused, *pictures.creations[0].skipped])
    if not skipped:
        return ""
    items = [f"<li>{escape(Path(file).name)}: {escape(reason)}</li>" for file, reason in skipped.items()][:MAX_SHOWN]
    items += [f"<li>and {len(skipped) - MAX_SHOWN} more</li>"] if len(skipped) > MAX_SHOWN else []
    if any(reason.startswith(uploads.TOO_MANY) for _, reason in pictures.refused):
        items = [f"<li>{escape(FOR_MANY_PICTURES)}</li>", *items]
    open_attribute = " open" if len(skipped) <= 5 else ""
    return f"<details{open_attribute}><summary>Skipped: {len(skipped)}</summary><ul>{''.join(items)}</ul></details>"


def tiles(pictures: Pictures) -> str:
    """The pictures, least typical first. Each has a button that removes it."""
    first, outliers = pictures.creations[0], pictures.outliers()
    order = first.similarities.argsort().tolist()
    html = [
        picture_html.removable_tile(
            pictures.thumbnails[file],
            key=uploads.key(file),
            caption=f"{first.similarities[i]:.2f}",
            name=Path(file).name,
            is_outlier=file in outliers,
        )
        for i in order[:MAX_SHOWN]
        if (file := first.files[i]) in pictures.thumbnails
    ]
    remaining = len(order) - MAX_SHOWN
    return picture_html.grid(html) + (f"<p>And {remaining} that are more typical.</p>" if remaining > 0 else "")
