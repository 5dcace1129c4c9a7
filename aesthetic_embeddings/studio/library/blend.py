"""The part of the tab Library that blends aesthetics, with a live preview."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from ...aesthetics.embedding import AestheticEmbedding
from ...aesthetics.mixes import Mix
from ...diffusion.job import Cell, Job
from ...errors import AestheticError
from ...ui import text_fields
from ...ui.facts import nearest
from ...ui.messages import errors_as_text
from .. import picture_html, try_button
from ..state import CHANGES_LIBRARY, INTERNAL_EVENT, Studio, elem_id
from .files import save

MAX_PARTS = 4
PROMPT = "a castle in a meadow"


def build(studio: Studio, page: gr.Blocks) -> None:
    gr.Markdown("### Blend")
    slider_names, last_preview = (
        gr.State([]),
        gr.State(None),
    )  # the preview is (content hash, image)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            parts = gr.Dropdown(
                label=f"Up to {MAX_PARTS} aesthetics",
                multiselect=True,
                max_choices=MAX_PARTS,
                elem_id=elem_id("blend_parts"),
            )
            weights = [
                gr.Slider(-1, 1, 0.5, step=0.05, visible=False, elem_id=elem_id(f"blend_weight_{index}"))
                for index in range(MAX_PARTS)
            ]
            prompt = gr.Textbox(
                PROMPT,
                label="Prompt of the preview",
                max_lines=1,
                max_length=text_fields.PROMPT,
                elem_id=elem_id("blend_prompt"),
            )
            name = gr.Textbox(
                label="Name of the blend", max_lines=1, max_length=text_fields.NAME, elem_id=elem_id("blend_name")
            )
            button = gr.Button("Save", variant="primary", elem_id=elem_id("blend_save"))
            message = gr.HTML(elem_id=elem_id("blend_saved"))
            saved = try_button.build(studio, "try_blend")
        with gr.Column(scale=2, min_width=260):
            picture = gr.HTML(elem_id=elem_id("blend_preview"))
            nearest_html = gr.HTML(elem_id=elem_id("blend_message"))

    @errors_as_text(outputs=3)
    def preview(parts: list[str], prompt: str, *weights: float) -> Iterator[list[Any]]:
        if not parts:
            yield ["", "", None]
            return
        text = text_fields.text(prompt, "The prompt", text_fields.PROMPT)
        e = _blend(studio, parts, weights)
        nearest_lines = nearest(studio.library, e)
        yield [nearest_lines, gr.skip(), gr.skip()]
        *_, progress = studio.engine.run(Job(((Cell(text, 1, e),),)))
        image = progress.pictures[0][0]
        if image is None:
            raise AestheticError("There is no preview of this blend.")
        caption = f"{text}: {e.notes.removeprefix('blend of ')}"
        figure = picture_html.figure(picture_html.encoded(image, "WEBP"), caption)
        yield [nearest_lines, figure, (e.content_hash, image)]

    @errors_as_text(outputs=3)
    def on_save(name: str, last_preview: Any, parts: list[str], *weights: float) -> list[Any]:
        new_name = text_fields.text(name, "A name", text_fields.NAME)
        if not new_name:
            raise AestheticError("Give the blend a name first.")
        e = _blend(studio, parts, weights, new_name)
        return [save(studio.library, e, _preview_of(e, last_preview)), studio.next_version(), new_name]

    def choices(parts: list[str]) -> Any:
        studio.library.refresh()
        parts = [part for part in parts or () if part in studio.library]
        return gr.update(choices=_blendable(studio, parts), value=parts)

    parts.input(lambda parts: gr.update(choices=_blendable(studio, parts)), parts, parts, **INTERNAL_EVENT)
    parts.change(_slider_updates, [parts, slider_names, *weights], [slider_names, *weights], **INTERNAL_EVENT)
    gr.on(
        [parts.change, prompt.submit, *(weight.change for weight in weights)],
        preview,
        [parts, prompt, *weights],
        [nearest_html, picture, last_preview],
        trigger_mode="always_last",
        **INTERNAL_EVENT,
    )
    gr.on(
        [button.click, name.submit],
        on_save,
        [name, last_preview, parts, *weights],
        [message, studio.version, saved],
        **CHANGES_LIBRARY,
    )
    gr.on([page.load, studio.version.change], choices, parts, parts, **INTERNAL_EVENT)


def _slider_updates(parts: list[str], previous: list[str], *weights: float) -> list[Any]:
    """The names of the visible sliders, and the sliders' updates. A part that stays keeps its weight."""
    weights_by_name = dict(zip(previous, weights, strict=False))
    visible = [gr.update(visible=True, label=part, value=weights_by_name.get(part, 0.5)) for part in parts]
    return [parts, *visible, *[gr.update(visible=False, value=0.5)] * (MAX_PARTS - len(parts))]


def _preview_of(e: AestheticEmbedding, last_preview: tuple[str, Image.Image] | None) -> bytes | None:
    """The last preview, as PNG, if it shows this blend."""
    return picture_html.encoded(last_preview[1], "PNG") if last_preview and last_preview[0] == e.content_hash else None


def _blendable(studio: Studio, parts: Sequence[str]) -> list[str]:
    """The aesthetics that can be blended with these parts. Without parts, those that the model supports."""
    families_of_parts = [set(studio.library.get(part).vectors) for part in parts]
    common = set.intersection(*families_of_parts) if families_of_parts else studio.engine.families
    names = studio.library.names()
    return [name for name in names if name in parts or not common.isdisjoint(studio.library.get(name).vectors)]


def _blend(studio: Studio, parts: Sequence[str], weights: Sequence[float], name: str = "") -> AestheticEmbedding:
    if not parts:
        raise AestheticError("Choose what to blend first.")
    for part in parts[: MAX_PARTS + 1]:
        text_fields.text(part, "A name", text_fields.NAME)
    if len(parts) > MAX_PARTS:
        raise AestheticError(f"A blend has at most {MAX_PARTS} parts.")
    return studio.library.blend(Mix(tuple(zip(parts, weights, strict=False))), name)
