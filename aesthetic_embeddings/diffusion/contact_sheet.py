"""Arranges pictures in a grid, as one image."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont


def sheet(
    rows: Sequence[Sequence[Image.Image]],
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    cell: int = 256,
) -> Image.Image:
    """Pictures in a grid, each scaled to fit `cell` x `cell` pixels.

    columns: titles above the columns. labels: texts left of the rows.
    """
    gap, font = 8, _font(max(14, cell // 14))
    top = 2 * font.size + gap if columns else gap
    left = cell * 3 // 4 if labels else gap
    width = left + max(len(row) for row in rows) * (cell + gap)
    page = Image.new("RGB", (width, top + len(rows) * (cell + gap)), "white")
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(columns):
        draw.text((left + column * (cell + gap) + cell / 2, top / 2), title, "black", font, anchor="mm", align="center")
    for row_index, row in enumerate(rows):
        y = top + row_index * (cell + gap)
        if labels:
            text = textwrap.fill(labels[row_index], math.floor(left / (font.size * 0.6)))
            draw.multiline_text((gap, y + cell / 2), text, "black", font, anchor="lm")
        for column, image in enumerate(row):
            scale = cell / max(image.size)
            fitted = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
            x = left + column * (cell + gap)
            page.paste(fitted, (x + (cell - fitted.width) // 2, y + (cell - fitted.height) // 2))
    return page


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
