"""Validates the form's values. The page limits them too, but a direct call of a handler can send anything."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...aesthetics import mixes
from ...errors import AestheticError
from ...settings import Settings
from ...ui import text_fields, widgets

PAIRS, STRIP, GRID = "pairs", "strip", "grid"
#: Label on the page -> layout.
LAYOUTS = {"Pairs": PAIRS, "Strip over steps": STRIP, "Grid of aesthetics": GRID}
MAX_ROWS = 8  # aesthetics in a grid


class Number(NamedTuple):
    """A number's range, both ends included, and its default."""

    low: float
    high: float
    default: float
    integer: bool = True


#: The form's numbers beside the settings. A seed of -1 means random.
NUMBERS = {
    "seed": Number(-1, 2**32 - 1, -1),
    "count": Number(1, 8, 4),
    "sampler_steps": Number(1, 100, 20),
    "cfg": Number(0, 30, 5, integer=False),
}


@dataclass(frozen=True)
class Request:
    """A request for a comparison.

    aesthetic: a name, or a mix. grid: the names of the aesthetics in a grid. count: the number of seeds, from `seed`.
    """

    layout: str
    prompt: str
    negative_prompt: str
    aesthetic: str
    grid: tuple[str, ...]
    seed: int
    count: int
    sampler_steps: int
    cfg: float
    settings: Settings

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.count)


def parse_request(values: Mapping[str, Any]) -> Request:
    """The request for a form's values. Raises AestheticError if they are not valid."""
    prompt = text_fields.text(values["prompt"], "The prompt", text_fields.PROMPT)
    if not prompt:
        raise AestheticError("Write a prompt first.")
    if values["layout"] not in LAYOUTS.values():
        raise AestheticError(f"The layout should be one of {', '.join(LAYOUTS.values())}.")
    text_fields.text(values["text"], "The text", text_fields.PROMPT)
    seed = number("seed", values["seed"])
    return Request(
        layout=values["layout"],
        prompt=prompt,
        negative_prompt=text_fields.text(values["negative_prompt"], "The negative prompt", text_fields.PROMPT),
        aesthetic=text_fields.text(values["aesthetic"], "The aesthetic", mixes.LONGEST),
        grid=_grid_names(values["grid"]),
        seed=random.randrange(10**6) if seed < 0 else seed,
        count=number("count", values["count"]),
        sampler_steps=number("sampler_steps", values["sampler_steps"]),
        cfg=number("cfg", values["cfg"]),
        settings=widgets.settings(values),
    )


def number(name: str, value: Any) -> Any:
    """A value for one of NUMBERS; None becomes the default. Raises AestheticError if it is out of range."""
    low, high, default, integer = NUMBERS[name]
    if value is None:
        value = default
    if not isinstance(value, (int, float)) or not low <= value <= high or (integer and value != int(value)):
        kind = "a whole number" if integer else "a number"
        raise AestheticError(f"{name.replace('_', ' ')} should be {kind} between {low} and {high}, not {value!r:.40}.")
    return int(value) if integer else float(value)


def _grid_names(values: Any) -> tuple[str, ...]:
    if not isinstance(values or [], (list, tuple)) or len(values or ()) > MAX_ROWS:
        raise AestheticError(f"A grid has at most {MAX_ROWS} aesthetics.")
    return tuple(dict.fromkeys(text_fields.text(name, "A name", text_fields.NAME) for name in values or ()))
