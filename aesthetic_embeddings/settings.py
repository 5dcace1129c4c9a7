"""All settings in one table. Widgets, command-line options and infotext are made from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .errors import AestheticError, quoted

UPDATES = ("adam", "normalized", "gradient")  # their equations: text_encoder/update_rules.py
BLENDS = ("lerp", "slerp")
#: CLIP family -> the setting that weakens its text encoder beside a model's others.
STRENGTHS = {"clip-vit-l-14": "strength_clip_l", "open-clip-vit-bigg-14": "strength_clip_g"}


def _setting(
    default: Any,
    label: str,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field with the label, the help text, and the range or choices that every surface needs."""
    metadata = {"label": label, "help": help, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """How a prompt is personalized. Immutable, and checked on construction.

    A field's metadata holds its label, help text, choices, and range, whose ends are valid. The first sentence of a
    help text is short: it is all that the accordion has room for.

    Raises:
        AestheticError: A value has another type, is outside its range, or is not among its choices.
    """

    steps: int = _setting(
        10,
        "Steps",
        "Tuning steps before each picture. 0 gives the plain picture.",
        low=0,
        high=100,
    )
    epsilon: float = _setting(
        1e-4,
        "Epsilon",
        "Step size; 0.0001 as published. More is stronger; too much loses the prompt's subject.",
        low=0.0,
        high=1.0,
    )
    update: str = _setting(
        "adam",
        "Update rule",
        "adam: as published. normalized: every matrix moves by an equal share, faster and smaller. "
        "gradient: the paper's plain equation, which needs a far larger epsilon.",
        choices=UPDATES,
    )
    weight: float = _setting(
        1.0,
        "Weight",
        "Share of the personalized conditioning. The rest is the plain one.",
        low=0.0,
        high=1.0,
    )
    blend: str = _setting(
        "lerp",
        "Blend",
        "Blends plain and personalized conditioning. lerp: on a line. slerp: on an arc.",
        choices=BLENDS,
    )
    text: str = _setting("", "Text", "Rotates the aesthetic towards this text before tuning. Empty: no rotation.")
    text_strength: float = _setting(
        0.25,
        "Text strength",
        "How far the aesthetic rotates. 0: not at all. 1: all the way to the text.",
        low=0.0,
        high=1.0,
    )
    text_negative: bool = _setting(False, "Text is negative", "Rotates the aesthetic away from the text instead.")
    preservation: float = _setting(
        0.0,
        "Preservation",
        "Keeps the prompt's subject for longer. Pulls the prompt's tokens back to their plain values.",
        low=0.0,
        high=100.0,
    )
    last_layers: int = _setting(
        0,
        "Last layers",
        "Tunes only this many last layers. 0 tunes the whole encoder.",
        low=0,
        high=100,
    )
    strength_clip_l: float = _setting(
        1.0,
        "Strength on CLIP L",
        "Multiplies epsilon for CLIP ViT-L/14. It is the encoder of SD1, and the first of SDXL, SD3 and Flux. "
        "0 leaves it alone.",
        low=0.0,
        high=1.0,
    )
    strength_clip_g: float = _setting(
        1.0,
        "Strength on CLIP G",
        "Multiplies epsilon for OpenCLIP bigG/14. It is the second encoder of SDXL and SD3. 0 leaves it alone.",
        low=0.0,
        high=1.0,
    )
    contrast: float = _setting(
        0.0,
        "Contrast",
        "Removes what ordinary pictures share. 0: nothing, as published. 1: all of it.",
        low=0.0,
        high=1.0,
    )
    any_clip: bool = _setting(
        False,
        "Any CLIP",
        "Uses aesthetics of another CLIP, too.",
    )

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _checked(f, getattr(self, f.name)))

    @property
    def changes_nothing(self) -> bool:
        """Whether nothing is tuned, because steps or epsilon are zero."""
        return self.steps == 0 or self.epsilon == 0

    def of_family(self, name: str) -> Settings:
        """The settings for the text encoder of one CLIP family, with epsilon multiplied by its strength."""
        strength = getattr(self, STRENGTHS[name]) if name in STRENGTHS else 1.0
        return dataclasses.replace(self, epsilon=self.epsilon * strength)


def _checked(f: dataclasses.Field[Any], value: Any) -> Any:
    kind: type = type(f.default)
    low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
    if low is not None and type(value) in (int, float) and not low <= value <= high:
        raise AestheticError(f"{f.name} should lie between {low:g} and {high:g}, not be {value!r:.40}.")
    if (type(value), kind) == (int, float) or ((type(value), kind) == (float, int) and value.is_integer()):
        value = kind(value)  # sliders give 10.0 for 10, and people write 1 for 1.0
    if type(value) is not kind:
        raise AestheticError(f"{f.name} should be {_article(kind)}, not {value!r:.80}.")
    if choices and value not in choices:
        raise AestheticError(f"{f.name} should be one of {', '.join(choices)}, not {quoted(str(value))}.")
    return value


def _article(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]


#: Starting points. docs/taste.md shows the effect of contrast, docs/pocket.md that of the steps.
PRESETS = {
    "Safe start": Settings(steps=10, epsilon=5e-5, update="normalized", contrast=1.0),
    "The paper's": Settings(steps=10, epsilon=1e-4, update="adam"),
    "Strong": Settings(steps=20, epsilon=1e-4, update="adam", contrast=1.0),
}
