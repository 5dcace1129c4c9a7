"""The settings as widgets, from the table in settings.py: for the WebUI's page and for the studio's."""

from __future__ import annotations

import dataclasses
from abc import ABCMeta
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import gradio as gr

from ..settings import PRESETS, Settings

FIELDS = {f.name: f for f in dataclasses.fields(Settings)}

#: Sliders that offer less than `Settings` accepts: low, high, step. Useful epsilons range from 1e-5 to 1, and a slider
#: over all of them would have the published 1e-4 at its very end. Others can be typed, since the pages' scripts keep
#: gradio from changing what is typed to the slider's nearest end.
RANGES = {"epsilon": (0.0, 1e-3, 1e-5)}
#: Steps of sliders, where they are not 1 for whole numbers and 0.01 for others.
SLIDER_STEPS = {"preservation": 0.1}


def setting(name: str, elem_id: str, **more: Any) -> Any:
    """The widget of one setting, at its default."""
    f = FIELDS[name]
    about, default = f.metadata, f.default
    common = {"value": default, "label": about["label"], "info": about["help"], "elem_id": elem_id, **more}
    if about["choices"]:
        return gr.Dropdown(list(about["choices"]), **common)
    if isinstance(default, bool):
        return gr.Checkbox(**common)
    if isinstance(default, str):
        return gr.Textbox(lines=1, **common)
    step = SLIDER_STEPS.get(name, 1 if isinstance(default, int) else 0.01)
    low, high, step = RANGES.get(name, (about["low"], about["high"], step))
    kind = _open_slider() if name in RANGES else gr.Slider
    return kind(low, high, step=step, **common)


@cache
def _open_slider() -> Any:
    """A slider that takes values beyond its ends, which gradio 6 refuses.

    Where gradio takes them it is gr.Slider, which is what hosts look for. Elsewhere it is a subclass, made without the
    statement `class`, at which gradio would write a file beside this one.
    """
    try:
        gr.Slider(0, 1, render=False).preprocess(2)
    except gr.Error:
        own = {"preprocess": lambda self, payload: payload, "is_template": True}  # drawn as what it derives from
        return ABCMeta.__new__(type(gr.Slider), "OpenSlider", (gr.Slider,), own)
    return gr.Slider


def settings(values: Mapping[str, Any]) -> Settings:
    """The settings that widgets show, by name. Raises AestheticError where a value is not accepted."""
    return Settings(**{name: values[name] for name in FIELDS})


def preset_buttons(elem_id: Callable[[str], str], **more: Any) -> dict[str, gr.Button]:
    """A button for each preset of the settings, by the preset's name."""
    return {name: gr.Button(name, size="sm", elem_id=elem_id(f"preset_{i}"), **more) for i, name in enumerate(PRESETS)}


def connect_presets(buttons: Mapping[str, gr.Button], parts: Mapping[str, Any], **event: Any) -> None:
    """Let each button set the widgets of the settings, `parts`; what turns the aesthetic to a text stays as it is."""
    names = [name for name in FIELDS if not name.startswith("text")]
    for preset, button in buttons.items():
        values = [getattr(PRESETS[preset], name) for name in names]
        button.click(lambda values=values: values, inputs=[], outputs=[parts[name] for name in names], **event)
