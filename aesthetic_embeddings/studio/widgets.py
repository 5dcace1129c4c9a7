"""Widgets for the settings, from the table in ../settings.py."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import gradio as gr

from ..settings import Settings
from .state import elem_id

FIELDS = {f.name: f for f in dataclasses.fields(Settings)}
#: What the sliders offer, where that is less than what is accepted.
RANGES = {"steps": (0, 50, 1), "step_size": (-5, -2, 0.05), "preservation": (0, 10, 0.1), "last_layers": (0, 32, 1)}
LABELS = {"step_size": "Epsilon, as a power of ten"}
INFO = {"step_size": "-4 is 0.0001, as published; -5 the weakest, -2 far too strong for adam."}


def setting(name: str, **more: Any) -> Any:
    """The widget of one setting; logarithmic ones show the exponent."""
    f = FIELDS[name]
    about, value = f.metadata, shown(name, f.default)
    common = {"label": LABELS.get(name, about["label"]), "info": INFO.get(name, about["help"]), **more}
    common |= {"value": value, "elem_id": elem_id(name)}
    if about["choices"]:
        return gr.Dropdown(list(about["choices"]), **common)
    if isinstance(f.default, bool):
        return gr.Checkbox(**common)
    if isinstance(f.default, str):
        return gr.Textbox(lines=1, **common)
    low, high, step = RANGES.get(name, (about["low"], about["high"], 0.01))
    return gr.Slider(low, high, step=step, **common)


def settings(values: Mapping[str, Any]) -> Settings:
    """The settings that widgets show, by name. Raises AestheticError where there are no such settings."""
    return Settings(**{name: _meant(name, values[name]) for name in FIELDS})


def shown(name: str, value: Any) -> Any:
    """What a setting's widget shows for a value: where it is logarithmic, the power of ten that means just this."""
    if not (FIELDS[name].metadata["log"] and 0 < value < 1):
        return value
    exact = math.log10(value)
    return next((x for x in (round(exact, 2), exact) if _meant(name, x) == value), value)


def _meant(name: str, value: Any) -> Any:
    if not FIELDS[name].metadata["log"] or not isinstance(value, (int, float)) or not -300 < value < 0:
        return value
    digits = 2 if round(value, 2) == value else 12  # the slider's stops are round numbers
    return float(f"{10**value:.{digits - 1}e}")
