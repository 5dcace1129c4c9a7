"""Our section in the host's settings. Changes take effect at once, without a restart."""

from __future__ import annotations

from typing import Any

import gradio as gr

from . import conditioner, host

MEGABYTE = 2**20
DEVICES = ("auto", "CPU")


def register() -> None:
    """Add the section. Call it when the host collects its settings (modules/options.py), for each page it builds."""
    opts, section = host.shared.opts, ("aesthetic_gradients", "Aesthetic gradients")
    for name, (default, label, help, component, arguments) in _options().items():
        info = host.shared.OptionInfo(default, label, component, arguments, section=section).info(help)
        opts.add_option(_key(name), info)
        opts.onchange(_key(name), _apply, call=False)
    _apply()


def _options() -> dict[str, tuple[Any, str, str, Any, dict[str, Any]]]:
    """Name -> default, label, help, component, and the component's arguments."""
    return {
        "folders": (
            "",
            "More folders of aesthetic embeddings",
            "one per line; new embeddings go to the first folder as before",
            gr.Textbox,
            {"lines": 3, "visible": host.allows_server_paths()},  # hosts refuse changes of invisible ones
        ),
        "memory": (
            conditioner.tuned_prompts.limit // MEGABYTE,
            "Cache for tuned prompts, in MB",
            "about three SD1 prompts per MB; 0 turns it off",
            gr.Slider,
            {"minimum": 0, "maximum": 1024, "step": 1},
        ),
        "device": (
            DEVICES[0],
            "Tune on",
            "auto: the text encoder's device; the CPU saves GPU memory and is slower",
            gr.Radio,
            {"choices": list(DEVICES)},
        ),
    }


def _apply() -> None:
    """Let the current values take effect."""
    values = {name: getattr(host.shared.opts, _key(name)) for name in _options()}
    host.set_extra_folders(values["folders"].splitlines())
    conditioner.tuned_prompts.resize(int(values["memory"]) * MEGABYTE)
    host.tuning_device = "cpu" if values["device"] == "CPU" else None


def _key(name: str) -> str:
    return f"aesthetic_gradients_{name}"
