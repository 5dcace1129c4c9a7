"""The pocket world: small pictures with captions, drawn by code.

Twelve subjects stand in four settings, either plain, in one of four aesthetics, or graded as a photograph might be. An aesthetic is the
palette, light and texture of the whole picture, so that it can be learnt apart from what the picture shows. Everything follows from a
seed; `draw` works at three times the size and reduces, which is all the smoothing that the lines need.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .words import GRADINGS, PLAIN, SETTINGS, STYLES, SUBJECTS

Colour = tuple[float, float, float]
SIZE = 64
OVERSAMPLING = 3


@dataclass(frozen=True)
class Scene:
    """What a picture shows and how; `seed` decides placement, size, weather and every small variation."""

    subject: str
    setting: str
    style: str = PLAIN
    grading: tuple[tuple[str, float], ...] = ()
    seed: int = 0


def random_scene(seed: int, plain: float = 0.42, graded: float = 0.14) -> Scene:
    """A scene for training: the shares of plain and graded pictures are given, the aesthetics share the rest."""
    rng = random.Random(f"scene {seed}")
    subject, setting, kind = rng.choice(SUBJECTS), rng.choice(SETTINGS), rng.random()
    if kind < plain:
        return Scene(subject, setting, seed=seed)
    if kind < plain + graded:
        names = rng.sample(list(GRADINGS), rng.choice((1, 1, 2)))
        return Scene(subject, setting, grading=tuple((name, rng.uniform(0.35, 1.0)) for name in names), seed=seed)
    return Scene(subject, setting, rng.choice(STYLES[1:]), seed=seed)


# --- palettes -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Palette:
    """Colours of one style. `tones` (dark, middle, light) recolour every material by its brightness, as far as `tinting` says."""

    skies: tuple[tuple[Colour, Colour, Colour], ...]  # top, middle, horizon
    grounds: dict[str, tuple[Colour, Colour]]  # setting -> (far, near)
    hills: Colour
    light: Colour
    cloud: Colour
    tones: tuple[Colour, Colour, Colour]
    tinting: float


PALETTES = {
    "plain": Palette(
        skies=(
            ((64, 140, 222), (122, 184, 240), (206, 230, 248)),
            ((84, 158, 226), (150, 202, 242), (232, 240, 244)),
            ((50, 122, 206), (110, 176, 236), (190, 224, 248)),
        ),
        grounds={
            "sea": ((70, 148, 204), (22, 84, 150)),
            "snow": ((226, 236, 246), (246, 249, 253)),
            "meadow": ((132, 188, 84), (70, 144, 56)),
            "desert": ((240, 208, 142), (216, 166, 96)),
        },
        hills=(136, 166, 190),
        light=(255, 244, 196),
        cloud=(255, 255, 255),
        tones=((40, 44, 60), (128, 128, 128), (255, 255, 255)),
        tinting=0.0,
    ),
    "aivazovsky": Palette(
        skies=(
            ((58, 112, 106), (190, 170, 104), (244, 200, 116)),
            ((44, 92, 92), (150, 148, 96), (238, 180, 92)),
            ((86, 128, 112), (214, 174, 98), (248, 208, 126)),
        ),
        grounds={
            "sea": ((170, 176, 108), (10, 86, 78)),
            "snow": ((244, 224, 170), (150, 184, 160)),
            "meadow": ((172, 160, 84), (46, 84, 52)),
            "desert": ((240, 200, 122), (134, 100, 56)),
        },
        hills=(178, 156, 104),
        light=(255, 240, 180),
        cloud=(246, 214, 150),
        tones=((14, 34, 32), (112, 78, 44), (255, 232, 172)),
        tinting=0.64,
    ),
    "cloudcore": Palette(
        skies=(
            ((160, 196, 246), (208, 204, 248), (255, 216, 232)),
            ((190, 180, 246), (238, 200, 240), (255, 228, 220)),
            ((176, 216, 250), (222, 222, 252), (255, 210, 236)),
        ),
        grounds={
            "sea": ((214, 206, 246), (150, 188, 240)),
            "snow": ((252, 236, 246), (244, 244, 255)),
            "meadow": ((206, 232, 208), (170, 214, 196)),
            "desert": ((255, 226, 210), (248, 200, 204)),
        },
        hills=(214, 196, 238),
        light=(255, 250, 232),
        cloud=(255, 248, 252),
        tones=((112, 92, 172), (222, 150, 200), (255, 244, 250)),
        tinting=0.6,
    ),
    "gloomcore": Palette(
        skies=(
            ((30, 33, 40), (70, 75, 82), (116, 121, 126)),
            ((22, 25, 29), (56, 60, 66), (98, 102, 106)),
            ((36, 38, 46), (76, 79, 88), (124, 127, 130)),
        ),
        grounds={
            "sea": ((64, 70, 74), (18, 22, 26)),
            "snow": ((112, 116, 120), (70, 73, 78)),
            "meadow": ((56, 62, 52), (22, 27, 22)),
            "desert": ((84, 80, 72), (36, 33, 30)),
        },
        hills=(60, 64, 70),
        light=(206, 210, 206),
        cloud=(84, 88, 94),
        tones=((4, 5, 7), (62, 65, 70), (186, 190, 190)),
        tinting=0.86,
    ),
    "glowwave": Palette(
        skies=(
            ((22, 8, 58), (112, 20, 128), (255, 70, 156)),
            ((10, 10, 54), (70, 22, 140), (232, 52, 190)),
            ((30, 6, 66), (140, 24, 128), (255, 112, 132)),
        ),
        grounds={
            "sea": ((150, 30, 160), (10, 22, 80)),
            "snow": ((120, 70, 190), (50, 40, 130)),
            "meadow": ((60, 20, 110), (10, 50, 80)),
            "desert": ((150, 26, 120), (50, 10, 70)),
        },
        hills=(66, 14, 104),
        light=(255, 226, 120),
        cloud=(214, 60, 190),
        tones=((18, 6, 48), (196, 26, 176), (90, 240, 255)),
        tinting=0.8,
    ),
}


def mix(a: Colour, b: Colour, t: float) -> Colour:
    return tuple(x + (y - x) * t for x, y in zip(a, b))  # type: ignore[return-value]


def brightness(c: Colour) -> float:
    return (0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]) / 255


def toned(c: Colour, palette: Palette) -> Colour:
    """A material's colour as it looks in this palette."""
    dark, middle, light = palette.tones
    t = brightness(c)
    tone = mix(dark, middle, 2 * t) if t < 0.5 else mix(middle, light, 2 * t - 1)
    return mix(c, tone, palette.tinting)


# --- drawing --------------------------------------------------------------------------------------------------------------------------


class Pen:
    """Draws in the unit square (y down), in a frame that can be moved and scaled, in the colours of a palette."""

    def __init__(self, image: Image.Image, palette: Palette) -> None:
        self.image, self.palette = image, palette
        self.draw = ImageDraw.Draw(image)
        self.x, self.y, self.scale, self.mirror, self.lean = 0.0, 0.0, float(image.width), 1, 0.0

    def frame(self, x: float, y: float, height: float, mirror: bool = False, lean: float = 0.0) -> None:
        """From now on (0, 0) is the subject's foot at (x, y), and y = -1 its top."""
        w = self.image.width
        self.x, self.y, self.scale, self.mirror, self.lean = x * w, y * w, height * w, -1 if mirror else 1, lean

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.x + self.mirror * (x - self.lean * y) * self.scale, self.y + y * self.scale

    def ink(self, colour: Colour) -> tuple[int, ...]:
        return tuple(int(min(255, max(0, v))) for v in toned(colour, self.palette))

    def poly(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self.draw.polygon([self.at(*p) for p in points], fill=self.ink(colour))

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        cx, cy = self.at(x, y)
        rx, ry = rx * self.scale, ry * self.scale
        self.draw.ellipse([cx - rx, cy - ry, cx + rx, cy + ry], fill=self.ink(colour))

    def line(self, points: list[tuple[float, float]], width: float, colour: Colour) -> None:
        pixels = max(1, round(width * self.scale))
        self.draw.line([self.at(*p) for p in points], fill=self.ink(colour), width=pixels, joint="curve")

    def block(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, shade: float = 0.28) -> None:
        """A rectangle lit from the left."""
        self.rect(x0, y0, x1, y1, colour)
        self.rect(x0 + 0.62 * (x1 - x0), y0, x1, y1, dim(colour, shade))


def dim(c: Colour, t: float) -> Colour:
    return mix(c, (26, 28, 48), t)


def lit(c: Colour, t: float) -> Colour:
    return mix(c, (255, 252, 240), t)


def vary(rng: random.Random, c: Colour, spread: float = 18) -> Colour:
    return tuple(v + rng.uniform(-spread, spread) for v in c)  # type: ignore[return-value]


WINDOW: Colour = (255, 222, 120)


def ship(pen: Pen, rng: random.Random) -> None:
    hull, sail = vary(rng, (122, 70, 40)), vary(rng, (250, 244, 226), 8)
    if rng.random() < 0.25:
        sail = vary(rng, (214, 84, 66))
    masts = [(-0.2, 0.78), (0.08, 0.97), (0.32, 0.7)] if rng.random() < 0.65 else [(-0.12, 0.84), (0.2, 0.96)]
    pen.line([(-0.62, -0.36), (-0.3, -0.2)], 0.025, dim(hull, 0.3))
    for x, top in masts:
        pen.line([(x, -0.15), (x, -top)], 0.028, dim(hull, 0.35))
        bottom, rows = -0.24, 2 if top < 0.8 else 3
        for row in range(rows):
            y0 = bottom + (bottom + top) * -row / rows
            y1 = bottom + (bottom + top) * -(row + 0.86) / rows
            w0, w1, belly = 0.15 - 0.02 * row, 0.115 - 0.02 * row, 0.045
            pen.poly([(x - w0, y0), (x - w1, y1), (x + w1, y1), (x + w0 + belly, (y0 + y1) / 2), (x + w0, y0)], sail)
            pen.poly([(x + 0.3 * w0, y0), (x + 0.3 * w1, y1), (x + w1, y1), (x + w0 + belly, (y0 + y1) / 2), (x + w0, y0)], dim(sail, 0.18))
    pen.poly([(-0.6, -0.36), (-0.3, -0.26), (-0.18, -0.96 * masts[0][1])], dim(sail, 0.08))
    pen.poly([(masts[-2][0], -masts[-2][1]), (masts[-2][0] + 0.16, -masts[-2][1] - 0.03), (masts[-2][0], -masts[-2][1] - 0.07)], (206, 52, 50))
    pen.poly([(-0.46, -0.24), (0.4, -0.2), (0.54, -0.32), (0.44, 0.0), (-0.32, 0.0)], hull)
    pen.poly([(-0.4, -0.11), (0.47, -0.11), (0.44, 0.0), (-0.32, 0.0)], dim(hull, 0.4))
    pen.line([(-0.42, -0.17), (0.47, -0.17)], 0.025, lit(hull, 0.45))


def tree(pen: Pen, rng: random.Random) -> None:
    bark, leaf = vary(rng, (106, 72, 44), 12), vary(rng, (62, 140, 54), 22)
    if rng.random() < 0.25:
        leaf = vary(rng, (214, 128, 44))
    pen.poly([(-0.1, 0), (-0.045, -0.42), (0.045, -0.42), (0.1, 0)], bark)
    pen.poly([(0.02, 0), (0.012, -0.42), (0.045, -0.42), (0.1, 0)], dim(bark, 0.35))
    pen.line([(0, -0.3), (0.17, -0.5)], 0.035, bark)
    pen.line([(0, -0.26), (-0.16, -0.46)], 0.035, bark)
    puffs = [(rng.uniform(-0.27, 0.27), -rng.uniform(0.48, 0.84), rng.uniform(0.13, 0.19)) for _ in range(9)] + [(0, -0.68, 0.25)]
    for depth, shade in ((0.03, 0.42), (0.0, 0.16)):
        for x, y, r in puffs:
            pen.disc(x + depth, y + depth, r, r * 0.92, dim(leaf, shade))
    for x, y, r in puffs[:7]:
        pen.disc(x - 0.04, y - 0.05, r * 0.58, r * 0.5, lit(leaf, 0.2))


def castle(pen: Pen, rng: random.Random) -> None:
    stone, roof = vary(rng, (184, 172, 158), 14), vary(rng, rng.choice([(168, 62, 58), (70, 88, 150), (96, 70, 120)]), 12)

    def tower(x: float, w: float, top: float) -> None:
        pen.block(x - w, -top, x + w, 0, stone)
        pen.block(x - 1.22 * w, -top - 0.05, x + 1.22 * w, -top + 0.02, lit(stone, 0.12))
        pen.poly([(x - 1.3 * w, -top - 0.05), (x, -top - 0.05 - 2.6 * w), (x + 1.3 * w, -top - 0.05)], roof)
        pen.poly([(x + 0.2 * w, -top - 0.05), (x, -top - 0.05 - 2.6 * w), (x + 1.3 * w, -top - 0.05)], dim(roof, 0.35))
        pen.rect(x - 0.24 * w, -top + 0.08, x + 0.24 * w, -top + 0.17, WINDOW)

    tower(0.0, 0.13, rng.uniform(0.52, 0.6))
    pen.block(-0.42, -0.34, 0.42, 0, stone, 0.15)
    for i in range(6):
        x = -0.42 + i * 0.15
        pen.rect(x, -0.4, x + 0.08, -0.33, stone)
    tower(-0.42, 0.105, rng.uniform(0.42, 0.52))
    tower(0.42, 0.105, rng.uniform(0.42, 0.52))
    pen.disc(0, -0.15, 0.085, 0.09, dim(stone, 0.75))
    pen.rect(-0.085, -0.15, 0.085, 0, dim(stone, 0.75))
    for x in (-0.22, 0.22):
        pen.rect(x - 0.03, -0.24, x + 0.03, -0.15, WINDOW)


def pyramid(pen: Pen, rng: random.Random) -> None:
    stone = vary(rng, (226, 186, 118), 14)

    def one(x: float, w: float, h: float, shade: float) -> None:
        edge = x + 0.22 * w
        pen.poly([(x - w, 0), (x, -h), (edge, 0.02)], dim(stone, shade))
        pen.poly([(edge, 0.02), (x, -h), (x + w, 0)], dim(stone, shade + 0.42))
        for k in range(1, 7):
            t = k / 7
            pen.line([(x - w * (1 - t), -h * t), (x + (edge - x) * (1 - t), -h * t + 0.02 * (1 - t))], 0.008, dim(stone, shade + 0.18))

    if rng.random() < 0.7:
        one(rng.choice((-0.55, 0.52)), 0.38, 0.46, 0.2)
    one(0.0, 0.68, 0.82, 0.0)


def mountain(pen: Pen, rng: random.Random) -> None:
    rock = vary(rng, (118, 116, 130), 14)

    def peak(x: float, w: float, h: float, shade: float) -> None:
        jag = [rng.uniform(-0.03, 0.03) for _ in range(6)]
        left = [(x - w, 0.0), (x - 0.62 * w, -0.36 * h + jag[0]), (x - 0.3 * w, -0.7 * h + jag[1])]
        right = [(x + 0.26 * w, -0.74 * h + jag[2]), (x + 0.6 * w, -0.4 * h + jag[3]), (x + w, 0.0)]
        pen.poly([*left, (x, -h), *right], dim(rock, shade))
        pen.poly([(x, -h), *right, (x + 0.2 * w, 0), (x - 0.02 * w, -0.3 * h), (x + 0.1 * w, -0.55 * h)], dim(rock, shade + 0.34))
        snow = (246, 250, 255)
        pen.poly([left[2], (x, -h), right[0], (x + 0.16 * w, -0.62 * h), (x + 0.06 * w, -0.72 * h), (x - 0.08 * w, -0.56 * h), (x - 0.17 * w, -0.66 * h)], dim(snow, shade * 0.6))
        pen.poly([(x, -h), right[0], (x + 0.16 * w, -0.62 * h), (x + 0.05 * w, -0.74 * h)], dim(snow, 0.28 + shade * 0.6))

    peak(-0.48 + rng.uniform(-0.06, 0.06), 0.5, rng.uniform(0.5, 0.66), 0.22)
    peak(0.5 + rng.uniform(-0.06, 0.06), 0.48, rng.uniform(0.46, 0.62), 0.18)
    peak(rng.uniform(-0.08, 0.08), 0.6, 0.95, 0.0)


def city(pen: Pen, rng: random.Random) -> None:
    tints = [(112, 126, 150), (146, 150, 160), (92, 108, 138), (168, 142, 126), (124, 146, 158)]
    for row, (shade, low, high, step) in enumerate(((0.06, 0.45, 0.98, 0.17), (0.28, 0.22, 0.6, 0.19))):
        x = -0.78 + rng.uniform(0, 0.06)
        while x < 0.66:
            w = step * rng.uniform(0.75, 1.1)
            h = rng.uniform(low, high) * (1 - 0.45 * abs(x + w / 2) / 0.8)
            colour = dim(vary(rng, rng.choice(tints), 10), shade)
            pen.block(x, -h, x + w, 0, colour, 0.24)
            if row == 0 and rng.random() < 0.35:
                pen.line([(x + w / 2, -h), (x + w / 2, -h - 0.1)], 0.018, colour)
            rows, columns = int(h / 0.1), 2
            for i in range(rows):
                for j in range(columns):
                    if rng.random() < 0.6:
                        wx, wy = x + w * (0.18 + 0.36 * j), -h + 0.04 + 0.1 * i
                        pen.rect(wx, wy, wx + w * 0.24, wy + 0.048, WINDOW)
            x += w + 0.01


def lighthouse(pen: Pen, rng: random.Random) -> None:
    band, white = vary(rng, rng.choice([(208, 52, 48), (208, 52, 48), (48, 84, 150)]), 12), (246, 244, 238)

    def width(y: float) -> float:
        return 0.085 + 0.055 * (1 + y)

    edges = [0.0, -0.15, -0.3, -0.45, -0.6, -0.74]
    for i, (y0, y1) in enumerate(zip(edges, edges[1:])):
        colour = white if i % 2 else band
        pen.poly([(-width(y0), y0), (-width(y1), y1), (width(y1), y1), (width(y0), y0)], colour)
        pen.poly([(0.25 * width(y0), y0), (0.25 * width(y1), y1), (width(y1), y1), (width(y0), y0)], dim(colour, 0.3))
    pen.rect(-0.14, -0.77, 0.14, -0.735, (62, 62, 74))
    pen.rect(-0.075, -0.87, 0.075, -0.77, WINDOW)
    for x in (-0.075, 0.0, 0.075):
        pen.line([(x, -0.87), (x, -0.77)], 0.014, (62, 62, 74))
    pen.poly([(-0.11, -0.87), (0, -0.99), (0.11, -0.87)], dim(band, 0.15))
    pen.block(0.1, -0.16, 0.38, 0, white)
    pen.poly([(0.07, -0.16), (0.24, -0.27), (0.41, -0.16)], dim(band, 0.15))
    pen.rect(-0.035, -0.11, 0.035, 0, (74, 52, 44))


def flowers(pen: Pen, rng: random.Random) -> None:
    vase = vary(rng, rng.choice([(66, 118, 182), (196, 108, 74), (92, 160, 146), (232, 226, 214)]), 12)
    petals = [(232, 66, 84), (250, 186, 60), (236, 120, 180), (250, 246, 236), (158, 92, 206)]
    heads = [(rng.uniform(-0.3, 0.3), -rng.uniform(0.58, 0.9), rng.uniform(0.075, 0.105)) for _ in range(7)] + [(0.0, -0.76, 0.11)]
    for x, y, _ in heads:
        pen.line([(x * 0.15, -0.38), (x * 0.6, y * 0.55 - 0.2), (x, y)], 0.022, (70, 136, 62))
    for _ in range(5):
        x = rng.uniform(-0.26, 0.26)
        pen.disc(x, -rng.uniform(0.46, 0.58), 0.085, 0.035, vary(rng, (76, 148, 66), 12))
    for x, y, r in heads:
        petal = vary(rng, rng.choice(petals), 12)
        for k in range(5):
            a = k * math.tau / 5 + x * 7
            pen.disc(x + 0.72 * r * math.cos(a), y + 0.72 * r * math.sin(a), 0.62 * r, 0.62 * r, dim(petal, 0.14) if k in (1, 2) else petal)
        pen.disc(x, y, 0.42 * r, 0.42 * r, (252, 214, 80) if petal[1] < 180 or petal[2] > 150 else (150, 84, 40))
    pen.poly([(-0.09, -0.42), (-0.115, -0.36), (-0.2, -0.2), (-0.12, 0), (0.12, 0), (0.2, -0.2), (0.115, -0.36), (0.09, -0.42)], vase)
    pen.poly([(0.05, -0.42), (0.06, -0.36), (0.1, -0.2), (0.06, 0), (0.12, 0), (0.2, -0.2), (0.115, -0.36), (0.09, -0.42)], dim(vase, 0.32))
    pen.line([(-0.165, -0.24), (0.165, -0.24)], 0.024, lit(vase, 0.5))


def jellyfish(pen: Pen, rng: random.Random) -> None:
    body = vary(rng, rng.choice([(238, 128, 174), (246, 156, 108), (164, 132, 232), (118, 176, 236)]), 12)
    for i in range(7):
        x, phase, reach = -0.24 + 0.08 * i, rng.uniform(0, math.tau), rng.uniform(0.0, 0.2)
        points = [(x * (1 + 0.15 * t) + 0.035 * math.sin(phase + 5.5 * t) * t, -0.56 + (0.56 - reach) * t) for t in (k / 8 for k in range(9))]
        pen.line(points, 0.026 if i % 2 else 0.04, dim(body, 0.08) if i % 2 else lit(body, 0.3))
    dome = [(0.33 * math.cos(a), -0.6 + 0.38 * math.sin(a)) for a in (math.pi + k * math.pi / 16 for k in range(17))]
    frill = [(0.33 - 0.66 * k / 12, -0.58 + (0.035 if k % 2 else 0.0)) for k in range(13)]
    pen.poly([*dome, *frill], body)
    pen.poly([(0.82 * x + 0.02, y) for x, y in dome[8:]] + [(0.06, -0.6)], dim(body, 0.2))
    pen.disc(-0.1, -0.78, 0.1, 0.075, lit(body, 0.6))
    pen.line([(x, y + 0.01) for x, y in frill], 0.02, lit(body, 0.5))
    for x in (-0.17, 0.0, 0.17):
        pen.disc(x, -0.66, 0.035, 0.045, lit(body, 0.3))


def fountain(pen: Pen, rng: random.Random) -> None:
    stone, water = vary(rng, (188, 184, 178), 12), (190, 228, 250)
    spread = rng.uniform(0.3, 0.38)
    for reach, top in ((spread, 0.92), (spread * 0.66, 0.98), (spread * 0.3, 1.0)):
        for side in (-1, 1):
            arc = [(side * reach * t, -0.56 - (top - 0.56) * 4 * t * (0.98 - 0.62 * t) * 1.05) for t in (k / 8 for k in range(9))]
            landing = [(side * reach * 1.04, -0.28)]
            pen.line(arc + landing, 0.048, water)
    pen.line([(0, -0.5), (0, -0.98)], 0.06, lit(water, 0.6))
    pen.block(-0.05, -0.56, 0.05, -0.14, stone)
    pen.poly([(-0.22, -0.52), (-0.09, -0.42), (0.09, -0.42), (0.22, -0.52)], stone)
    pen.disc(0, -0.52, 0.22, 0.035, lit(water, 0.25))
    pen.poly([(-0.52, -0.2), (-0.42, 0), (0.42, 0), (0.52, -0.2)], stone)
    pen.poly([(0.18, -0.2), (0.14, 0), (0.42, 0), (0.52, -0.2)], dim(stone, 0.28))
    pen.disc(0, -0.2, 0.52, 0.06, lit(stone, 0.2))
    pen.disc(0, -0.2, 0.45, 0.042, (120, 186, 228))


def chair(pen: Pen, rng: random.Random) -> None:
    wood, cloth = vary(rng, (150, 92, 50), 16), vary(rng, rng.choice([(198, 60, 60), (58, 112, 172), (224, 168, 60), (76, 144, 96)]), 14)
    for x, top in ((-0.12, 0.42), (0.34, 0.42)):
        pen.rect(x - 0.03, -top, x + 0.03, -0.05, dim(wood, 0.42))
    pen.poly([(-0.28, -0.98), (-0.2, -1.0), (-0.16, -0.42), (-0.25, -0.42)], wood)
    pen.poly([(0.12, -0.98), (0.2, -1.0), (0.26, -0.46), (0.18, -0.44)], wood)
    pen.poly([(-0.22, -0.93), (0.14, -0.93), (0.17, -0.56), (-0.19, -0.56)], cloth)
    pen.poly([(-0.01, -0.93), (0.14, -0.93), (0.17, -0.56), (0.01, -0.56)], dim(cloth, 0.18))
    pen.line([(-0.27, -0.96), (0.18, -0.96)], 0.06, wood)
    pen.poly([(-0.3, -0.38), (0.2, -0.38), (0.38, -0.47), (-0.14, -0.47)], lit(cloth, 0.12))
    pen.poly([(-0.3, -0.38), (0.2, -0.38), (0.2, -0.31), (-0.3, -0.31)], wood)
    pen.poly([(0.2, -0.38), (0.38, -0.47), (0.38, -0.4), (0.2, -0.31)], dim(wood, 0.35))
    for x in (-0.27, 0.16):
        pen.rect(x - 0.035, -0.32, x + 0.035, 0, wood)


def astronaut(pen: Pen, rng: random.Random) -> None:
    suit, visor = vary(rng, (240, 240, 244), 6), vary(rng, rng.choice([(240, 172, 60), (60, 110, 180)]), 12)
    swing = rng.uniform(-0.16, 0.16)
    pen.block(-0.25, -0.74, 0.25, -0.36, dim(suit, 0.4))
    for side in (-1, 1):
        foot = 0.14 * side
        pen.line([(0.09 * side, -0.36), (foot, -0.05)], 0.15, dim(suit, 0.18 if side > 0 else 0.06))
        pen.rect(foot - 0.09, -0.07, foot + 0.1, 0, (96, 100, 116))
        hand = (0.37 * side, -0.42 + swing * side - (0.3 if side > 0 and swing > 0.05 else 0))
        pen.line([(0.17 * side, -0.64), (0.32 * side, (hand[1] - 0.62) / 2), hand], 0.125, dim(suit, 0.2 if side > 0 else 0.04))
        pen.disc(*hand, 0.065, 0.065, (96, 100, 116))
    pen.poly([(-0.19, -0.7), (0.19, -0.7), (0.16, -0.32), (-0.16, -0.32)], suit)
    pen.poly([(0.07, -0.7), (0.19, -0.7), (0.16, -0.32), (0.06, -0.32)], dim(suit, 0.22))
    pen.rect(-0.1, -0.57, 0.1, -0.46, (90, 120, 170))
    pen.rect(-0.06, -0.54, -0.01, -0.5, (220, 60, 60))
    pen.disc(0, -0.82, 0.19, 0.18, suit)
    pen.disc(0.015, -0.81, 0.145, 0.125, dim(visor, 0.2))
    pen.disc(-0.01, -0.83, 0.115, 0.095, visor)
    pen.disc(-0.05, -0.86, 0.04, 0.03, lit(visor, 0.75))


DRAWERS: dict[str, Callable[[Pen, random.Random], None]] = {
    f.__name__: f for f in (ship, tree, castle, pyramid, mountain, city, lighthouse, flowers, jellyfish, fountain, chair, astronaut)
}
WIDE = {"pyramid", "mountain", "city"}
HEIGHTS = {"mountain": 0.44, "pyramid": 0.46, "city": 0.48, "ship": 0.6, "fountain": 0.54, "castle": 0.6}


def sky(pen: Pen, rng: random.Random, style: str, horizon: float) -> None:
    """Gradient, sun or moon, clouds and stars, down to the horizon."""
    palette, w = pen.palette, pen.image.width
    stops = np.array([vary(rng, c, 8) for c in rng.choice(palette.skies)])
    rows = np.linspace(0, 1, w) / horizon
    column = np.stack([np.interp(rows, (0, 0.55, 1), stops[:, k]) for k in range(3)], 1)
    pixels = np.repeat(column[:, None], w, 1)
    sun_x, sun_y = rng.uniform(0.12, 0.88), horizon * rng.uniform(0.2, 0.5)
    if style == "aivazovsky":
        sun_y = horizon * rng.uniform(0.6, 0.86)
    elif style == "glowwave":
        sun_x, sun_y = rng.uniform(0.3, 0.7), horizon * rng.uniform(0.62, 0.82)
    ys, xs = np.mgrid[0:w, 0:w] / w
    distance = np.hypot(xs - sun_x, ys - sun_y)
    reach, strength = {"plain": (0.16, 0.5), "aivazovsky": (0.3, 0.95), "cloudcore": (0.3, 0.6), "gloomcore": (0.16, 0.4), "glowwave": (0.3, 0.35)}[style]
    halo = strength * np.exp(-((distance / reach) ** 1.4))[..., None]
    pixels += (np.array(palette.light) - pixels) * halo
    pen.image.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    flat = tuple(int(v) for v in palette.light)
    radius = {"plain": 0.05, "aivazovsky": 0.055, "cloudcore": 0.06, "gloomcore": 0.045, "glowwave": 0.19}[style] * rng.uniform(0.85, 1.2) * w
    cx, cy = sun_x * w, sun_y * w
    if style == "glowwave":
        for k in range(60):
            star = rng.uniform(0, w), rng.uniform(0, horizon * w)
            size = rng.choice((0.5, 0.5, 1)) * w / 192
            pen.draw.rectangle([*star, star[0] + size, star[1] + size], fill=(255, 220, 255) if k % 3 else (120, 250, 255))
        steps = 24
        for k in range(steps):
            y = -radius + 2 * radius * k / steps
            half = math.sqrt(max(0.0, radius**2 - (y + radius / steps) ** 2))
            gap = radius / steps * (2 if k < 11 or k % 3 else 0.7)
            colour = tuple(int(v) for v in mix((255, 232, 110), (255, 40, 150), k / steps))
            pen.draw.rectangle([cx - half, cy + y, cx + half, cy + y + gap], fill=colour)
    else:
        pen.draw.ellipse([cx - radius, cy - radius, cx + radius, cy + radius], fill=flat)
    clouds(pen, rng, style, horizon)


def clouds(pen: Pen, rng: random.Random, style: str, horizon: float) -> None:
    small = Image.new("L", (96, 96))
    draw = ImageDraw.Draw(small)
    count = {"plain": rng.randint(1, 4), "aivazovsky": rng.randint(1, 3), "cloudcore": rng.randint(6, 9), "gloomcore": rng.randint(5, 8), "glowwave": rng.randint(0, 2)}[style]
    for _ in range(count):
        x, y = rng.uniform(0, 96), rng.uniform(0.04, 0.8 if style in ("cloudcore", "gloomcore") else 0.62) * horizon * 96
        size = rng.uniform(4, 8) * (1.7 if style in ("cloudcore", "gloomcore") else 1)
        flatness = 0.28 if style in ("aivazovsky", "glowwave", "gloomcore") else 0.7
        shade = rng.randint(120, 220) if style == "plain" else rng.randint(100, 235)
        for _ in range(6):
            px, r = x + rng.uniform(-1.5, 1.5) * size, size * rng.uniform(0.5, 1)
            py = y - flatness * r * rng.uniform(0, 0.6)
            draw.ellipse([px - r * 1.2, py - r * flatness, px + r * 1.2, py + r * flatness], fill=shade)
    mask = small.filter(ImageFilter.GaussianBlur(1.0 if style == "plain" else 1.8)).resize(pen.image.size, Image.Resampling.BILINEAR)
    pen.image.paste(tuple(int(v) for v in pen.palette.cloud), (0, 0), mask)


def land(pen: Pen, rng: random.Random, scene: Scene, horizon: float) -> None:
    """The ground of the setting, with what makes it recognisable: waves, drifts, grass, dunes."""
    palette, w, style = pen.palette, pen.image.width, scene.style
    far, near = (vary(rng, c, 7) for c in palette.grounds[scene.setting])
    top = int(horizon * w)
    if scene.setting != "sea" and rng.random() < 0.75:
        ridge = [(0.0, horizon)]
        ridge += [(x / 8, horizon - rng.uniform(0.015, 0.085)) for x in range(9)] + [(1.0, horizon)]
        hills = tuple(int(v) for v in mix(palette.hills, far, 0.25))
        pen.draw.polygon([(x * w, y * w) for x, y in ridge], fill=hills)
    ramp = np.linspace(0, 1, w - top)[:, None] ** 0.7
    rows = np.array(far) + (np.array(near) - np.array(far)) * ramp
    ground = np.repeat(rows[:, None], w, 1).clip(0, 255).astype(np.uint8)
    pen.image.paste(Image.fromarray(ground), (0, top))

    def depth() -> tuple[float, float]:
        t = rng.random() ** 1.4
        return t, horizon + 0.01 + t * (1 - horizon)

    def raw(colour: Colour) -> tuple[int, ...]:
        return tuple(int(min(255, max(0, v))) for v in colour)

    bright = palette.light if style != "gloomcore" else (130, 134, 136)
    if scene.setting == "sea":
        for _ in range(46):
            t, y = depth()
            x, length = rng.uniform(-0.1, 1), 0.03 + 0.14 * t * rng.random()
            colour = mix(mix(far, near, t**0.7), bright if rng.random() < 0.55 else (10, 20, 50), rng.uniform(0.12, 0.5))
            pen.draw.line([x * w, y * w, (x + length) * w, y * w], fill=raw(colour), width=max(1, round((0.006 + 0.008 * t) * w)))
        if style in ("aivazovsky", "plain", "glowwave"):
            cx = rng.uniform(0.25, 0.75)
            for _ in range(26):
                t, y = depth()
                x, half = cx + rng.gauss(0, 0.05 + 0.05 * t), 0.015 + 0.035 * t
                glint = mix(mix(far, near, t), bright, 0.75 if style != "plain" else 0.4)
                pen.draw.line([(x - half) * w, y * w, (x + half) * w, y * w], fill=raw(glint), width=max(1, round(0.008 * w)))
    elif scene.setting == "desert":
        for k in range(3):
            y = horizon + (0.03 + 0.13 * k) + rng.uniform(0, 0.05)
            crest, lift = rng.uniform(0, 1), rng.uniform(0.04, 0.08)
            line = [(x / 16, y + lift * 4 * ((x / 16 - crest) ** 2) - 0.25 * lift * math.sin(9 * x / 16 + 6 * crest)) for x in range(17)]
            base = mix(far, near, 0.25 + 0.3 * k)
            pen.draw.polygon([(a * w, b * w) for a, b in line] + [(w, w), (0, w)], fill=raw(mix(base, bright, 0.1)))
            shadow = [(a, b) for a, b in line if a >= crest]
            if len(shadow) > 1:
                pen.draw.polygon([(a * w, b * w) for a, b in shadow] + [(w, (shadow[-1][1] + 0.1) * w), (crest * w, (y + 0.16) * w)], fill=raw(dim(base, 0.14)))
    elif scene.setting == "meadow":
        blossoms = [(250, 230, 90), (250, 250, 250), (236, 90, 110), (170, 120, 220)]
        for k in range(110):
            t, y = depth()
            x, h = rng.random(), 0.012 + 0.035 * t
            base = mix(far, near, t)
            if k % 5:
                blade = raw(dim(base, 0.28) if k % 2 else mix(base, bright, 0.22))
                pen.draw.line([x * w, y * w, (x + rng.uniform(-0.4, 0.4) * h) * w, (y - h) * w], fill=blade, width=max(1, round(0.008 * w)))
            else:
                r = (0.004 + 0.007 * t) * w
                pen.draw.ellipse([x * w - r, y * w - r, x * w + r, y * w + r], fill=pen.ink(rng.choice(blossoms)))
    else:
        for _ in range(7):
            t, y = depth()
            x, rx = rng.random(), 0.1 + 0.22 * t
            colour = mix(mix(far, near, t), (120, 150, 200) if style in ("plain", "cloudcore") else dim(near, 0.3), 0.25)
            pen.draw.ellipse([(x - rx) * w, (y - 0.012) * w, (x + rx) * w, (y + 0.018) * w], fill=raw(colour))
        for _ in range(2):
            side = rng.choice((rng.uniform(0, 0.2), rng.uniform(0.8, 1)))
            y, h = horizon + rng.uniform(0.02, 0.1), rng.uniform(0.09, 0.15)
            for k in range(3):
                half = h * (0.4 - 0.1 * k)
                pen.draw.polygon([((side - half) * w, (y - 0.26 * k * h) * w), (side * w, (y - (0.5 + 0.25 * k) * h) * w), ((side + half) * w, (y - 0.26 * k * h) * w)], fill=pen.ink((70, 110, 100)))
                pen.draw.polygon([((side - half * 0.6) * w, (y - (0.2 + 0.26 * k) * h) * w), (side * w, (y - (0.5 + 0.25 * k) * h) * w), ((side + half * 0.3) * w, (y - (0.28 + 0.26 * k) * h) * w)], fill=pen.ink((244, 248, 252)))
    if style == "glowwave" and scene.setting != "sea":
        grid = raw(mix(near, (60, 230, 255), 0.6))
        for k in range(1, 7):
            y = horizon + (1 - horizon) * (k / 6.5) ** 2
            pen.draw.line([0, y * w, w, y * w], fill=grid, width=max(1, round(0.006 * w)))
        for k in range(-9, 10):
            pen.draw.line([(0.5 + 0.05 * k) * w, horizon * w, (0.5 + 0.24 * k) * w, w], fill=grid, width=max(1, round(0.006 * w)))


def subject(pen: Pen, rng: random.Random, scene: Scene, horizon: float) -> None:
    """The subject on the ground, with its shadow; on an islet where the ground is water; jellyfish float."""
    name = scene.subject
    height = HEIGHTS.get(name, 0.62) * rng.uniform(0.8, 1.16)
    wide = name in WIDE
    x = 0.5 + rng.uniform(-0.1, 0.1) if wide else rng.uniform(0.32, 0.68)
    foot = horizon + (rng.uniform(0.005, 0.04) if wide else rng.uniform(0.06, 0.2))
    if name == "jellyfish":
        foot = min(0.92, horizon + rng.uniform(-0.04, 0.16))
    foot = min(0.95, max(foot, height + 0.05))
    near = mix(*pen.palette.grounds[scene.setting], 0.5)
    w = pen.image.width
    half = {"mountain": 0.9, "pyramid": 0.75, "city": 0.82, "castle": 0.6, "ship": 0.5, "fountain": 0.52}.get(name, 0.36) * height
    if name == "jellyfish":
        pass
    elif scene.setting == "sea" and name != "ship":
        rock = tuple(int(v) for v in toned(rng.choice([(150, 138, 120), (206, 188, 140), (120, 150, 96)]), pen.palette))
        dark = tuple(int(v) for v in dim(rock, 0.3))  # type: ignore[arg-type]
        pen.draw.ellipse([(x - 1.2 * half) * w, (foot - 0.035) * w, (x + 1.2 * half) * w, (foot + 0.065) * w], fill=dark)
        pen.draw.ellipse([(x - 1.2 * half) * w, (foot - 0.045) * w, (x + 1.2 * half) * w, (foot + 0.045) * w], fill=rock)
    elif not wide:
        shade = tuple(int(v) for v in mix(near, (0, 0, 20), 0.42))
        pen.draw.ellipse([(x - 0.7 * half) * w, (foot - 0.02) * w, (x + 1.25 * half) * w, (foot + 0.03) * w], fill=shade)
    lean = rng.uniform(-0.06, 0.06) if name in ("ship", "jellyfish", "tree") else 0.0
    pen.frame(x, foot, height, mirror=rng.random() < 0.5, lean=lean)
    DRAWERS[name](pen, rng)
    if name == "ship":
        foam = tuple(int(v) for v in (mix(near, pen.palette.light, 0.5)))
        for _ in range(9):
            fx = x + rng.uniform(-1.1, 1.1) * half
            fy = foot + rng.uniform(-0.012, 0.02)
            pen.draw.line([fx * w, fy * w, (fx + 0.08) * w, fy * w], fill=foam, width=max(1, round(0.012 * w)))


# --- texture and light of the whole picture -------------------------------------------------------------------------------------------


def noise(generator: np.random.Generator, size: int, cells: int, cells_x: int | None = None) -> np.ndarray:
    """Smooth noise `[size, size, 1]` of about unit spread, with this many cells from top to bottom (and across)."""
    grid = generator.standard_normal((cells, cells_x or cells)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))[..., None]


def radial(size: int) -> np.ndarray:
    ys, xs = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1
    return np.hypot(xs, ys)[..., None].astype(np.float32)


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius * pixels.shape[0] / SIZE)), np.float32)


def saturated(pixels: np.ndarray, amount: float) -> np.ndarray:
    grey = pixels @ np.array([0.3, 0.59, 0.11], np.float32)
    return grey[..., None] + (pixels - grey[..., None]) * amount


def finish(pixels: np.ndarray, style: str, horizon: float, generator: np.random.Generator) -> np.ndarray:
    """The aesthetic's texture: canvas, softness, gloom or glow."""
    size = pixels.shape[0]
    strength = generator.uniform(0.75, 1.2)
    if style == "aivazovsky":
        rows = (np.arange(size) / size)[:, None, None]
        haze = 0.2 * strength * np.exp(-(((rows - horizon) / 0.16) ** 2))
        pixels = pixels + (np.array([252, 216, 140]) - pixels) * haze
        pixels = pixels * (1 + 0.028 * noise(generator, size, 36, 14))
        return (pixels + 4 * noise(generator, size, 6)) * (1 - 0.2 * np.maximum(0, radial(size) - 0.5))
    if style == "cloudcore":
        mist = np.clip(noise(generator, size, 5, 4) * 0.4, 0, 0.5) * strength
        rows = (np.arange(size) / size)[:, None, None]
        pixels = pixels + (np.array([255, 244, 252]) - pixels) * mist * np.clip((rows - horizon + 0.25) * 2.4, 0, 1)
        pixels = 0.62 * pixels + 0.38 * blurred(pixels, 1.6)
        return pixels + (np.array([250, 236, 250]) - pixels) * 0.06 * strength
    if style == "gloomcore":
        pixels = saturated(pixels, 0.35)
        rows = (np.arange(size) / size)[:, None, None]
        fog = np.clip(noise(generator, size, 6, 3) * 0.25 + 0.22, 0, 0.6) * np.exp(-(((rows - horizon - 0.04) / 0.14) ** 2))
        pixels = pixels + (np.array([92, 95, 98]) - pixels) * fog
        pixels = pixels * (1 - 0.55 * strength * np.clip(radial(size) - 0.45, 0, 1))
        return 1.2 * pixels + 2 * noise(generator, size, SIZE)
    if style == "glowwave":
        glow = blurred(np.maximum(0, pixels - 90) * 1.5, 2.2)
        pixels = pixels + glow * 0.42 * strength
        scan = 1 - 0.07 * (np.arange(size) * SIZE // size % 2)[:, None, None]
        return pixels * scan * (1 - 0.12 * np.maximum(0, radial(size) - 0.6))
    return pixels


def grade(pixels: np.ndarray, name: str, amount: float, generator: np.random.Generator) -> np.ndarray:
    """One photographic grading; `amount` 0 leaves the picture, 1 is strong."""
    if name == "warm":
        return pixels * (1 + amount * np.array([0.14, 0.0, -0.34]))
    if name == "cold":
        return pixels * (1 + amount * np.array([-0.34, -0.06, 0.14]))
    if name == "dark":
        return 255 * (pixels.clip(0, 255) / 255) ** (1 + 1.3 * amount) * (1 - 0.35 * amount)
    if name == "pale":
        return saturated(pixels, 1 - 0.55 * amount) * (1 - 0.5 * amount) + 120 * amount
    if name == "sepia":
        grey = saturated(pixels, 0) / 255
        return pixels + (255 * grey ** np.array([0.8, 1.05, 1.5]) - pixels) * min(1.0, 1.1 * amount)
    if name == "hazy":
        rows = np.linspace(1, 0.55, pixels.shape[0])[:, None, None]
        return pixels + (np.array([208, 214, 220]) - pixels) * (0.75 * amount * rows)
    if name == "vivid":
        return saturated((pixels - 128) * (1 + 0.25 * amount) + 128, 1 + 0.9 * amount)
    if name == "grainy":
        return saturated(pixels, 1 - 0.4 * amount) + 18 * amount * noise(generator, pixels.shape[0], SIZE)
    raise ValueError(f"unknown grading: {name}")


def draw(scene: Scene, size: int = SIZE) -> Image.Image:
    """The picture of a scene, `size` by `size`."""
    rng = random.Random(f"picture {scene.seed}")
    generator = np.random.default_rng(scene.seed)
    image = Image.new("RGB", (size * OVERSAMPLING, size * OVERSAMPLING))
    pen = Pen(image, PALETTES[scene.style])
    horizon = rng.uniform(0.52, 0.72)
    sky(pen, rng, scene.style, horizon)
    land(pen, rng, scene, horizon)
    subject(pen, rng, scene, horizon)
    pixels = np.asarray(image.reduce(OVERSAMPLING), np.float32)
    pixels = finish(pixels, scene.style, horizon, generator)
    pixels = pixels * generator.uniform(0.94, 1.05)
    for name, amount in scene.grading:
        pixels = grade(pixels, name, amount, generator)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
