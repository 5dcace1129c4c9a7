"""What the user wants for one job: the accordion's values, checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..embedding import AestheticEmbedding
from ..errors import AestheticError
from ..library import Library
from ..settings import Settings

NONE = "None"  # the dropdowns' choice of no aesthetic
HIRES = ("same", "off")

#: The accordion's values in the order in which hosts and their API pass them. Released, so a new one goes to the end.
NAMES = (
    *("enabled", "embedding", "steps", "step_size", "update", "weight", "blend", "text", "text_strength"),
    *("text_negative", "preservation", "last_layers", "negative", "hires"),
    *("strength_clip_l", "strength_clip_g"),
)
DEFAULTS: dict[str, Any] = {
    "enabled": False,
    "embedding": NONE,
    **{f.name: f.default for f in dataclasses.fields(Settings)},
    "negative": NONE,
    "hires": HIRES[0],
}


@dataclass(frozen=True)
class Target:
    """The aesthetic that one side's prompts are tuned towards, and how.

    Equal targets give equal conditioning: they compare by the aesthetic's content, whatever its file is called.
    """

    embedding: AestheticEmbedding = dataclasses.field(compare=False)
    settings: Settings
    content: str = dataclasses.field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", self.embedding.content_hash)


@dataclass(frozen=True)
class Plan:
    """The targets of a job's prompts and of its negative prompts, either of which may stay plain."""

    positive: Target | None = None
    negative: Target | None = None
    hires: bool = True

    def target(self, negative: bool, hires: bool) -> Target | None:
        if hires and not self.hires:
            return None
        return self.negative if negative else self.positive


def plan(values: Sequence[Any], library: Library) -> Plan | None:
    """The plan that the accordion's values make; None where everything stays plain.

    values: in the order of NAMES; missing ones at the end are defaults, as hosts allow in their API.
    Raises AestheticError where a value is wrong, or an aesthetic is not there.
    """
    given = DEFAULTS | dict(zip(NAMES, values, strict=False))
    if not given["enabled"]:
        return None
    settings = Settings(
        **{f.name: given[f.name] for f in dataclasses.fields(Settings) if f.name != "step_size"},
        step_size=step_size(given["step_size"]),
    )
    if given["hires"] not in HIRES:
        raise AestheticError(f"hires should be one of {', '.join(HIRES)}, not {given['hires']!r}.")
    chosen = [given[side] or NONE for side in ("embedding", "negative")]
    if chosen == [NONE, NONE]:
        raise AestheticError("No embedding is chosen, so the picture is plain. Choose one, or untick the box.")
    if settings.changes_nothing or settings.weight == 0:
        return None
    library.refresh()
    positive, negative = (None if name == NONE else Target(library.get(name), settings) for name in chosen)
    return Plan(positive, negative, given["hires"] == HIRES[0])


def step_size(value: float) -> float:
    """Epsilon from the slider, which is logarithmic: -4 means 1e-4. A positive number is epsilon itself."""
    if not isinstance(value, (int, float)) or value >= 0:
        return value  # Settings tells what is wrong with anything else
    return float(f"{10**value:.1e}")  # two digits: the slider's stops are round numbers


def exponent(step_size: float) -> float:
    """Where the slider stands for this epsilon."""
    return round(math.log10(step_size), 2)
