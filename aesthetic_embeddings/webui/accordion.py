"""The accordion in txt2img and img2img, drawn from the table in ../settings.py.

Only what gradio 3.41 and 4.40 both have is used, so one builder serves both hosts. Labels and element ids are what
hosts keep the user's defaults by, so they do not change.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Sequence
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
#: The settings under Advanced, in rows of one kind of widget each, so that they are level.
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
    below: Callable[[dict[str, Any]], None] = lambda parts: None,
    families: Callable[[], Collection[str]] = tuple,
) -> dict[str, Any]:
    """Draw it, and return its components by their names in `request.ARGUMENTS`.

    Also returns `hint`, which says where files go, and `about`, the models that the chosen embeddings serve.
    elem_id: makes the host's element id out of ours. input_accordion, tool_button: the host's widgets.
    warning: a sentence for the top. below: draws the accordion's last part, given the others.
    families: those of the loaded model's text encoders, where they are known.
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
                below(parts)

    def names() -> list[Any]:
        library.refresh()
        return [*offered(dropdowns, choices(library)), gr.update(value=hint(library))]

    def strengths(*_: Any) -> list[Any]:
        """Hide what the loaded model has no encoder for. Opening the accordion asks, and choosing an embedding."""
        found = families()
        return [gr.update(visible=not found or family in found) for family in STRENGTHS]

    dropdowns = [parts["embedding"], parts["negative"]]
    for dropdown in dropdowns:
        dropdown.change(
            lambda *chosen: about(library, *chosen), inputs=dropdowns, outputs=[parts["about"]], show_progress=False
        )
    for asking in (parts["enabled"], parts["embedding"]):
        asking.change(strengths, inputs=[], outputs=[parts[name] for name in STRENGTHS.values()], show_progress=False)
    refresh.click(names, inputs=[], outputs=[*dropdowns, parts["hint"]], show_progress=False)
    widgets.connect_presets(presets, parts, show_progress=False)
    return parts


def choices(library: Library) -> list[str]:
    return [NONE, *library.names()]


def offered(dropdowns: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """The updates that give dropdowns these choices, at the page that asks and at those opened later.

    In place: later pages come of what gradio has written down once, which holds these very lists.
    """
    for dropdown in dropdowns:
        dropdown.choices[:] = gr.Dropdown(list(names), render=False).choices  # names or pairs, as this gradio has them
    return [gr.update(choices=list(names)) for _ in dropdowns]


def about(library: Library, *chosen: str) -> str:
    """Which models the chosen aesthetics serve."""
    lines = []
    for name in dict.fromkeys(name for name in chosen if name and name != NONE):
        try:
            said = f"for {supported_models(library.blend(from_text(name, library)).vectors)}."
        except AestheticError as error:
            said = str(error)
        lines.append(f"<b>{html.escape(name)}</b>: {html.escape(said)}")
    return f"<p class='aesthetic-about'>{'<br>'.join(lines)}</p>" if lines else ""


def hint(library: Library) -> str:
    faults = [f"<li>{html.escape(entry.fault)}</li>" for entry in library.entries if entry.fault]
    listed = f"<p>Unreadable files:</p><ul>{''.join(faults)}</ul>" if faults else ""
    if library.names():
        return listed
    return (
        "<p>There is no aesthetic yet. Make one in the tab <b>Create aesthetic embedding</b>, or put .safetensors or "
        f".pt files into <code>{html.escape(str(library.folders[0]))}</code> and press \U0001f504.</p>{listed}"
    )
