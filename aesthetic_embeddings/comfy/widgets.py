"""ComfyUI's widgets for the settings, from the table in settings.py."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from ..settings import Settings


def settings_inputs() -> dict[str, tuple[Any, dict[str, Any]]]:
    """ComfyUI's input types, by the setting's name."""
    return {f.name: _input(f) for f in dataclasses.fields(Settings)}


def settings_from(values: dict[str, Any]) -> Settings:
    return Settings(**{f.name: values[f.name] for f in dataclasses.fields(Settings) if f.name in values})


def _input(f: dataclasses.Field[Any]) -> tuple[Any, dict[str, Any]]:
    info, default = f.metadata, cast(Any, f.default)
    options: dict[str, Any] = {"default": default, "tooltip": info["help"]}
    if info["choices"]:
        return list(info["choices"]), options
    input_type = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}[type(default)]
    if info["low"] is not None:
        options |= {"min": info["low"], "max": info["high"]}
    if input_type == "FLOAT":
        options |= {"step": 1e-5, "round": False} if 0 < default < 0.01 else {"step": 0.05, "round": 0.001}
    return input_type, options
