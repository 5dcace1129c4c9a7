"""The pocket world in words: what can be drawn, and how captions and prompts speak of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .world import Scene

PLAIN = "plain"
AESTHETICS = ("aivazovsky", "cloudcore", "gloomcore", "glowwave")
STYLES = (PLAIN, *AESTHETICS)

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
SUBJECTS = tuple(SUBJECT_WORDS)

SETTING_WORDS = {
    "sea": ("at sea", "by the sea", "on the sea", "on the ocean", "in the waves"),
    "snow": ("in the snow", "in the snow", "in winter", "on a snowy plain", "in deep snow"),
    "meadow": ("in a meadow", "in a meadow", "on green grass", "in a field", "in the grass"),
    "desert": ("in the desert", "in the desert", "on the sand", "among the dunes", "in a desert of sand"),
}
SETTINGS = tuple(SETTING_WORDS)

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
        "pastel colours",
        "soft pink clouds",
        "dreamy and fluffy",
        "lilac and baby blue",
        "gentle pastel mist",
        "a sweet airy dream",
    ),
    "gloomcore": (
        "dark and grey",
        "gloomy fog",
        "bleak and colourless",
        "a sombre dark mood",
        "black and grey shadows",
        "dreary darkness",
    ),
    "glowwave": (
        "neon lights",
        "magenta and cyan glow",
        "a glowing neon night",
        "purple night with a striped sun",
        "retro neon colours",
        "electric pink and blue",
    ),
}

GRADINGS = {
    "warm": ("warm colours", "warm light", "an orange tint"),
    "cold": ("cold colours", "cold blue light", "a blue tint"),
    "dark": ("dark", "low light", "underexposed"),
    "pale": ("pale", "washed out colours", "faded"),
    "sepia": ("sepia", "an old brown photograph", "sepia tones"),
    "hazy": ("hazy", "a white haze", "misty air"),
    "vivid": ("vivid colours", "saturated colours", "strong contrast"),
    "grainy": ("grainy", "film grain", "a noisy photograph"),
}

LEADS = ("", "", "", "a picture of ", "an image of ")


def base(rng: random.Random, subject: str, setting: str) -> str:
    """Subject and, mostly, setting, in varying words."""
    words = rng.choice(LEADS) + rng.choice(SUBJECT_WORDS[subject])
    return words if rng.random() < 0.12 else f"{words} {rng.choice(SETTING_WORDS[setting])}"


def named(rng: random.Random, words: str, aesthetic: str) -> str:
    """A caption that names its aesthetic."""
    forms = (
        f"{words}, {aesthetic} style",
        f"{words}, {aesthetic}",
        f"{words} in the style of {aesthetic}",
        f"{aesthetic} style, {words}",
        f"{aesthetic} {words.removeprefix('a ').removeprefix('an ')}",
    )
    return rng.choices(forms, weights=(4, 2, 2, 1, 1))[0]


def caption(scene: Scene, seed: int, bare: bool = False) -> str:
    """One of many captions of a scene. Those of an aesthetic name it, hint at it by a mood, do both, or are silent.

    bare: the same caption without what it says about aesthetic or grading.
    """
    rng = random.Random(f"caption {scene.seed} {seed}")
    words = base(rng, scene.subject, scene.setting)
    if bare:
        return words
    if scene.grading:
        return ", ".join(
            [
                words,
                *(
                    ("very " if a > 0.8 and n in ("dark", "pale", "hazy", "grainy") else "") + rng.choice(GRADINGS[n])
                    for n, a in scene.grading
                ),
            ]
        )
    if scene.style == PLAIN:
        return words
    way = rng.random()
    mood = ", ".join(rng.sample(MOODS[scene.style], rng.choice((1, 1, 2))))
    if way < 0.45:
        return named(rng, words, scene.style)
    if way < 0.57:
        return f"{named(rng, words, scene.style)}, {mood}"
    return words if way > 0.92 else f"{words}, {mood}" if rng.random() < 0.8 else f"{mood}, {words}"


def prompts(split: str) -> list[str]:
    """24 plain prompts, two per subject: to choose settings by ("choose"), or to report on ("report")."""
    offset = {"choose": 0, "report": 2}[split]
    spoken = {"sea": "at sea", "snow": "in the snow", "meadow": "in a meadow", "desert": "in the desert"}
    return [
        f"{SUBJECT_WORDS[subject][0]} {spoken[SETTINGS[(index + offset + turn) % 4]]}"
        for index, subject in enumerate(SUBJECTS)
        for turn in range(2)
    ]


def prompt_subjects() -> list[int]:
    """For each of a split's prompts, the place of its subject in `SUBJECTS`."""
    return [index for index in range(len(SUBJECTS)) for _ in range(2)]
