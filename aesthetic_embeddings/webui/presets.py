"""The user's own presets: the accordion's values under a name, in one file of the host's data folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gradio as gr

from ..errors import AestheticError, FileError
from ..storage.paths import write_atomically
from . import accordion, host
from .request import ALIASES, ARGUMENTS, as_epsilon

STORED = [name for name in ARGUMENTS if name not in ("enabled", "pictures")]


def build(parts: Mapping[str, Any], elem_id: Callable[[str], str]) -> None:
    """Draw the widgets that load, save and delete presets of these components."""
    chosen = gr.Dropdown(
        sorted(_read_or_none()),
        label="Preset",
        info="Choose one, or type a new name.",
        elem_id=elem_id("my_presets"),
        allow_custom_value=True,
    )
    with gr.Row(elem_classes="aesthetic-presets"):
        names = ("load", "save", "delete")
        load, save, delete = (
            gr.Button(name.capitalize(), size="sm", elem_id=elem_id(f"{name}_preset")) for name in names
        )
    values = [parts[name] for name in STORED]

    def choices(value: str | None) -> Any:
        (offered,) = accordion.offered([chosen], sorted(read()))
        return {**offered, "value": value}

    def on_load(name: str | None) -> list[Any]:
        with _errors_as_warnings():
            preset = get(name)
            return [preset.get(each, gr.update()) for each in STORED]
        return [gr.update() for _ in STORED]

    def on_save(name: str | None, *shown: Any) -> Any:
        with _errors_as_warnings():
            put(name, dict(zip(STORED, shown, strict=True)))
            return choices((name or "").strip())
        return gr.update()

    def on_delete(name: str | None) -> Any:
        with _errors_as_warnings():
            remove(name)
            return choices(None)
        return gr.update()

    load.click(on_load, inputs=[chosen], outputs=values, show_progress=False)
    save.click(on_save, inputs=[chosen, *values], outputs=[chosen], show_progress=False)
    delete.click(on_delete, inputs=[chosen], outputs=[chosen], show_progress=False)


@contextmanager
def _errors_as_warnings() -> Iterator[None]:
    """Errors are shown on the page."""
    try:
        yield
    except AestheticError as error:
        gr.Warning(f"Aesthetic gradients: {error}")


def read() -> dict[str, dict[str, Any]]:
    """All presets by name. Raises FileError where the file is damaged."""
    file = host.presets_file()
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not isinstance(found, dict) or not all(isinstance(values, dict) for values in found.values()):
            raise ValueError
    except (OSError, ValueError):
        raise FileError(f"{file} cannot be read. Repair it, or delete it to start again.") from None
    return found


def get(name: str | None) -> dict[str, Any]:
    presets = read()
    if name not in presets:
        raise AestheticError(f"There is no preset called {name!r}. Choose one that is there.")
    preset = {ALIASES.get(key, key): value for key, value in presets[str(name)].items()}
    return preset | {key: as_epsilon(value) for key, value in preset.items() if key == "epsilon"}


def put(name: str | None, values: Mapping[str, Any]) -> None:
    """Save them under this name, in place of what had it."""
    if not (name or "").strip():
        raise AestheticError("Type a name for the preset.")
    _write(read() | {str(name).strip(): dict(values)})


def remove(name: str | None) -> None:
    get(name)
    _write({other: values for other, values in read().items() if other != name})


def _write(presets: Mapping[str, Any]) -> None:
    write_atomically(host.presets_file(), json.dumps(presets, indent=1, ensure_ascii=False).encode())


def _read_or_none() -> dict[str, Any]:
    try:
        return read()
    except FileError:
        return {}  # the error is shown when a preset is saved
