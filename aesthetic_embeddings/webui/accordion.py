"""The accordion in txt2img and img2img, built from the table in ../settings.py.

It uses only features that gradio 3.41 and 4.40 share, so one builder serves both hosts. Labels and element ids must not
change: hosts store the user's defaults under them.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import gradio as gr

from ..aesthetics.families import supported_models
from ..aesthetics.library import Library
from ..aesthetics.mixes import from_text
from ..errors import AestheticError
from ..settings import STRENGTHS
from ..ui import widgets
from .request import HIRES, NONE

START_FROM = "Start from"
#: The settings under Advanced. Each row has one kind of widget, so its labels line up.
ADVANCED = (
    ("update", "blend"),
    ("contrast", "preservation"),
    ("weight", "last_layers"),
    ("strength_clip_l", "strength_clip_g"),
    ("text", "text_strength"),
    ("text_negative", "any_clip"),
)


def build(
    elem_id: Callable[[str], str],
    library: Library,
    input_accordion: Callable[..., Any],
    tool_button: Callable[..., Any],
    is_img2img: bool,
    warning: str = "",
    build_presets: Callable[[dict[str, Any]], None] = lambda parts: None,
    families: Callable[[], Collection[str]] = tuple,
) -> dict[str, Any]:
    """Build the accordion and return its components by their names in `request.ARGUMENTS`.

    Two more are returned: `hint` says where files go, and `about` which models the chosen embeddings work with.
    elem_id: turns our element ids into the host's. input_accordion, tool_button: the host's widgets.
    warning: a sentence shown at the top. build_presets: builds the last fold, given the other components.
    families: returns the CLIP families of the loaded model, or nothing while they are unknown.
    """
    parts: dict[str, Any] = {}

    def setting(name: str) -> None:
        parts[name] = widgets.setting(name, elem_id(name))

    def embeddings(name: str, label: str, info: str) -> None:
        parts[name] = gr.Dropdown(
            choices(library), value=NONE, label=label, info=info, elem_id=elem_id(name), allow_custom_value=True
        )

    def fold(label: str) -> Any:
        return gr.Accordion(label, open=False, elem_id=elem_id(label.lower().replace(" ", "_") + "_fold"))

    with input_accordion(False, label="Aesthetic gradients", elem_id=elem_id("accordion")) as parts["enabled"]:
        if warning:
            gr.HTML(f"<p class='aesthetic-warning'>{warning}</p>")
        with gr.Row():
            embeddings("embedding", "Embedding", "One embedding, or a mix: dusk:0.7 fog:-0.3")
            refresh = tool_button("\U0001f504", elem_id=elem_id("refresh"), tooltip="Embedding: refresh")
        parts["hint"] = gr.HTML(hint(library), elem_id=elem_id("hint"))
        parts["about"] = gr.HTML(elem_id=elem_id("about"))
        with gr.Row():
            setting("steps")
            setting("epsilon")
        with gr.Row(elem_classes="aesthetic-presets"):
            gr.HTML(START_FROM, elem_classes="aesthetic-caption")
            presets = widgets.preset_buttons(elem_id)
        with gr.Row(elem_classes="aesthetic-folds"):
            with fold("Advanced"):
                with gr.Row():
                    embeddings(
                        "negative", "Embedding for the negative prompt", "None leaves the negative prompt alone."
                    )
                    parts["hires"] = gr.Radio(
                        HIRES,
                        value=HIRES[0],
                        label="Hires pass",
                        info="The same embedding, or the plain prompt.",
                        elem_id=elem_id("hires"),
                        visible=not is_img2img,
                    )
                for row in ADVANCED:
                    with gr.Row():
                        for name in row:
                            setting(name)
            with fold("Reference pictures"):
                parts["pictures"] = gr.File(
                    label="Pictures instead of an embedding",
                    file_count="multiple",
                    file_types=["image"],
                    elem_id=elem_id("pictures"),
                )
            with fold("My presets"):
                build_presets(parts)

    _connect(parts, refresh, library, families)
    widgets.connect_presets(presets, parts, show_progress=False)
    return parts


def _connect(parts: Mapping[str, Any], refresh: Any, library: Library, families: Callable[[], Collection[str]]) -> None:
    """Connect the events of the components. refresh: the button beside the embedding."""
    dropdowns = [parts["embedding"], parts["negative"]]

    def refresh_choices() -> list[Any]:
        library.refresh()
        return [*choice_updates(dropdowns, choices(library)), gr.update(value=hint(library))]

    def show_usable_strengths(*_: Any) -> list[Any]:
        """Hide the strengths of encoders that the loaded model does not have.

        Runs when the accordion is switched on or off, and when an embedding is chosen.
        """
        loaded = families()
        return [gr.update(visible=not loaded or family in loaded) for family in STRENGTHS]

    for dropdown in dropdowns:
        dropdown.change(
            lambda *chosen: models_of(library, *chosen), inputs=dropdowns, outputs=[parts["about"]], show_progress=False
        )
    for trigger in (parts["enabled"], parts["embedding"]):
        trigger.change(
            show_usable_strengths, inputs=[], outputs=[parts[name] for name in STRENGTHS.values()], show_progress=False
        )
    refresh.click(refresh_choices, inputs=[], outputs=[*dropdowns, parts["hint"]], show_progress=False)


def choices(library: Library) -> list[str]:
    return [NONE, *library.names()]


def choice_updates(dropdowns: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Gradio updates that give dropdowns these choices.

    The components' own lists change too: gradio builds pages that are opened later from them.
    """
    for dropdown in dropdowns:
        dropdown.choices[:] = gr.Dropdown(list(names), render=False).choices  # names in gradio 3, pairs in gradio 4
    return [gr.update(choices=list(names)) for _ in dropdowns]


def models_of(library: Library, *chosen: str) -> str:
    """The models that the chosen aesthetics work with, as HTML."""
    lines = []
    for name in dict.fromkeys(name for name in chosen if name and name != NONE):
        try:
            text = f"for {supported_models(library.blend(from_text(name, library)).vectors)}."
        except AestheticError as error:
            text = str(error)
        lines.append(f"<b>{html.escape(name)}</b>: {html.escape(text)}")
    return f"<p class='aesthetic-about'>{'<br>'.join(lines)}</p>" if lines else ""


def hint(library: Library) -> str:
    """Unreadable files, and where to put files while the library is empty, as HTML."""
    faults = [f"<li>{html.escape(entry.fault)}</li>" for entry in library.entries if entry.fault]
    listed = f"<p>Unreadable files:</p><ul>{''.join(faults)}</ul>" if faults else ""
    if library.names():
        return listed
    return (
        "<p>There is no aesthetic yet. Make one in the tab <b>Create aesthetic embedding</b>, or put .safetensors or "
        f".pt files into <code>{html.escape(str(library.folders[0]))}</code> and press \U0001f504.</p>{listed}"
    )
