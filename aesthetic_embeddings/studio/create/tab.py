"""The page of the tab Create, and what its events do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr

from ...aesthetics.names import check_name
from ...errors import AestheticError, Interrupted
from ...ui import scripts, text_fields
from ...ui.messages import errors_as_text
from .. import picture_html, plots, trial
from ..library.files import save
from ..state import CHANGES_LIBRARY, QUIET, Studio, elem_id
from . import report, uploads
from .uploads import MAX_PICTURES, Pictures


@dataclass
class UploadState:
    """One for each page, shared by its handlers: the files that are not embedded yet, and whether to stop."""

    waiting: list[str] = field(default_factory=list)
    cancelled: bool = False


def build(studio: Studio, page: gr.Blocks) -> None:
    """Draw the tab inside the current block."""
    pictures, upload = gr.State(Pictures(), time_to_live=3600), gr.State(UploadState())
    gr.Markdown("Use at least five pictures in one taste, better twenty. Their look matters more than what they show.")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            zone = gr.File(
                label="Drop pictures, or a folder of them", file_count="multiple", height=200, elem_id=elem_id("zone")
            )
            with gr.Row():
                folder = gr.UploadButton(
                    "Choose a folder", file_count="directory", size="sm", elem_id=elem_id("choose_folder")
                )
                samples = gr.Button("Try sample pictures", size="sm", elem_id=elem_id("samples"))
                cancel = gr.Button("Cancel", size="sm", variant="stop", visible=False, elem_id=elem_id("create_cancel"))
            message = gr.HTML(elem_id=elem_id("create_message"))
            with gr.Column(visible=False) as saving:
                _saving(studio, pictures)
        with gr.Column(scale=3, min_width=300, visible=False) as results:
            with gr.Row():
                remove_odd = gr.Button(visible=False, variant="primary", size="sm", elem_id=elem_id("remove_odd"))
                reset = gr.Button("Reset", size="sm", elem_id=elem_id("reset"))
            about = gr.HTML(elem_id=elem_id("alike"))
            plot = plots.likeness_plot(elem_id("likeness"))
            tiles = gr.HTML(js_on_load=picture_html.CLICKS, elem_id=elem_id("pictures"))
    shown = [pictures, saving, results, about, remove_odd, plot, tiles]
    outputs = [message, *shown]

    def begin(files: Any, upload: UploadState) -> list[Any]:
        upload.waiting += [str(file) for file in files or ()]
        upload.cancelled = False
        return [gr.update(visible=True), None]  # the drop zone is empty again, for more

    @errors_as_text(outputs=len(outputs))
    def embed(before: Pictures, upload: UploadState, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        files, upload.waiting = upload.waiting, []
        if not files:
            return [gr.skip()] * len(outputs)  # the event before took them along

        def on_progress(encoder: str, done: int, total: int) -> None:
            if upload.cancelled:
                raise Interrupted("Cancelled. The earlier pictures are kept." if before.creations else "Cancelled.")
            count = f"{done} of {total} pictures" if done else "Loading the encoder"
            progress(done / max(total, 1), desc=f"{encoder}: {count}" if len(studio.encoders) > 1 else count)

        return ["", *_shown(uploads.add(before, files, studio.encoders, on_progress))]

    @errors_as_text(outputs=len(outputs))
    def remove(before: Pictures, event: gr.EventData) -> list[Any]:
        removed = picture_html.key(event)
        return ["", *_shown(before.without([file for file in before.thumbnails if uploads.key(file) == removed]))]

    @errors_as_text(outputs=len(outputs))
    def remove_outliers(before: Pictures) -> list[Any]:
        return ["", *_shown(before.without(before.outliers()))]

    for event, files in ((zone.upload, zone), (folder.upload, folder), (samples.click, gr.State(uploads.samples()))):
        begun = event(begin, [files, upload], [cancel, zone], queue=False, **QUIET)
        embedded = begun.then(
            embed,
            [pictures, upload],
            outputs,
            show_progress_on=[message],
            concurrency_id="create",
            concurrency_limit=1,
            api_visibility="private",
        )
        embedded.then(lambda: gr.update(visible=False), None, cancel, queue=False, **QUIET)
    cancel.click(_cancel, upload, None, queue=False, **QUIET)
    tiles.delete(remove, pictures, outputs, **QUIET)
    remove_odd.click(remove_outliers, pictures, outputs, **QUIET)
    reset.click(lambda: ["", *_shown(Pictures())], None, outputs, **QUIET)
    scripts.accept_folders(page, elem_id("zone"), MAX_PICTURES)


def _saving(studio: Studio, pictures: gr.State) -> None:
    """Draw what saves the pictures as an aesthetic."""
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
    outcome = gr.HTML(elem_id=elem_id("saved"))
    saved = trial.build(studio, "try_created")

    @errors_as_text(outputs=3)
    def on_save(chosen: Pictures, name: str, overwrite: bool, ordinary: list[str] | None) -> list[Any]:
        if not chosen.creations:
            raise AestheticError("There are no pictures yet. Drop some into the frame above.")
        new = text_fields.text(name, "A name", text_fields.NAME)
        if not new:
            raise AestheticError("Give the new aesthetic a name first.")
        check_name(new)
        made = replace(chosen.aesthetic(new), against=uploads.mean(ordinary, studio.encoders) if ordinary else {})
        sentence = save(studio.library, made, chosen.preview(), overwrite=overwrite)
        return [sentence, studio.changed(), new]

    gr.on(
        [button.click, name.submit],
        on_save,
        [pictures, name, overwrite, ordinary],
        [outcome, studio.version, saved],
        **CHANGES_LIBRARY,
    )


def _shown(pictures: Pictures) -> list[Any]:
    """The updates that show these pictures: the state, the form that saves, and the results' column and its parts."""
    if not pictures.creations:
        hidden = gr.update(visible=False)
        return [pictures, hidden, hidden, "", hidden, None, ""]
    first, odd = pictures.creations[0], pictures.outliers()
    label = f"Remove the {len(odd)} unlike the others" if len(odd) > 1 else "Remove the one unlike the others"
    names = [Path(file).name for file in first.files]
    return [
        pictures,
        gr.update(visible=True),
        gr.update(visible=True),
        report.summary(pictures),
        gr.update(visible=bool(odd), value=label),
        plots.likeness(names, first.similarities, [file in odd for file in first.files]),
        report.tiles(pictures),
    ]


def _cancel(upload: UploadState) -> None:
    upload.cancelled = True
