"""The page of the tab Compare, and what its events do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ...ui import messages
from ..state import QUIET, Studio, elem_id
from . import display
from .comparison import comparison
from .form import Form
from .request import request
from .restoring import restored


def build(studio: Studio, page: gr.Blocks) -> None:
    """Draw the tab inside the current block."""
    form = Form()
    with gr.Row(elem_id=elem_id("compare")):
        with gr.Column(elem_id=elem_id("form")):
            form.draw(studio)
            with gr.Row(elem_classes="studio-together"):
                go = gr.Button("Generate", variant="primary", min_width=100, elem_id=elem_id("generate"))
                stop = gr.Button("Cancel", min_width=100, elem_id=elem_id("cancel"))
            message = gr.HTML(elem_id=elem_id("message"))
        with gr.Column(elem_id=elem_id("results")):
            outputs = display.build(message)
        with gr.Column(elem_id=elem_id("rest")):
            with gr.Accordion("More", open=False, elem_id=elem_id("more")):
                form.draw_more(studio)
            picture = gr.File(
                label="Restore settings from an image", file_types=[".png"], height=120, elem_id=elem_id("restore")
            )
    _generating(studio, form, go, stop, outputs)
    _restoring(studio, form, picture, message)
    _listing(studio, form, page)


def _generating(studio: Studio, form: Form, go: gr.Button, stop: gr.Button, outputs: dict[str, Any]) -> None:
    @messages.errors_as_text(len(outputs))
    def generate(caller: gr.Request, *values: Any) -> Iterator[list[Any]]:
        studio.library.refresh()
        asked = comparison(request(dict(zip(form.inputs, values, strict=True))), studio.library)
        for updates in display.updates(asked, studio.engine, studio.new_folder(), _session(caller)):
            yield [updates.get(name, gr.skip()) for name in outputs]

    # the engine does one job at a time, and tells who is waiting
    event = {"fn": generate, "inputs": [*form.inputs.values()], "outputs": [*outputs.values()], **QUIET}
    event["concurrency_limit"] = None
    display.offer_download(outputs, gr.on([go.click, form.inputs["prompt"].submit], **event))
    for button, values in form.examples:
        filled = button.click(
            lambda values=values: [*values.values()], outputs=[form.inputs[name] for name in values], **QUIET
        )
        display.offer_download(outputs, filled.then(**event))

    def cancel(caller: gr.Request) -> None:
        studio.engine.cancel(_session(caller))

    stop.click(cancel, **QUIET)


def _restoring(studio: Studio, form: Form, picture: gr.File, message: gr.HTML) -> None:
    @messages.errors_as_text(1 + len(form.inputs))
    def restore(file: str | None) -> list[Any]:
        values, sentence = restored(studio, Path(file)) if file else ({}, "")
        return [messages.status(sentence), *(values.get(name, gr.skip()) for name in form.inputs)]

    picture.upload(restore, inputs=[picture], outputs=[message, *form.inputs.values()], **QUIET)


def _listing(studio: Studio, form: Form, page: gr.Blocks) -> None:
    aesthetic, grid = form.inputs["aesthetic"], form.inputs["grid"]

    def names(chosen: str | None) -> list[Any]:
        studio.library.refresh()
        found = studio.aesthetics()
        first: dict[str, Any] = {} if chosen or not found else {"value": found[0]}
        return [gr.update(choices=found, **first), gr.update(choices=found)]

    gr.on(
        [page.load, studio.version.change, aesthetic.focus],
        names,
        inputs=[aesthetic],
        outputs=[aesthetic, grid],
        **QUIET,
    )


def _session(caller: gr.Request) -> str:
    return caller.session_hash or ""
