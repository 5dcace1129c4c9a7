"""Scenes: twelve subjects in four settings, in a named style and a look."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .looks import PLAIN_LOOK, Look, any_look, random_look

PLAIN = "plain"
AESTHETICS = ("aivazovsky", "cloudcore", "gloomcore", "glowwave")
STYLES = (PLAIN, *AESTHETICS)
SUBJECTS = (
    "ship",
    "tree",
    "castle",
    "pyramid",
    "mountain",
    "city",
    "lighthouse",
    "flowers",
    "jellyfish",
    "fountain",
    "chair",
    "astronaut",
)
SETTINGS = ("sea", "snow", "meadow", "desert")

# Shares of the training pictures. The rest, two thirds, have a look that captions describe only by its qualities.
PLAIN_SHARE = 0.15
NAMED_SHARE = 0.18  # half of them also have a look
PHOTO_SHARE = 0.05  # of the pictures with a look: degraded like photographs


@dataclass(frozen=True)
class Scene:
    """A scene. `seed` determines placement, shape, weather and all small variations."""

    subject: str
    setting: str
    style: str = PLAIN
    look: Look = PLAIN_LOOK
    seed: int = 0


def random_scene(seed: int) -> Scene:
    """A scene for training. Its look is never one of the held-out ones."""
    rng = random.Random(f"scene {seed}")
    subject, setting, kind = rng.choice(SUBJECTS), rng.choice(SETTINGS), rng.random()
    if kind < PLAIN_SHARE:
        return Scene(subject, setting, seed=seed)
    style, look = PLAIN, PLAIN_LOOK
    if kind < PLAIN_SHARE + NAMED_SHARE:
        style = rng.choice(AESTHETICS)
    if style == PLAIN or rng.random() < 0.5:
        look = random_look(rng, photo=rng.random() < PHOTO_SHARE)
    return Scene(subject, setting, style, look, seed)


def judge_scene(seed: int) -> Scene:
    """A scene for training the judge, which must know all looks."""
    rng = random.Random(f"judge {seed}")
    style = rng.choice(AESTHETICS) if rng.random() < 0.25 else PLAIN
    look = any_look(rng) if rng.random() < 0.75 else PLAIN_LOOK
    return Scene(rng.choice(SUBJECTS), rng.choice(SETTINGS), style, look, seed)
