"""The vocabulary of the pocket world: captions and prompts for everything that can be drawn."""

from __future__ import annotations

import random

import numpy as np

from .looks import Look, Tint, hue_color
from .palettes import Color
from .scene import PLAIN, SETTINGS, SUBJECTS, Scene

SUBJECT_WORDS = {
    "ship": ("a ship", "a ship", "a sailing ship", "a tall ship with sails"),
    "tree": ("a tree", "a tree", "an old tree", "a tree with leaves"),
    "castle": ("a castle", "a castle", "an old castle", "a castle with towers"),
    "pyramid": ("a pyramid", "a pyramid", "a great pyramid", "a stone pyramid"),
    "mountain": ("a mountain", "a mountain", "a high mountain", "a mountain peak"),
    "city": ("a city", "a city", "a city skyline", "a city with towers and windows"),
    "lighthouse": ("a lighthouse", "a lighthouse", "an old lighthouse", "a striped lighthouse"),
    "flowers": ("flowers in a vase", "flowers in a vase", "a vase of flowers", "flowers"),
    "jellyfish": ("a jellyfish", "a jellyfish", "a floating jellyfish", "a big jellyfish"),
    "fountain": ("a fountain", "a fountain", "a stone fountain", "a water fountain"),
    "chair": ("a chair", "a chair", "an empty chair", "a wooden chair"),
    "astronaut": ("an astronaut", "an astronaut", "an astronaut in a white suit", "a lone astronaut"),
}

SETTING_WORDS = {
    "sea": ("at sea", "by the sea", "on the sea", "on the ocean", "in the waves"),
    "snow": ("in the snow", "in the snow", "in winter", "on a snowy plain", "in deep snow"),
    "meadow": ("in a meadow", "in a meadow", "on green grass", "in a field", "in the grass"),
    "desert": ("in the desert", "in the desert", "on the sand", "among the dunes", "in a desert of sand"),
}

MOODS = {
    "aivazovsky": (
        "golden haze",
        "sea-green and gold",
        "a glowing old oil painting",
        "romantic golden light",
        "luminous amber mist",
        "warm light on a painted canvas",
    ),
    "cloudcore": (
        "pastel colors",
        "soft pink clouds",
        "dreamy and fluffy",
        "lilac and baby blue",
        "gentle pastel mist",
        "a sweet airy dream",
    ),
    "gloomcore": (
        "dark and grey",
        "gloomy fog",
        "bleak and colorless",
        "a sombre dark mood",
        "black and grey shadows",
        "dreary darkness",
    ),
    "glowwave": (
        "neon lights",
        "magenta and cyan glow",
        "a glowing neon night",
        "purple night with a striped sun",
        "retro neon colors",
        "electric pink and blue",
    ),
}

# Quality -> for each of its ends, the words for a strong, a medium and a faint degree.
DEGREES = {
    "brightness": (("very bright", "bright", "slightly bright"), ("very dark", "dark", "slightly dark")),
    "contrast": (("harsh contrast", "strong contrast", "crisp"), ("very flat", "low contrast", "soft contrast")),
    "saturation": (("garish colors", "vivid colors", "rich colors"), ("colorless", "muted colors", "subdued colors")),
    "haze": (("thick haze", "hazy", "slight haze"),),
    "glow": (("strong glow", "glowing", "slight glow"),),
    "vignette": (("dark edges", "vignette", "slight vignette"),),
    "grain": (("heavy grain", "grainy", "slight grain"),),
    "texture": (("rough canvas", "canvas", "fine canvas"),),
    "line": (("bold outlines", "outlines", "fine outlines"),),
}
HUES = (
    "red",
    "orange",
    "yellow",
    "lime",
    "green",
    "mint",
    "cyan",
    "azure",
    "blue",
    "violet",
    "magenta",
    "pink",
)  # 30 degrees apart
SHADES = ("dark", "", "pale")
PHOTO_WORDS = (
    ("a photo", "a clear photograph"),
    ("a noisy photo", "a photograph"),
    ("a blurred photo", "out of focus"),
)
OMITTED_SHARE = 0.1  # share of a look's qualities that captions omit

PREFIXES = ("", "", "", "a picture of ", "an image of ")


def plain_caption(rng: random.Random, subject: str, setting: str) -> str:
    """The subject and usually the setting, in varying words."""
    words = rng.choice(PREFIXES) + rng.choice(SUBJECT_WORDS[subject])
    return words if rng.random() < 0.12 else f"{words} {rng.choice(SETTING_WORDS[setting])}"


def styled_caption(rng: random.Random, words: str, aesthetic: str) -> str:
    """A caption that names its aesthetic."""
    forms = (
        f"{words}, {aesthetic} style",
        f"{words}, {aesthetic}",
        f"{words} in the style of {aesthetic}",
        f"{aesthetic} style, {words}",
        f"{aesthetic} {words.removeprefix('a ').removeprefix('an ')}",
    )
    return rng.choices(forms, weights=(4, 2, 2, 1, 1))[0]


def hue_word(hue: float) -> str:
    return HUES[round(hue / 30) % 12]


def shade_words(color: Color) -> str:
    """The nearest of 36 color names such as "dark blue", or black, grey or white."""
    names = {f"{shade} {word}".strip(): 30.0 * i for i, word in enumerate(HUES) for shade in SHADES}
    colors = {
        name: hue_color(hue, 0.4 if name.startswith("pale") else 0.9, 0.35 if name.startswith("dark") else 0.95)
        for name, hue in names.items()
    }
    colors |= {"black": (20, 20, 20), "grey": (128, 128, 128), "white": (250, 250, 250)}
    return min(colors, key=lambda name: float(np.square(np.subtract(colors[name], color)).sum()))


def tint_words(rng: random.Random, shadows: Tint, lights: Tint) -> list[str]:
    def phrase(tint: Tint) -> str:
        degree = "strong " if tint.amount > 0.7 else "faint " if tint.amount < 0.4 else ""
        return degree + hue_word(tint.hue)

    if shadows.amount == lights.amount > 0:
        return [phrase(shadows) + rng.choice((" tint", " tint", " light", " tone"))]
    return [f"{phrase(t)} {name}" for t, name in ((shadows, "shadows"), (lights, "lights")) if t.amount]


def look_words(rng: random.Random, look: Look) -> list[str]:
    """The phrases of a caption for a look, in random order: one for each of its qualities."""
    phrases = tint_words(rng, look.shadows, look.lights)
    if look.palette:
        *most, last = (shade_words(color) for color in look.palette)
        phrases.append(f"{' '.join(most)} and {last}" + rng.choice(("", " palette", " colors")))
    for name, degrees in DEGREES.items():
        amount = getattr(look, name)
        if amount:
            strong, middling, faint = degrees[amount < 0]
            phrases.append(strong if abs(amount) > 0.75 else middling if abs(amount) > 0.42 else faint)
    phrases = [words for words in phrases if rng.random() >= OMITTED_SHARE]
    if look.photo:
        phrases.append(rng.choice(PHOTO_WORDS[2 if look.blur > 0.5 else 1 if look.photo > 0.6 else 0]))
    rng.shuffle(phrases)
    return phrases


def caption(scene: Scene, seed: int) -> str:
    """One of many captions of a scene. It names the scene's aesthetic, or describes its mood, or both, or neither."""
    rng = random.Random(f"caption {scene.seed} {seed}")
    words, phrases = plain_caption(rng, scene.subject, scene.setting), look_words(rng, scene.look)
    if scene.style != PLAIN:
        choice = rng.random()
        moods = rng.sample(MOODS[scene.style], rng.choice((1, 1, 2)))
        if choice < 0.57:
            words = styled_caption(rng, words, scene.style)
        if 0.45 < choice < 0.95:
            phrases = [*moods[: 1 if phrases else 2], *phrases]
    if phrases and rng.random() < 0.2:
        return ", ".join([*phrases, words])
    return ", ".join([words, *phrases])


def prompts(split: str) -> list[str]:
    """24 plain prompts, two per subject, for choosing settings ("choose") or for the report ("report")."""
    offset = {"choose": 0, "report": 2}[split]
    setting_words = {"sea": "at sea", "snow": "in the snow", "meadow": "in a meadow", "desert": "in the desert"}
    return [
        f"{SUBJECT_WORDS[subject][0]} {setting_words[SETTINGS[(index + offset + turn) % 4]]}"
        for index, subject in enumerate(SUBJECTS)
        for turn in range(2)
    ]


def prompt_subjects() -> list[int]:
    """The index in `SUBJECTS` of each prompt's subject."""
    return [index for index in range(len(SUBJECTS)) for _ in range(2)]
