"""The scenery behind the subject: sky and land."""

from __future__ import annotations

import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .palettes import Color, mix
from .pen import Pen, dim, vary


def sky(pen: Pen, rng: random.Random, style: str, horizon: float) -> None:
    """Draw the sky down to the horizon: gradient, sun or moon, clouds and stars."""
    palette, w = pen.palette, pen.image.width
    size = w // 3  # a sky is smooth, so a third of the resolution is enough
    stops = np.array([vary(rng, c, 8) for c in rng.choice(palette.skies)])
    rows = np.linspace(0, 1, size) / horizon
    column = np.stack([np.interp(rows, (0, 0.55, 1), stops[:, k]) for k in range(3)], 1).astype(np.float32)
    sun_x, sun_y = rng.uniform(0.12, 0.88), horizon * rng.uniform(0.2, 0.5)
    if style == "aivazovsky":
        sun_y = horizon * rng.uniform(0.6, 0.86)
    elif style == "glowwave":
        sun_x, sun_y = rng.uniform(0.3, 0.7), horizon * rng.uniform(0.62, 0.82)
    places = np.arange(size, dtype=np.float32) / size
    distance = np.hypot(places[None] - sun_x, places[:, None] - sun_y)
    reach, strength = {
        "plain": (0.16, 0.5),
        "aivazovsky": (0.3, 0.95),
        "cloudcore": (0.3, 0.6),
        "gloomcore": (0.16, 0.4),
        "glowwave": (0.3, 0.35),
    }[style]
    halo = strength * np.exp(-((distance / reach) ** 1.4))[..., None]
    pixels = column[:, None] + (np.array(palette.light, np.float32) - column[:, None]) * halo
    smooth = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    pen.image.paste(smooth.resize(pen.image.size, Image.Resampling.BILINEAR))
    flat = tuple(int(v) for v in palette.light)
    radius = (
        {"plain": 0.05, "aivazovsky": 0.055, "cloudcore": 0.06, "gloomcore": 0.045, "glowwave": 0.19}[style]
        * rng.uniform(0.85, 1.2)
        * w
    )
    cx, cy = sun_x * w, sun_y * w
    if style == "glowwave":
        for k in range(30):
            star = rng.uniform(0, w), rng.uniform(0, horizon * w)
            size = rng.choice((1, 1, 1.5)) * w / 192
            pen.draw.rectangle(
                [*star, star[0] + size, star[1] + size], fill=(255, 220, 255) if k % 3 else (120, 250, 255)
            )
        steps = 24
        for k in range(steps):
            y = -radius + 2 * radius * k / steps
            half = math.sqrt(max(0.0, radius**2 - (y + radius / steps) ** 2))
            gap = radius / steps * (2 if k < 11 or k % 3 else 0.7)
            color = tuple(int(v) for v in mix((255, 232, 110), (255, 40, 150), k / steps))
            pen.draw.rectangle([cx - half, cy + y, cx + half, cy + y + gap], fill=color)
    else:
        pen.draw.ellipse([cx - radius, cy - radius, cx + radius, cy + radius], fill=flat)
    clouds(pen, rng, style, horizon)


def clouds(pen: Pen, rng: random.Random, style: str, horizon: float) -> None:
    small = Image.new("L", (96, 96))
    draw = ImageDraw.Draw(small)
    count = {
        "plain": rng.randint(1, 4),
        "aivazovsky": rng.randint(1, 3),
        "cloudcore": rng.randint(6, 9),
        "gloomcore": rng.randint(5, 8),
        "glowwave": rng.randint(0, 2),
    }[style]
    for _ in range(count):
        x, y = (
            rng.uniform(0, 96),
            rng.uniform(0.04, 0.8 if style in ("cloudcore", "gloomcore") else 0.62) * horizon * 96,
        )
        size = rng.uniform(4, 8) * (1.7 if style in ("cloudcore", "gloomcore") else 1)
        flatness = 0.28 if style in ("aivazovsky", "glowwave", "gloomcore") else 0.7
        shade = rng.randint(120, 220) if style == "plain" else rng.randint(100, 235)
        for _ in range(6):
            px, r = x + rng.uniform(-1.5, 1.5) * size, size * rng.uniform(0.5, 1)
            py = y - flatness * r * rng.uniform(0, 0.6)
            draw.ellipse([px - r * 1.2, py - r * flatness, px + r * 1.2, py + r * flatness], fill=shade)
    mask = small.filter(ImageFilter.GaussianBlur(1.0 if style == "plain" else 1.8)).resize(
        pen.image.size, Image.Resampling.BILINEAR
    )
    pen.image.paste(tuple(int(v) for v in pen.palette.cloud), (0, 0), mask)


def land(pen: Pen, rng: random.Random, setting: str, style: str, horizon: float) -> None:
    """Draw the ground of the setting, with its waves, drifts, grass or dunes."""
    palette, w = pen.palette, pen.image.width
    far, near = (vary(rng, c, 7) for c in palette.grounds[setting])
    top = int(horizon * w)
    if setting != "sea" and rng.random() < 0.75:
        ridge = [(0.0, horizon)]
        ridge += [(x / 8, horizon - rng.uniform(0.015, 0.085)) for x in range(9)] + [(1.0, horizon)]
        hills = tuple(int(v) for v in mix(palette.hills, far, 0.25))
        pen.draw.polygon([(x * w, y * w) for x, y in ridge], fill=hills)
    ramp = np.linspace(0, 1, w - top)[:, None] ** 0.7
    rows = np.array(far) + (np.array(near) - np.array(far)) * ramp
    ground = Image.fromarray(rows[:, None].clip(0, 255).astype(np.uint8))
    pen.image.paste(ground.resize((w, w - top), Image.Resampling.NEAREST), (0, top))

    def depth() -> tuple[float, float]:
        t = rng.random() ** 1.4
        return t, horizon + 0.01 + t * (1 - horizon)

    def raw(color: Color) -> tuple[int, ...]:
        return tuple(int(min(255, max(0, v))) for v in color)

    bright = palette.light if style != "gloomcore" else (130, 134, 136)
    if setting == "sea":
        for _ in range(26):
            t, y = depth()
            x, length = rng.uniform(-0.1, 1), 0.05 + 0.14 * t * rng.random()
            color = mix(mix(far, near, t**0.7), bright if rng.random() < 0.55 else (10, 20, 50), rng.uniform(0.12, 0.5))
            pen.draw.line(
                [x * w, y * w, (x + length) * w, y * w], fill=raw(color), width=max(1, round((0.01 + 0.01 * t) * w))
            )
        if style in ("aivazovsky", "plain", "glowwave"):
            cx = rng.uniform(0.25, 0.75)
            for _ in range(14):
                t, y = depth()
                x, half = cx + rng.gauss(0, 0.05 + 0.05 * t), 0.015 + 0.035 * t
                glint = mix(mix(far, near, t), bright, 0.75 if style != "plain" else 0.4)
                pen.draw.line(
                    [(x - half) * w, y * w, (x + half) * w, y * w], fill=raw(glint), width=max(1, round(0.014 * w))
                )
    elif setting == "desert":
        for k in range(3):
            y = horizon + (0.03 + 0.13 * k) + rng.uniform(0, 0.05)
            crest, lift = rng.uniform(0, 1), rng.uniform(0.04, 0.08)
            line = [
                (x / 16, y + lift * 4 * ((x / 16 - crest) ** 2) - 0.25 * lift * math.sin(9 * x / 16 + 6 * crest))
                for x in range(17)
            ]
            base = mix(far, near, 0.25 + 0.3 * k)
            pen.draw.polygon([(a * w, b * w) for a, b in line] + [(w, w), (0, w)], fill=raw(mix(base, bright, 0.1)))
            shadow = [(a, b) for a, b in line if a >= crest]
            if len(shadow) > 1:
                pen.draw.polygon(
                    [(a * w, b * w) for a, b in shadow] + [(w, (shadow[-1][1] + 0.1) * w), (crest * w, (y + 0.16) * w)],
                    fill=raw(dim(base, 0.14)),
                )
    elif setting == "meadow":
        blossoms = [(250, 230, 90), (250, 250, 250), (236, 90, 110), (170, 120, 220)]
        for k in range(56):
            t, y = depth()
            x, h = rng.random(), 0.02 + 0.05 * t
            base = mix(far, near, t)
            if k % 5:
                blade = raw(dim(base, 0.28) if k % 2 else mix(base, bright, 0.22))
                pen.draw.line(
                    [x * w, y * w, (x + rng.uniform(-0.4, 0.4) * h) * w, (y - h) * w],
                    fill=blade,
                    width=max(1, round(0.014 * w)),
                )
            else:
                r = (0.008 + 0.01 * t) * w
                pen.draw.ellipse([x * w - r, y * w - r, x * w + r, y * w + r], fill=pen.ink(rng.choice(blossoms)))
    else:
        for _ in range(7):
            t, y = depth()
            x, rx = rng.random(), 0.1 + 0.22 * t
            color = mix(mix(far, near, t), (120, 150, 200) if style in ("plain", "cloudcore") else dim(near, 0.3), 0.25)
            pen.draw.ellipse([(x - rx) * w, (y - 0.012) * w, (x + rx) * w, (y + 0.018) * w], fill=raw(color))
        for _ in range(2):
            side = rng.choice((rng.uniform(0, 0.2), rng.uniform(0.8, 1)))
            y, h = horizon + rng.uniform(0.02, 0.1), rng.uniform(0.09, 0.15)
            for k in range(3):
                half = h * (0.4 - 0.1 * k)
                pen.draw.polygon(
                    [
                        ((side - half) * w, (y - 0.26 * k * h) * w),
                        (side * w, (y - (0.5 + 0.25 * k) * h) * w),
                        ((side + half) * w, (y - 0.26 * k * h) * w),
                    ],
                    fill=pen.ink((70, 110, 100)),
                )
                pen.draw.polygon(
                    [
                        ((side - half * 0.6) * w, (y - (0.2 + 0.26 * k) * h) * w),
                        (side * w, (y - (0.5 + 0.25 * k) * h) * w),
                        ((side + half * 0.3) * w, (y - (0.28 + 0.26 * k) * h) * w),
                    ],
                    fill=pen.ink((244, 248, 252)),
                )
    if style == "glowwave" and setting != "sea":
        grid = raw(mix(near, (60, 230, 255), 0.6))
        for k in range(1, 7):
            y = horizon + (1 - horizon) * (k / 6.5) ** 2
            pen.draw.line([0, y * w, w, y * w], fill=grid, width=max(1, round(0.009 * w)))
        for k in range(-9, 10):
            pen.draw.line(
                [(0.5 + 0.05 * k) * w, horizon * w, (0.5 + 0.24 * k) * w, w], fill=grid, width=max(1, round(0.009 * w))
            )
