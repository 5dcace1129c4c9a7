"""The settings as widgets, from the table in settings.py: for the WebUI's page and for the studio's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from ..settings import PRESETS, Settings
from .sliders import INFO, LABELS, RANGES, exponent, from_slider

FIELDS = {f.name: f for f in dataclasses.fields(Settings)}


def setting(name: str, elem_id: str, **more: Any) -> Any:
    """The widget of one setting; logarithmic ones show the exponent."""
    f = FIELDS[name]
    about, value = f.metadata, shown(name, f.default)
    common = {"label": LABELS.get(name, about["label"]), "info": INFO.get(name, about["help"]), **more}
    common |= {"value": value, "elem_id": elem_id}
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
    chosen: dict[str, Any] = {n: from_slider(values[n]) if _is_log(n) else values[n] for n in FIELDS}
    return Settings(**chosen)


def shown(name: str, value: Any) -> Any:
    """What a setting's widget shows for a value."""
    return exponent(value) if _is_log(name) else value


def _is_log(name: str) -> bool:
    return bool(FIELDS[name].metadata["log"])


def preset_buttons(elem_id: Callable[[str], str], **more: Any) -> dict[str, gr.Button]:
    """A button for each preset of the settings, by the preset's name."""
    return {name: gr.Button(name, size="sm", elem_id=elem_id(f"preset_{i}"), **more) for i, name in enumerate(PRESETS)}


def connect_presets(buttons: Mapping[str, gr.Button], parts: Mapping[str, Any], **event: Any) -> None:
    """Let each button set the widgets of the settings, `parts`; what turns the aesthetic to a text stays as it is."""
    names = [name for name in FIELDS if not name.startswith("text")]
    for preset, button in buttons.items():
        values = [shown(name, getattr(PRESETS[preset], name)) for name in names]
        button.click(lambda values=values: values, inputs=[], outputs=[parts[name] for name in names], **event)
