"""The user's own presets: named values of the accordion, in one file of the host's data folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gradio as gr

from ..errors import AestheticError, FileError
from ..storage.paths import write_atomically
from . import accordion, host
from .request import ALIASES, ARGUMENTS, parse_epsilon

STORED_ARGUMENTS = [name for name in ARGUMENTS if name not in ("enabled", "pictures")]


def build(parts: Mapping[str, Any], elem_id: Callable[[str], str]) -> None:
    """Build the widgets that load, save and delete presets. parts: the accordion's components, by name."""
    dropdown = gr.Dropdown(
        sorted(_read_or_none()),
        label="Preset",
        info="Choose one, or type a new name.",
        elem_id=elem_id("my_presets"),
        allow_custom_value=True,
    )
    with gr.Row(elem_classes="aesthetic-presets"):
        names = ("load", "save", "delete")
        load_button, save_button, delete_button = (
            gr.Button(name.capitalize(), size="sm", elem_id=elem_id(f"{name}_preset")) for name in names
        )
    values = [parts[name] for name in STORED_ARGUMENTS]

    def update_dropdown(value: str | None) -> Any:
        (update,) = accordion.choice_updates([dropdown], sorted(read()))
        return {**update, "value": value}

    def on_load(name: str | None) -> list[Any]:
        with _errors_as_warnings():
            preset = get(name)
            return [preset.get(argument, gr.update()) for argument in STORED_ARGUMENTS]
        return [gr.update() for _ in STORED_ARGUMENTS]

    def on_save(name: str | None, *widget_values: Any) -> Any:
        with _errors_as_warnings():
            save(name, dict(zip(STORED_ARGUMENTS, widget_values, strict=True)))
            return update_dropdown((name or "").strip())
        return gr.update()

    def on_delete(name: str | None) -> Any:
        with _errors_as_warnings():
            remove(name)
            return update_dropdown(None)
        return gr.update()

    load_button.click(on_load, inputs=[dropdown], outputs=values, show_progress=False)
    save_button.click(on_save, inputs=[dropdown, *values], outputs=[dropdown], show_progress=False)
    delete_button.click(on_delete, inputs=[dropdown], outputs=[dropdown], show_progress=False)


@contextmanager
def _errors_as_warnings() -> Iterator[None]:
    """Show errors as warnings on the page."""
    try:
        yield
    except AestheticError as error:
        gr.Warning(f"Aesthetic gradients: {error}")


def read() -> dict[str, dict[str, Any]]:
    """All presets, by name. Raises FileError if the file is damaged."""
    file = host.presets_file()
    try:
        presets = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not isinstance(presets, dict) or not all(isinstance(values, dict) for values in presets.values()):
            raise ValueError
    except (OSError, ValueError):
        raise FileError(f"{file} cannot be read. Repair it, or delete it to start again.") from None
    return presets


def get(name: str | None) -> dict[str, Any]:
    """A preset's values, under the current names of arguments. Raises AestheticError if there is no such preset."""
    presets = read()
    if name not in presets:
        raise AestheticError(f"There is no preset called {name!r}. Choose one that is there.")
    preset = {ALIASES.get(key, key): value for key, value in presets[str(name)].items()}
    return preset | {key: parse_epsilon(value) for key, value in preset.items() if key == "epsilon"}


def save(name: str | None, values: Mapping[str, Any]) -> None:
    """Save a preset, and replace one of the same name."""
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
