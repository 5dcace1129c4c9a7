"""A drawing pen in the unit square, in the colors of a palette."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from .palettes import Color, Palette, mix, toned


class Pen:
    """Draws in the unit square (y down), in a frame that can be moved and scaled, in the colors of a palette."""

    def __init__(self, image: Image.Image, palette: Palette) -> None:
        self.image, self.palette = image, palette
        self.draw = ImageDraw.Draw(image)
        self.x, self.y, self.scale, self.mirror = 0.0, 0.0, float(image.width), 1

    def frame(self, x: float, y: float, height: float, mirror: bool = False) -> None:
        """Set the frame: (0, 0) becomes the subject's foot at (x, y), and y = -1 its top."""
        w = self.image.width
        self.x, self.y, self.scale, self.mirror = x * w, y * w, height * w, -1 if mirror else 1

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.x + self.mirror * x * self.scale, self.y + y * self.scale

    def ink(self, color: Color) -> tuple[int, ...]:
        return tuple(int(min(255, max(0, v))) for v in toned(color, self.palette))

    def poly(self, points: list[tuple[float, float]], color: Color) -> None:
        self.draw.polygon([self.at(*p) for p in points], fill=self.ink(color))

    def rect(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)

    def disc(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        cx, cy = self.at(x, y)
        rx, ry = rx * self.scale, ry * self.scale
        self.draw.ellipse([cx - rx, cy - ry, cx + rx, cy + ry], fill=self.ink(color))

    def line(self, points: list[tuple[float, float]], width: float, color: Color) -> None:
        pixels = max(1, round(width * self.scale))
        self.draw.line([self.at(*p) for p in points], fill=self.ink(color), width=pixels, joint="curve")

    def block(self, x0: float, y0: float, x1: float, y1: float, color: Color, shade: float = 0.28) -> None:
        """A rectangle lit from the left."""
        self.rect(x0, y0, x1, y1, color)
        self.rect(x0 + 0.62 * (x1 - x0), y0, x1, y1, dim(color, shade))


def dim(c: Color, t: float) -> Color:
    return mix(c, (26, 28, 48), t)


def lit(c: Color, t: float) -> Color:
    return mix(c, (255, 252, 240), t)


def vary(rng: random.Random, c: Color, spread: float = 18) -> Color:
    return tuple(v + rng.uniform(-spread, spread) for v in c)  # type: ignore[return-value]
