"""Looks: continuous changes of a whole picture that do not depend on its content.

A look is a point in a space of parameters: exposure, contrast, saturation, the tints of shadows and lights, a palette,
haze, glow, vignette, grain, texture, line, and the artifacts of photographs. Parts of this space are held out: no
training picture has a look from there, so no caption describes one.
"""

from __future__ import annotations

import colorsys
import io
import random
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from .palettes import Color
from .texture import blur, noise, radial, with_saturation

LUMINANCE = np.array([0.3, 0.59, 0.11], np.float32)


@dataclass(frozen=True)
class Tint:
    """A hue in degrees, and its strength from 0 to 1."""

    hue: float = 0.0
    amount: float = 0.0


@dataclass(frozen=True)
class Look:
    """A look; all zeros change nothing. `brightness`, `contrast` and `saturation` are -1 to 1, the others 0 to 1."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    shadows: Tint = Tint()
    lights: Tint = Tint()
    palette: tuple[Color, ...] = ()  # two or three colors, from dark to light
    toning: float = 0.0  # strength of the palette
    haze: float = 0.0
    glow: float = 0.0
    vignette: float = 0.0
    grain: float = 0.0
    texture: float = 0.0
    line: float = 0.0
    blur: float = 0.0
    photo: float = 0.0  # clutter of many small things, and JPEG compression

    def vector(self) -> list[float]:
        """The look as a vector with about equally weighted entries, so that similar looks are near each other."""
        tones: list[float] = []
        for color in (self.palette[0], self.palette[-1]) if self.palette else ((128, 128, 128),) * 2:
            tones += [self.toning * (v - 128) / 128 for v in color]
        tints = [v / 44 for tint in (self.shadows, self.lights) for v in offset(tint)]
        effects = [self.haze, self.glow, self.vignette, self.grain, self.texture, self.line, self.blur, self.photo]
        return [self.brightness, self.contrast, self.saturation, *tints, *tones, *effects]


PLAIN_LOOK = Look()


def hue_color(hue: float, saturation: float = 1.0, value: float = 1.0) -> Color:
    return tuple(255 * v for v in colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value))  # type: ignore[return-value]


def offset(tint: Tint) -> np.ndarray:
    """The color offset of a tint, without luminance."""
    color = np.array(hue_color(tint.hue), np.float32)
    color = color - color @ LUMINANCE
    return tint.amount * 44 * color / max(1e-6, float(np.abs(color).mean()))


# Random looks


def random_signed(rng: random.Random) -> float:
    return rng.choice((-1, 1)) * rng.uniform(0.2, 1.0)


def random_tints(rng: random.Random) -> dict[str, Tint]:
    """Tints of shadows, of lights, of both alike, or of both differently."""
    first, second = (Tint(rng.uniform(0, 360), rng.uniform(0.2, 1.0)) for _ in range(2))
    choice = rng.random()
    if choice < 0.3:
        return {"shadows": first, "lights": Tint(first.hue + rng.uniform(-15, 15), first.amount)}
    return (
        {"shadows": first}
        if choice < 0.4
        else {"lights": second}
        if choice < 0.5
        else {"shadows": first, "lights": second}
    )


def random_palette(rng: random.Random) -> dict[str, object]:
    dark = hue_color(rng.uniform(0, 360), rng.uniform(0.3, 1.0), rng.uniform(0.1, 0.45))
    light = hue_color(rng.uniform(0, 360), rng.uniform(0.1, 0.6), rng.uniform(0.85, 1.0))
    middle = hue_color(rng.uniform(0, 360), rng.uniform(0.4, 1.0), rng.uniform(0.5, 0.9))
    colors = (dark, middle, light) if rng.random() < 0.5 else (dark, light)
    return {"palette": colors, "toning": rng.uniform(0.6, 1.0)}


CHANCES = {"brightness": 0.32, "contrast": 0.25, "saturation": 0.3}
EFFECTS = {"haze": 0.16, "glow": 0.12, "vignette": 0.15, "grain": 0.1, "texture": 0.1, "line": 0.1}


def any_look(rng: random.Random) -> Look:
    """A look from the whole space, with at least one change."""
    while True:
        parts: dict[str, object] = {}
        kind = rng.random()
        if kind < 0.45:
            parts |= random_tints(rng)
        elif kind < 0.65:
            parts |= random_palette(rng)
        parts |= {name: random_signed(rng) for name, chance in CHANCES.items() if rng.random() < chance}
        parts |= {name: rng.uniform(0.2, 1.0) for name, chance in EFFECTS.items() if rng.random() < chance}
        if parts:
            return Look(**parts)  # type: ignore[arg-type]


def hue_of(color: Color) -> float:
    return 360 * colorsys.rgb_to_hsv(*(v / 255 for v in color))[0]


def opposed(dark: float, light: float) -> bool:
    """Whether the hue of the lights is 120 to 180 degrees beyond that of the shadows."""
    return 120 <= (light - dark) % 360 < 180


def held_out_reason(look: Look) -> str:
    """The name of the held-out part of the space that a look is in; "" if it may occur in training."""
    if look.shadows.amount and look.lights.amount and opposed(look.shadows.hue, look.lights.hue):
        return "tints"
    if look.palette and opposed(hue_of(look.palette[0]), hue_of(look.palette[-1])):
        return "palette"
    if 0.35 <= look.brightness < 0.65 or -0.65 < look.saturation <= -0.35:
        return "range"
    if (
        (look.haze and look.saturation > 0)
        or (look.glow and look.brightness < 0)
        or (look.contrast < 0 and look.vignette)
        or (look.grain and look.shadows.amount)
        or (look.line and look.haze)
    ):
        return "combination"
    return ""


def random_look(rng: random.Random, photo: bool = False) -> Look:
    """A look for training. photo: with the artifacts of a photograph."""
    while True:
        look = any_look(rng)
        if not held_out_reason(look):
            break
    if photo:
        look = replace(look, photo=rng.uniform(0.3, 1.0), blur=rng.uniform(0.0, 1.0))
    return look


def held_out_looks(split: str) -> list[Look]:
    """24 looks for the report ("report"), or 12 others for choosing settings ("choose"); a quarter of each reason.

    All of them change the colors at least a little, since a look of grain alone has no color to measure.
    """
    per_reason = {"report": 6, "choose": 3}[split]
    rng = random.Random(f"held out {split}")
    by_reason: dict[str, list[Look]] = {"tints": [], "palette": [], "range": [], "combination": []}
    while any(len(looks) < per_reason for looks in by_reason.values()):
        look = any_look(rng)
        reason = held_out_reason(look)
        if reason and len(by_reason[reason]) < per_reason and colorfulness(look) > 0.7:
            by_reason[reason].append(look)
    return [look for looks in by_reason.values() for look in looks]


def colorfulness(look: Look) -> float:
    """How much a look changes colors and light."""
    tones = look.shadows.amount + look.lights.amount + look.toning
    return tones + abs(look.brightness) + abs(look.contrast) + abs(look.saturation) + look.haze + 0.5 * look.vignette


# Applying looks


def apply_tones(pixels: np.ndarray, look: Look) -> np.ndarray:
    t = (pixels @ LUMINANCE / 255).clip(0, 1)
    if look.palette:
        places = np.linspace(0.08, 0.92, len(look.palette))
        colors = np.stack([np.interp(t, places, [c[k] for c in look.palette]) for k in range(3)], -1)
        pixels = pixels + (colors - pixels) * look.toning
    if look.shadows.amount or look.lights.amount:
        t = t[..., None]
        share = t * t * (3 - 2 * t)
        pixels = pixels + (1 - share) * offset(look.shadows) + share * offset(look.lights)
    return pixels


def draw_lines(pixels: np.ndarray, amount: float) -> np.ndarray:
    """Draw dark lines along the edges, as in a comic."""
    t = pixels @ LUMINANCE
    dy, dx = np.gradient(t)
    edges = np.clip(np.hypot(dx, dy) / 40 - 0.15, 0, 1)[..., None]
    return pixels * (1 - 0.9 * amount * edges)


def canvas(size: int) -> np.ndarray:
    """The weave of a canvas, `[size, size, 1]` in [-1, 1]."""
    ys, xs = np.mgrid[0:size, 0:size] * (2 * np.pi * 32 / size)
    return (np.sin(xs) * np.sign(np.sin(ys / 2)) + np.sin(ys) * np.sign(np.sin(xs / 2)))[..., None].astype(
        np.float32
    ) / 2


def clutter(size: int, generator: np.random.Generator) -> np.ndarray:
    """Noise with about the spectrum of natural images, `[size, size, 3]`, with a deviation of 1."""
    total = np.zeros((size, size, 3), np.float32)
    for cells in (3, 6, 12, 24, 48):
        grey = noise(generator, size, cells)
        total += (grey + 0.35 * np.concatenate([noise(generator, size, cells) for _ in range(3)], -1)) * 4 / cells**0.8
    return total / total.std()


def compress_as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float32)


def apply_look(look: Look, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Apply a look to a picture `[size, size, 3]`, 0 to 255 in float32."""
    size = pixels.shape[0]
    if look.photo:
        pixels = pixels + 45 * look.photo * clutter(size, generator)
    if look.blur:
        pixels = blur(pixels, 0.3 + 2.2 * look.blur)
    if look.line:
        pixels = draw_lines(pixels, look.line)
    if look.brightness:
        gamma = 2 ** (-1.3 * look.brightness)
        pixels = 255 * (pixels.clip(0, 255) / 255) ** gamma * (1 + 0.25 * min(0.0, look.brightness))
    if look.contrast:
        middle = 0.5 * 128 + 0.5 * float((pixels @ LUMINANCE).mean())
        pixels = middle + (pixels - middle) * (1 + (0.7 if look.contrast > 0 else 0.65) * look.contrast)
    if look.saturation:
        pixels = with_saturation(pixels, 1 + (1.2 if look.saturation > 0 else 1.0) * look.saturation)
    pixels = apply_tones(pixels, look)
    if look.haze:
        rows = np.linspace(1, 0.6, size)[:, None, None]
        veil = np.array([214, 218, 222]) + offset(look.lights)
        pixels = pixels + (veil - pixels) * (0.7 * look.haze * rows)
    if look.glow:
        pixels = pixels + 0.6 * look.glow * blur(np.maximum(0, pixels - 110) * 1.4, 2.4)
    if look.vignette:
        pixels = pixels * (1 - 0.75 * look.vignette * np.clip(radial(size) - 0.4, 0, 1))
    if look.texture:
        pixels = pixels * (1 + 0.13 * look.texture * canvas(size))
    if look.grain:
        pixels = pixels + 18 * look.grain * noise(generator, size, size // 2)
    if look.photo:
        pixels = compress_as_jpeg(pixels, round(70 - 50 * look.photo))
    return pixels
