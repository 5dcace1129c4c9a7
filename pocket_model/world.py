"""The pocket world: small pictures with captions, drawn by code.

There are twelve subjects in four settings, plain or in one of four named aesthetics, and then in a look. Aesthetics and
looks change the palette, light and texture of the whole picture, so that they can be learned separately from its
content. A seed determines everything. `draw` draws at three times the size and scales down, which smooths the lines.

A small model draws sharply what it has seen often. So there are few shapes of each subject, few skies and lands, and
subjects and horizons lie on the grid of the autoencoder's latents.
"""

from __future__ import annotations

import math
import random

import numpy as np
from PIL import Image

from .looks import apply_look
from .palettes import PALETTES, Color, mix, toned
from .pen import Pen, dim
from .scene import Scene
from .scenery import land, sky
from .subjects import SUBJECT_DRAWERS
from .texture import apply_texture

SIZE = 128
OVERSAMPLING = 3
ROCKS: list[Color] = [(150, 138, 120), (206, 188, 140), (120, 150, 96)]
WIDE = {"pyramid", "mountain", "city"}
CELL = 8 / SIZE  # one place of the autoencoder's latents
SHAPES, SKIES, LANDS = 4, 12, 4  # of each subject, of each style, of each setting
HEIGHTS = {"mountain": 0.5, "pyramid": 0.5, "city": 0.52, "ship": 0.7, "fountain": 0.52, "castle": 0.64}
HALF_WIDTHS = {
    "mountain": 0.9,
    "pyramid": 0.75,
    "city": 0.82,
    "castle": 0.6,
    "ship": 0.5,
    "fountain": 0.52,
}  # of the height


def to_ints(color: Color) -> tuple[int, int, int]:
    return tuple(int(value) for value in color)  # type: ignore[return-value]


def draw_subject(pen: Pen, rng: random.Random, scene: Scene, horizon: float) -> None:
    """Draw the subject on the ground with its shadow, or on an islet if the ground is water. Jellyfish float."""
    name, is_wide = scene.subject, scene.subject in WIDE
    height = HEIGHTS.get(name, 0.7)
    half = HALF_WIDTHS.get(name, 0.36) * height
    reach = 2 if half < 0.3 else 1
    x = 0.5 + CELL * rng.randint(-reach, reach)
    foot = horizon + (0.02 if is_wide else CELL * rng.randint(2, 3))
    if name == "jellyfish":
        foot = horizon + CELL * rng.randint(1, 2)
    foot = max(foot, CELL * math.ceil((height + 0.04) / CELL))
    ground, w = mix(*pen.palette.grounds[scene.setting], 0.5), pen.image.width

    def oval(left: float, top: float, right: float, bottom: float, color: Color) -> None:
        pen.draw.ellipse([left * w, top * w, right * w, bottom * w], fill=to_ints(color))

    if name != "jellyfish" and name != "ship" and scene.setting == "sea":
        rock = to_ints(toned(rng.choice(ROCKS), pen.palette))
        oval(x - 1.2 * half, foot - 0.035, x + 1.2 * half, foot + 0.065, dim(rock, 0.3))
        oval(x - 1.2 * half, foot - 0.045, x + 1.2 * half, foot + 0.045, rock)
    elif name != "jellyfish" and not is_wide:
        oval(x - 0.7 * half, foot - 0.02, x + 1.25 * half, foot + 0.03, mix(ground, (0, 0, 20), 0.42))
    pen.frame(x, foot, height, mirror=rng.random() < 0.5)
    SUBJECT_DRAWERS[name](pen, random.Random(f"{name} {rng.randrange(SHAPES)}"))
    if name == "ship":
        foam = to_ints(mix(ground, pen.palette.light, 0.5))
        for _ in range(9):
            fx, fy = x + rng.uniform(-1.1, 1.1) * half, foot + rng.uniform(-0.012, 0.02)
            pen.draw.line([fx * w, fy * w, (fx + 0.08) * w, fy * w], fill=foam, width=max(1, round(0.012 * w)))


def draw(scene: Scene, size: int = SIZE) -> Image.Image:
    """The picture of a scene, `size` by `size`."""
    rng = random.Random(f"picture {scene.seed}")
    generator = np.random.default_rng(scene.seed)
    image = Image.new("RGB", (size * OVERSAMPLING, size * OVERSAMPLING))
    pen = Pen(image, PALETTES[scene.style])
    horizon = 0.625 + CELL * rng.randint(-1, 1)
    sky(pen, random.Random(f"sky {rng.randrange(SKIES)}"), scene.style, horizon)
    land(pen, random.Random(f"land {rng.randrange(LANDS)}"), scene.setting, scene.style, horizon)
    draw_subject(pen, rng, scene, horizon)
    pixels = np.asarray(image.reduce(OVERSAMPLING), np.float32)
    pixels = apply_texture(pixels, scene.style, horizon, generator)
    pixels = pixels * generator.uniform(0.94, 1.05)
    pixels = apply_look(scene.look, pixels.astype(np.float32), generator)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
