"""Widgets for the settings, from the table in settings.py. The WebUI's page and the studio share them."""

from __future__ import annotations

import dataclasses
from abc import ABCMeta
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import gradio as gr

from ..settings import PRESETS, Settings

FIELDS = {f.name: f for f in dataclasses.fields(Settings)}

#: Sliders with a smaller range than `Settings` accepts: minimum, maximum, step. Useful epsilons range from 1e-5 to 1,
#: and a slider over all of them would have the published 1e-4 at its very end. Larger values can be typed: the pages'
#: scripts keep gradio from clamping them to the slider's range.
RANGES = {"epsilon": (0.0, 1e-3, 1e-5)}
#: Step sizes of sliders, where they differ from 1 for integers and 0.01 for floats.
SLIDER_STEPS = {"preservation": 0.1}


def setting(name: str, elem_id: str, **kwargs: Any) -> Any:
    """The widget of one setting, with its default value. kwargs: further arguments of the component."""
    f = FIELDS[name]
    info, default = f.metadata, f.default
    common = {"value": default, "label": info["label"], "info": info["help"], "elem_id": elem_id, **kwargs}
    if info["choices"]:
        return gr.Dropdown(list(info["choices"]), **common)
    if isinstance(default, bool):
        return gr.Checkbox(**common)
    if isinstance(default, str):
        return gr.Textbox(lines=1, **common)
    step = SLIDER_STEPS.get(name, 1 if isinstance(default, int) else 0.01)
    minimum, maximum, step = RANGES.get(name, (info["low"], info["high"], step))
    slider = _open_slider() if name in RANGES else gr.Slider
    return slider(minimum, maximum, step=step, **common)


@cache
def _open_slider() -> Any:
    """A slider class that accepts values beyond its range.

    Where gradio accepts them, as in gradio 3 and 4, it is gr.Slider itself, which hosts look for by type. For gradio 6
    it is a subclass. It is built by hand: a `class` statement would make gradio write a .pyi file beside this module.
    """
    try:
        gr.Slider(0, 1, render=False).preprocess(2)
    except gr.Error:
        members = {
            "preprocess": lambda self, payload: payload,
            "is_template": True,
        }  # is_template: shown as its base class
        return ABCMeta.__new__(type(gr.Slider), "OpenSlider", (gr.Slider,), members)
    return gr.Slider


def settings(values: Mapping[str, Any]) -> Settings:
    """Settings from the values of widgets, by name. Raises AestheticError if a value is not accepted."""
    return Settings(**{name: values[name] for name in FIELDS})


def preset_buttons(elem_id: Callable[[str], str], **kwargs: Any) -> dict[str, gr.Button]:
    """A button for each preset of the settings, by the preset's name. kwargs: further arguments of the buttons."""
    return {
        name: gr.Button(name, size="sm", elem_id=elem_id(f"preset_{index}"), **kwargs)
        for index, name in enumerate(PRESETS)
    }


def connect_presets(buttons: Mapping[str, gr.Button], components: Mapping[str, Any], **kwargs: Any) -> None:
    """Let each button set the settings' widgets. The text that the aesthetic turns towards stays as it is.

    components: the widgets, by name. kwargs: further arguments of the click events.
    """
    names = [name for name in FIELDS if not name.startswith("text")]
    for preset, button in buttons.items():
        values = [getattr(PRESETS[preset], name) for name in names]
        button.click(lambda values=values: values, inputs=[], outputs=[components[name] for name in names], **kwargs)
