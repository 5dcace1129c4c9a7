"""The colors of the plain world and of its four aesthetics."""

from __future__ import annotations

from dataclasses import dataclass

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Palette:
    """Colors of a style. `tones` (dark, middle, light) recolor materials by brightness; `tinting` is how strongly."""

    skies: tuple[tuple[Color, Color, Color], ...]  # top, middle, horizon
    grounds: dict[str, tuple[Color, Color]]  # setting -> (far, near)
    hills: Color
    light: Color
    cloud: Color
    tones: tuple[Color, Color, Color]
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


def mix(a: Color, b: Color, t: float) -> Color:
    return tuple(x + (y - x) * t for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def brightness(c: Color) -> float:
    return (0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]) / 255


def toned(c: Color, palette: Palette) -> Color:
    """A material's color in this palette."""
    dark, middle, light = palette.tones
    t = brightness(c)
    tone = mix(dark, middle, 2 * t) if t < 0.5 else mix(middle, light, 2 * t - 1)
    return mix(c, tone, palette.tinting)
