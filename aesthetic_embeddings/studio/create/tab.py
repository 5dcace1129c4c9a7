"""The page of the tab Create, and its event handlers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr

from ...aesthetics.names import check_name
from ...errors import AestheticError, Interrupted
from ...ui import scripts, text_fields
from ...ui.messages import errors_as_text
from .. import picture_html, plots, try_button
from ..library.files import save
from ..state import CHANGES_LIBRARY, INTERNAL_EVENT, Studio, elem_id
from . import report, uploads
from .uploads import MAX_PICTURES, Pictures


@dataclass
class UploadState:
    """State of each page that its handlers share: the files that are not embedded yet, and whether to stop."""

    waiting: list[str] = field(default_factory=list)
    cancelled: bool = False


def build(studio: Studio, page: gr.Blocks) -> None:
    """Build the tab inside the current block."""
    pictures, upload = gr.State(Pictures(), time_to_live=3600), gr.State(UploadState())
    gr.Markdown("Use at least five pictures in one taste, better twenty. Their look matters more than what they show.")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            drop_zone = gr.File(
                label="Drop pictures, or a folder of them", file_count="multiple", height=200, elem_id=elem_id("zone")
            )
            with gr.Row():
                folder = gr.UploadButton(
                    "Choose a folder", file_count="directory", size="sm", elem_id=elem_id("choose_folder")
                )
                samples = gr.Button("Try sample pictures", size="sm", elem_id=elem_id("samples"))
                cancel = gr.Button("Cancel", size="sm", variant="stop", visible=False, elem_id=elem_id("create_cancel"))
            message = gr.HTML(elem_id=elem_id("create_message"))
            with gr.Column(visible=False) as save_form:
                _build_save_form(studio, pictures)
        with gr.Column(scale=3, min_width=300, visible=False) as results:
            with gr.Row():
                remove_outliers_button = gr.Button(
                    visible=False, variant="primary", size="sm", elem_id=elem_id("remove_odd")
                )
                reset = gr.Button("Reset", size="sm", elem_id=elem_id("reset"))
            summary_html = gr.HTML(elem_id=elem_id("alike"))
            plot = plots.similarity_plot(elem_id("likeness"))
            tiles = gr.HTML(js_on_load=picture_html.CLICKS, elem_id=elem_id("pictures"))
    display = [pictures, save_form, results, summary_html, remove_outliers_button, plot, tiles]
    outputs = [message, *display]

    def add_to_waiting(files: Any, upload: UploadState) -> list[Any]:
        upload.waiting += [str(file) for file in files or ()]
        upload.cancelled = False
        return [gr.update(visible=True), None]  # None empties the drop zone for more files

    @errors_as_text(outputs=len(outputs))
    def embed(current: Pictures, upload: UploadState, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        files, upload.waiting = upload.waiting, []
        if not files:
            return [gr.skip()] * len(outputs)  # an earlier event has embedded them too

        def on_progress(encoder: str, done: int, total: int) -> None:
            if upload.cancelled:
                raise Interrupted("Cancelled. The earlier pictures are kept." if current.creations else "Cancelled.")
            count = f"{done} of {total} pictures" if done else "Loading the encoder"
            progress(done / max(total, 1), desc=f"{encoder}: {count}" if len(studio.encoders) > 1 else count)

        return ["", *_display_updates(uploads.add(current, files, studio.encoders, on_progress))]

    @errors_as_text(outputs=len(outputs))
    def remove_one(current: Pictures, event: gr.EventData) -> list[Any]:
        key = picture_html.key(event)
        return [
            "",
            *_display_updates(current.without([file for file in current.thumbnails if uploads.key(file) == key])),
        ]

    @errors_as_text(outputs=len(outputs))
    def remove_outliers(current: Pictures) -> list[Any]:
        return ["", *_display_updates(current.without(current.outliers()))]

    for event, files in (
        (drop_zone.upload, drop_zone),
        (folder.upload, folder),
        (samples.click, gr.State(uploads.samples())),
    ):
        start = event(add_to_waiting, [files, upload], [cancel, drop_zone], queue=False, **INTERNAL_EVENT)
        embedding = start.then(
            embed,
            [pictures, upload],
            outputs,
            show_progress_on=[message],
            concurrency_id="create",
            concurrency_limit=1,
            api_visibility="private",
        )
        embedding.then(lambda: gr.update(visible=False), None, cancel, queue=False, **INTERNAL_EVENT)
    cancel.click(_cancel, upload, None, queue=False, **INTERNAL_EVENT)
    tiles.delete(remove_one, pictures, outputs, **INTERNAL_EVENT)
    remove_outliers_button.click(remove_outliers, pictures, outputs, **INTERNAL_EVENT)
    reset.click(lambda: ["", *_display_updates(Pictures())], None, outputs, **INTERNAL_EVENT)
    scripts.accept_folders(page, elem_id("zone"), MAX_PICTURES)


def _build_save_form(studio: Studio, pictures: gr.State) -> None:
    """Build the form that saves the pictures as an aesthetic."""
    name = gr.Textbox(
        label="Name of the new aesthetic",
        placeholder="dusk",
        max_lines=1,
        max_length=text_fields.NAME,
        elem_id=elem_id("new_name"),
    )
    ordinary = gr.File(
        label="Ordinary pictures, for contrast (optional)",
        file_count="multiple",
        file_types=["image"],
        height=120,
        elem_id=elem_id("ordinary"),
    )
    overwrite = gr.Checkbox(False, label="Replace the aesthetic of this name", elem_id=elem_id("replace"))
    button = gr.Button("Save", variant="primary", elem_id=elem_id("create_save"))
    message = gr.HTML(elem_id=elem_id("saved"))
    saved = try_button.build(studio, "try_created")

    @errors_as_text(outputs=3)
    def on_save(pictures: Pictures, name: str, overwrite: bool, ordinary: list[str] | None) -> list[Any]:
        if not pictures.creations:
            raise AestheticError("There are no pictures yet. Drop some into the frame above.")
        new_name = text_fields.text(name, "A name", text_fields.NAME)
        if not new_name:
            raise AestheticError("Give the new aesthetic a name first.")
        check_name(new_name)
        embedding = replace(
            pictures.aesthetic(new_name), against=uploads.mean_vectors(ordinary, studio.encoders) if ordinary else {}
        )
        sentence = save(studio.library, embedding, pictures.preview(), overwrite=overwrite)
        return [sentence, studio.next_version(), new_name]

    gr.on(
        [button.click, name.submit],
        on_save,
        [pictures, name, overwrite, ordinary],
        [message, studio.version, saved],
        **CHANGES_LIBRARY,
    )


def _display_updates(pictures: Pictures) -> list[Any]:
    """The updates that show these pictures: of the state, the save form, and the results' column and its parts."""
    if not pictures.creations:
        hidden = gr.update(visible=False)
        return [pictures, hidden, hidden, "", hidden, None, ""]
    first, outliers = pictures.creations[0], pictures.outliers()
    label = f"Remove the {len(outliers)} unlike the others" if len(outliers) > 1 else "Remove the one unlike the others"
    names = [Path(file).name for file in first.files]
    return [
        pictures,
        gr.update(visible=True),
        gr.update(visible=True),
        report.summary(pictures),
        gr.update(visible=bool(outliers), value=label),
        plots.similarity_table(names, first.similarities, [file in outliers for file in first.files]),
        report.tiles(pictures),
    ]


def _cancel(upload: UploadState) -> None:
    upload.cancelled = True
