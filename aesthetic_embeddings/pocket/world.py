"""The pocket world: small pictures with captions, drawn by code.

Twelve subjects stand in four settings, either plain, in one of four aesthetics, or graded as a photograph might be.
An aesthetic is the palette, light and texture of the whole picture, so that it can be learnt apart from what the
picture shows. Everything follows from a seed; `draw` works at three times the size and reduces, which is all the
smoothing that the lines need.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .palettes import PALETTES, mix, toned
from .pen import Pen, dim
from .scenery import land, sky
from .subjects import SUBJECT_DRAWERS
from .texture import finish, grade
from .words import GRADINGS, PLAIN, SETTINGS, STYLES, SUBJECTS

SIZE = 64
OVERSAMPLING = 3
WIDE = {"pyramid", "mountain", "city"}
HEIGHTS = {"mountain": 0.44, "pyramid": 0.46, "city": 0.48, "ship": 0.6, "fountain": 0.54, "castle": 0.6}


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
    half = {"mountain": 0.9, "pyramid": 0.75, "city": 0.82, "castle": 0.6, "ship": 0.5, "fountain": 0.52}.get(
        name, 0.36
    ) * height
    if name == "jellyfish":
        pass
    elif scene.setting == "sea" and name != "ship":
        rock = tuple(int(v) for v in toned(rng.choice([(150, 138, 120), (206, 188, 140), (120, 150, 96)]), pen.palette))
        dark = tuple(int(v) for v in dim(rock, 0.3))  # type: ignore[arg-type]
        pen.draw.ellipse(
            [(x - 1.2 * half) * w, (foot - 0.035) * w, (x + 1.2 * half) * w, (foot + 0.065) * w], fill=dark
        )
        pen.draw.ellipse(
            [(x - 1.2 * half) * w, (foot - 0.045) * w, (x + 1.2 * half) * w, (foot + 0.045) * w], fill=rock
        )
    elif not wide:
        shade = tuple(int(v) for v in mix(near, (0, 0, 20), 0.42))
        pen.draw.ellipse(
            [(x - 0.7 * half) * w, (foot - 0.02) * w, (x + 1.25 * half) * w, (foot + 0.03) * w], fill=shade
        )
    lean = rng.uniform(-0.06, 0.06) if name in ("ship", "jellyfish", "tree") else 0.0
    pen.frame(x, foot, height, mirror=rng.random() < 0.5, lean=lean)
    SUBJECT_DRAWERS[name](pen, rng)
    if name == "ship":
        foam = tuple(int(v) for v in (mix(near, pen.palette.light, 0.5)))
        for _ in range(9):
            fx = x + rng.uniform(-1.1, 1.1) * half
            fy = foot + rng.uniform(-0.012, 0.02)
            pen.draw.line([fx * w, fy * w, (fx + 0.08) * w, fy * w], fill=foam, width=max(1, round(0.012 * w)))


def draw(scene: Scene, size: int = SIZE) -> Image.Image:
    """The picture of a scene, `size` by `size`."""
    rng = random.Random(f"picture {scene.seed}")
    generator = np.random.default_rng(scene.seed)
    image = Image.new("RGB", (size * OVERSAMPLING, size * OVERSAMPLING))
    pen = Pen(image, PALETTES[scene.style])
    horizon = rng.uniform(0.52, 0.72)
    sky(pen, rng, scene.style, horizon)
    land(pen, rng, scene.setting, scene.style, horizon)
    subject(pen, rng, scene, horizon)
    pixels = np.asarray(image.reduce(OVERSAMPLING), np.float32)
    pixels = finish(pixels, scene.style, horizon, generator)
    pixels = pixels * generator.uniform(0.94, 1.05)
    for name, amount in scene.grading:
        pixels = grade(pixels, name, amount, generator)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
