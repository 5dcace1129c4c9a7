"""The twelve subjects, each drawn from its foot at (0, 0) to its top at y = -1, lit from the left."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

from .palettes import Color
from .pen import Pen, dim, lit, vary

WINDOW: Color = (255, 222, 120)


def ship(pen: Pen, rng: random.Random) -> None:
    hull, sail = vary(rng, (122, 70, 40)), vary(rng, (250, 244, 226), 8)
    if rng.random() < 0.25:
        sail = vary(rng, (214, 84, 66))
    masts = [(-0.2, 0.82, 0.17), (0.2, 0.97, 0.2)]
    rope = dim(hull, 0.5)
    pen.line([(-0.66, -0.4), (-0.3, -0.2)], 0.035, dim(hull, 0.3))
    pen.line([(-0.64, -0.39), (masts[0][0], -masts[0][1]), (masts[1][0], -masts[1][1]), (0.54, -0.3)], 0.02, rope)
    pen.poly([(-0.62, -0.38), (-0.32, -0.3), (-0.24, -0.78)], dim(sail, 0.08))
    for x, top, half in masts:
        pen.line([(x, -0.2), (x, -top)], 0.04, dim(hull, 0.35))
        middle = (0.28 + top) / 2
        for y0, y1 in ((-0.28, -middle + 0.015), (-middle - 0.015, -top + 0.04)):
            w0, w1 = half * (1.3 + y0 / 2), half * (1.3 + y1 / 2)
            pen.poly([(x - w0, y0), (x - w1, y1), (x + w1, y1), (x + w0 + 0.05, (y0 + y1) / 2), (x + w0, y0)], sail)
            pen.poly(
                [
                    (x + 0.3 * w0, y0),
                    (x + 0.3 * w1, y1),
                    (x + w1, y1),
                    (x + w0 + 0.05, (y0 + y1) / 2),
                    (x + w0, y0),
                ],
                dim(sail, 0.2),
            )
    x, top = masts[1][:2]
    pen.poly([(x, -top), (x + 0.2, -top - 0.01), (x, -top - 0.1)], (206, 52, 50))
    pen.poly([(-0.46, -0.25), (0.4, -0.21), (0.56, -0.34), (0.44, 0.0), (-0.32, 0.0)], hull)
    pen.poly([(-0.4, -0.1), (0.47, -0.1), (0.44, 0.0), (-0.32, 0.0)], dim(hull, 0.4))
    pen.line([(-0.42, -0.17), (0.49, -0.17)], 0.035, lit(hull, 0.45))


def tree(pen: Pen, rng: random.Random) -> None:
    bark, leaf = vary(rng, (106, 72, 44), 12), vary(rng, (62, 140, 54), 22)
    if rng.random() < 0.25:
        leaf = vary(rng, (214, 128, 44))
    pen.poly([(-0.1, 0), (-0.045, -0.42), (0.045, -0.42), (0.1, 0)], bark)
    pen.poly([(0.02, 0), (0.012, -0.42), (0.045, -0.42), (0.1, 0)], dim(bark, 0.35))
    pen.line([(0, -0.3), (0.17, -0.5)], 0.035, bark)
    pen.line([(0, -0.26), (-0.16, -0.46)], 0.035, bark)
    puffs = [(rng.uniform(-0.27, 0.27), -rng.uniform(0.48, 0.84), rng.uniform(0.16, 0.21)) for _ in range(6)] + [
        (0, -0.68, 0.25)
    ]
    for depth, shade in ((0.03, 0.42), (0.0, 0.16)):
        for x, y, r in puffs:
            pen.disc(x + depth, y + depth, r, r * 0.92, dim(leaf, shade))
    for x, y, r in puffs[:4]:
        pen.disc(x - 0.04, y - 0.05, r * 0.58, r * 0.5, lit(leaf, 0.2))


def castle(pen: Pen, rng: random.Random) -> None:
    stone, roof = (
        vary(rng, (184, 172, 158), 14),
        vary(rng, rng.choice([(168, 62, 58), (70, 88, 150), (96, 70, 120)]), 12),
    )

    def tower(x: float, w: float, top: float) -> None:
        pen.block(x - w, -top, x + w, 0, stone)
        pen.block(x - 1.22 * w, -top - 0.05, x + 1.22 * w, -top + 0.02, lit(stone, 0.12))
        pen.poly([(x - 1.3 * w, -top - 0.05), (x, -top - 0.05 - 2.6 * w), (x + 1.3 * w, -top - 0.05)], roof)
        pen.poly([(x + 0.2 * w, -top - 0.05), (x, -top - 0.05 - 2.6 * w), (x + 1.3 * w, -top - 0.05)], dim(roof, 0.35))
        pen.rect(x - 0.34 * w, -top + 0.07, x + 0.34 * w, -top + 0.18, WINDOW)

    tower(0.0, 0.13, rng.uniform(0.52, 0.6))
    pen.block(-0.42, -0.34, 0.42, 0, stone, 0.15)
    for i in range(6):
        x = -0.42 + i * 0.15
        pen.rect(x, -0.4, x + 0.08, -0.33, stone)
    tower(-0.42, 0.105, rng.uniform(0.42, 0.52))
    tower(0.42, 0.105, rng.uniform(0.42, 0.52))
    pen.disc(0, -0.15, 0.085, 0.09, dim(stone, 0.75))
    pen.rect(-0.085, -0.15, 0.085, 0, dim(stone, 0.75))
    for x in (-0.21, 0.21):
        pen.rect(x - 0.04, -0.25, x + 0.04, -0.14, WINDOW)


def pyramid(pen: Pen, rng: random.Random) -> None:
    stone = vary(rng, (226, 186, 118), 14)

    def one(x: float, w: float, h: float, shade: float) -> None:
        edge = x + 0.22 * w
        pen.poly([(x - w, 0), (x, -h), (edge, 0.02)], dim(stone, shade))
        pen.poly([(edge, 0.02), (x, -h), (x + w, 0)], dim(stone, shade + 0.42))
        for k in range(1, 5):
            t = k / 5
            pen.line(
                [(x - w * (1 - t), -h * t), (x + (edge - x) * (1 - t), -h * t + 0.02 * (1 - t))],
                0.016,
                dim(stone, shade + 0.2),
            )

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
        pen.poly(
            [(x, -h), *right, (x + 0.2 * w, 0), (x - 0.02 * w, -0.3 * h), (x + 0.1 * w, -0.55 * h)],
            dim(rock, shade + 0.34),
        )
        snow = (246, 250, 255)
        pen.poly(
            [
                left[2],
                (x, -h),
                right[0],
                (x + 0.16 * w, -0.62 * h),
                (x + 0.06 * w, -0.72 * h),
                (x - 0.08 * w, -0.56 * h),
                (x - 0.17 * w, -0.66 * h),
            ],
            dim(snow, shade * 0.6),
        )
        pen.poly(
            [(x, -h), right[0], (x + 0.16 * w, -0.62 * h), (x + 0.05 * w, -0.74 * h)], dim(snow, 0.28 + shade * 0.6)
        )

    peak(-0.48 + rng.uniform(-0.06, 0.06), 0.5, rng.uniform(0.5, 0.66), 0.22)
    peak(0.5 + rng.uniform(-0.06, 0.06), 0.48, rng.uniform(0.46, 0.62), 0.18)
    peak(rng.uniform(-0.08, 0.08), 0.6, 0.95, 0.0)


def city(pen: Pen, rng: random.Random) -> None:
    tints = [(112, 126, 150), (146, 150, 160), (92, 108, 138), (168, 142, 126), (124, 146, 158)]
    for row, (shade, low, high, step) in enumerate(((0.06, 0.5, 0.98, 0.27), (0.28, 0.26, 0.6, 0.29))):
        x = -0.78 + rng.uniform(0, 0.06)
        while x < 0.6:
            w = step * rng.uniform(0.85, 1.1)
            h = rng.uniform(low, high) * (1 - 0.4 * abs(x + w / 2) / 0.8)
            color = dim(vary(rng, rng.choice(tints), 10), shade)
            pen.block(x, -h, x + w, 0, color, 0.24)
            if row == 0 and rng.random() < 0.4:
                pen.line([(x + w / 2, -h), (x + w / 2, -h - 0.12)], 0.03, color)
            for i in range(int((h - 0.06) / 0.15)):
                for j in range(2):
                    if rng.random() < 0.75:
                        wx, wy = x + w * (0.17 + 0.38 * j), -h + 0.06 + 0.15 * i
                        pen.rect(wx, wy, wx + w * 0.27, wy + 0.085, WINDOW)
            x += w + 0.01


def lighthouse(pen: Pen, rng: random.Random) -> None:
    band, white = vary(rng, rng.choice([(208, 52, 48), (208, 52, 48), (48, 84, 150)]), 12), (246, 244, 238)

    def width(y: float) -> float:
        return 0.085 + 0.055 * (1 + y)

    edges = [0.0, -0.15, -0.3, -0.45, -0.6, -0.74]
    for i, (y0, y1) in enumerate(itertools.pairwise(edges)):
        color = white if i % 2 else band
        pen.poly([(-width(y0), y0), (-width(y1), y1), (width(y1), y1), (width(y0), y0)], color)
        pen.poly([(0.25 * width(y0), y0), (0.25 * width(y1), y1), (width(y1), y1), (width(y0), y0)], dim(color, 0.3))
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
    heads = [(rng.uniform(-0.3, 0.3), -rng.uniform(0.58, 0.9), rng.uniform(0.11, 0.13)) for _ in range(4)] + [
        (0.0, -0.76, 0.14)
    ]
    for x, y, _ in heads:
        pen.line([(x * 0.15, -0.38), (x * 0.6, y * 0.55 - 0.2), (x, y)], 0.03, (70, 136, 62))
    for _ in range(5):
        x = rng.uniform(-0.26, 0.26)
        pen.disc(x, -rng.uniform(0.46, 0.58), 0.085, 0.035, vary(rng, (76, 148, 66), 12))
    for x, y, r in heads:
        petal = vary(rng, rng.choice(petals), 12)
        for k in range(5):
            a = k * math.tau / 5 + x * 7
            pen.disc(
                x + 0.72 * r * math.cos(a),
                y + 0.72 * r * math.sin(a),
                0.62 * r,
                0.62 * r,
                dim(petal, 0.14) if k in (1, 2) else petal,
            )
        pen.disc(x, y, 0.42 * r, 0.42 * r, (252, 214, 80) if petal[1] < 180 or petal[2] > 150 else (150, 84, 40))
    pen.poly(
        [
            (-0.09, -0.42),
            (-0.115, -0.36),
            (-0.2, -0.2),
            (-0.12, 0),
            (0.12, 0),
            (0.2, -0.2),
            (0.115, -0.36),
            (0.09, -0.42),
        ],
        vase,
    )
    pen.poly(
        [(0.05, -0.42), (0.06, -0.36), (0.1, -0.2), (0.06, 0), (0.12, 0), (0.2, -0.2), (0.115, -0.36), (0.09, -0.42)],
        dim(vase, 0.32),
    )
    pen.line([(-0.165, -0.24), (0.165, -0.24)], 0.024, lit(vase, 0.5))


def jellyfish(pen: Pen, rng: random.Random) -> None:
    body = vary(rng, rng.choice([(238, 128, 174), (246, 156, 108), (164, 132, 232), (118, 176, 236)]), 12)
    for i in range(5):
        x, phase, reach = -0.24 + 0.12 * i, rng.uniform(0, math.tau), rng.uniform(0.0, 0.2)
        points = [
            (x * (1 + 0.15 * t) + 0.035 * math.sin(phase + 5.5 * t) * t, -0.56 + (0.56 - reach) * t)
            for t in (k / 8 for k in range(9))
        ]
        pen.line(points, 0.04 if i % 2 else 0.06, dim(body, 0.08) if i % 2 else lit(body, 0.3))
    dome = [(0.33 * math.cos(a), -0.6 + 0.38 * math.sin(a)) for a in (math.pi + k * math.pi / 16 for k in range(17))]
    frill = [(0.33 - 0.66 * k / 12, -0.58 + (0.035 if k % 2 else 0.0)) for k in range(13)]
    pen.poly([*dome, *frill], body)
    pen.poly([(0.82 * x + 0.02, y) for x, y in dome[8:]] + [(0.06, -0.6)], dim(body, 0.2))
    pen.disc(-0.1, -0.78, 0.1, 0.075, lit(body, 0.6))
    pen.line([(x, y + 0.01) for x, y in frill], 0.03, lit(body, 0.5))
    for x in (-0.17, 0.0, 0.17):
        pen.disc(x, -0.66, 0.035, 0.045, lit(body, 0.3))


def fountain(pen: Pen, rng: random.Random) -> None:
    stone, water = vary(rng, (188, 184, 178), 12), (190, 228, 250)
    spread = rng.uniform(0.3, 0.38)
    for reach, top in ((spread, 0.92), (spread * 0.5, 1.0)):
        for side in (-1, 1):
            arc = [
                (side * reach * t, -0.56 - (top - 0.56) * 4 * t * (0.98 - 0.62 * t) * 1.05)
                for t in (k / 8 for k in range(9))
            ]
            landing = [(side * reach * 1.04, -0.28)]
            pen.line(arc + landing, 0.06, water)
    pen.line([(0, -0.5), (0, -0.98)], 0.06, lit(water, 0.6))
    pen.block(-0.05, -0.56, 0.05, -0.14, stone)
    pen.poly([(-0.22, -0.52), (-0.09, -0.42), (0.09, -0.42), (0.22, -0.52)], stone)
    pen.disc(0, -0.52, 0.22, 0.035, lit(water, 0.25))
    pen.poly([(-0.52, -0.2), (-0.42, 0), (0.42, 0), (0.52, -0.2)], stone)
    pen.poly([(0.18, -0.2), (0.14, 0), (0.42, 0), (0.52, -0.2)], dim(stone, 0.28))
    pen.disc(0, -0.2, 0.52, 0.06, lit(stone, 0.2))
    pen.disc(0, -0.2, 0.45, 0.042, (120, 186, 228))


def chair(pen: Pen, rng: random.Random) -> None:
    wood, cloth = (
        vary(rng, (150, 92, 50), 16),
        vary(rng, rng.choice([(198, 60, 60), (58, 112, 172), (224, 168, 60), (76, 144, 96)]), 14),
    )
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
        pen.line(
            [(0.17 * side, -0.64), (0.32 * side, (hand[1] - 0.62) / 2), hand],
            0.125,
            dim(suit, 0.2 if side > 0 else 0.04),
        )
        pen.disc(*hand, 0.065, 0.065, (96, 100, 116))
    pen.poly([(-0.19, -0.7), (0.19, -0.7), (0.16, -0.32), (-0.16, -0.32)], suit)
    pen.poly([(0.07, -0.7), (0.19, -0.7), (0.16, -0.32), (0.06, -0.32)], dim(suit, 0.22))
    pen.rect(-0.1, -0.57, 0.1, -0.46, (90, 120, 170))
    pen.rect(-0.06, -0.54, -0.01, -0.5, (220, 60, 60))
    pen.disc(0, -0.82, 0.19, 0.18, suit)
    pen.disc(0.015, -0.81, 0.145, 0.125, dim(visor, 0.2))
    pen.disc(-0.01, -0.83, 0.115, 0.095, visor)
    pen.disc(-0.05, -0.86, 0.04, 0.03, lit(visor, 0.75))


SUBJECT_DRAWERS: dict[str, Callable[[Pen, random.Random], None]] = {
    f.__name__: f
    for f in (ship, tree, castle, pyramid, mountain, city, lighthouse, flowers, jellyfish, fountain, chair, astronaut)
}
