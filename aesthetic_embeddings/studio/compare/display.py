"""The widgets that show a comparison while it runs, and its result."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from ...diffusion.job import Progress
from .. import plots
from ..state import INTERNAL_EVENT, elem_id
from .request import PAIRS
from .results import Result
from .saving import Pair

SIDE_BY_SIDE, SLIDER = VIEWS = ("Side by side", "Slider")

Updates = dict[str, Any]  # component's name -> its update


def build(message: gr.HTML) -> dict[str, Any]:
    """Build the widgets, and return those that updates change, by name."""
    components: dict[str, Any] = {"message": message, "pairs": gr.State(()), "file": gr.State("")}
    image_options: dict[str, Any] = {"interactive": False, "type": "filepath", "format": "png"}
    gallery_options: dict[str, Any] = {"allow_preview": False, "buttons": [], "object_fit": "cover", "height": "auto"}
    components["empty"] = gr.HTML("<p>Pictures appear here.</p>", elem_id=elem_id("empty"))
    with gr.Column(visible=False, elem_id=elem_id("pairs")) as components["pairs_view"]:
        with gr.Row(elem_classes="studio-together") as side_by_side_row:
            for name in ("original", "personalized"):
                components[name] = gr.Image(
                    label=name.capitalize(),
                    alt_text=f"The {name} picture",
                    buttons=["download"],
                    min_width=100,
                    elem_id=elem_id(name),
                    **image_options,
                )
        with gr.Row(visible=False) as slider_row:
            components["slider"] = gr.ImageSlider(
                label="Original and personalized", show_label=False, elem_id=elem_id("slider"), **image_options
            )
        view = gr.Radio(list(VIEWS), value=SIDE_BY_SIDE, show_label=False, container=False, elem_id=elem_id("view"))
        components["thumbnails"] = gr.Gallery(
            label="All seeds",
            show_label=False,
            columns=4,
            visible=False,
            elem_id=elem_id("thumbnails"),
            **gallery_options,
        )
    components["sheet"] = gr.Image(
        label="Figure",
        alt_text="All pictures",
        show_label=False,
        visible=False,
        buttons=[],
        elem_id=elem_id("sheet"),
        **image_options,
    )
    components["download"] = gr.DownloadButton(
        "Download with settings", size="sm", visible=False, elem_id=elem_id("save")
    )
    components["curves"] = gr.HTML(elem_id=elem_id("curves"))
    components["history"] = gr.Gallery(
        label="History", columns=6, visible=False, elem_id=elem_id("history"), **gallery_options
    )

    view.change(
        lambda view: [gr.update(visible=view == SIDE_BY_SIDE), gr.update(visible=view == SLIDER)],
        inputs=[view],
        outputs=[side_by_side_row, slider_row],
        **INTERNAL_EVENT,
    )

    def show_pair(pairs: Sequence[Pair], event: gr.SelectData) -> list[Any]:
        updates = _pair_updates(pairs[event.index])
        return [updates[name] for name in pair_names]

    pair_names = ("original", "personalized", "slider", "file")
    selection = components["thumbnails"].select(
        show_pair, [components["pairs"]], [components[name] for name in pair_names], **INTERNAL_EVENT
    )
    connect_download(components, selection)
    return components


def connect_download(components: dict[str, Any], event: Any) -> Any:
    """After the event, let the button download the file.

    This is a separate event, since gradio's page sometimes loses a file's address among many updates.
    """
    return event.then(
        lambda file: gr.update(value=file or None, visible=bool(file)),
        [components["file"]],
        [components["download"]],
        **INTERNAL_EVENT,
    )


def start_updates(layout: str) -> Updates:
    """The updates when a comparison starts."""
    return {**_clear_updates(layout), "message": progress_bar(Progress("Starting"))}


def progress_updates(progress: Progress, previous: Result, result: Result) -> Updates:
    """The updates from the previous result to this one."""
    updates: Updates = {"message": progress_bar(progress)}
    if result.curves != previous.curves:
        updates["curves"] = plots.curves(result.curves)
    if (result.pairs, result.sheet) != (previous.pairs, previous.sheet):
        updates |= _picture_updates(result)
    return updates


def result_updates(result: Result) -> Updates:
    """The updates that show a result, whatever the page showed before."""
    layout = result.comparison.request.layout
    return {
        **_clear_updates(layout),
        **_picture_updates(result),
        "message": result.summary,
        "curves": plots.curves(result.curves),
        "file": result.file,
    }


def history_update(results: Sequence[Result]) -> Any:
    """The update of the history. It is visible from two results on."""
    pictures = [(result.file, result.comparison.request.prompt) for result in results]
    return gr.update(value=pictures, visible=len(pictures) > 1, selected_index=None)


def progress_bar(progress: Progress) -> str:
    time_left = f", about {progress.seconds_left:.0f} s left" if progress.seconds_left else ""
    return (
        f"<label class='aesthetic-status' role='status'><progress max='1' value='{progress.fraction:.3f}'></progress>"
        f"{escape(progress.message)}{time_left}</label>"
    )


def _clear_updates(layout: str) -> Updates:
    """The updates that clear the display for a result of this layout."""
    return {
        "empty": gr.update(visible=False),
        "pairs_view": gr.update(visible=layout == PAIRS),
        "sheet": gr.update(visible=layout != PAIRS, value=None),
        **(dict.fromkeys(("original", "personalized", "slider")) if layout == PAIRS else {}),
        "thumbnails": gr.update(visible=False, value=None),
        "download": gr.update(visible=False),
        "curves": "",
        "file": "",
        "pairs": (),
    }


def _picture_updates(result: Result) -> Updates:
    """The updates that show the pictures: the first pair and thumbnails of all, or the sheet."""
    if result.sheet:
        return {"sheet": gr.update(visible=True, value=result.sheet)}
    complete = tuple(pair for pair in result.pairs if pair.personalized)
    if not complete:
        return {"original": result.pairs[0].original} if result.pairs else {}
    updates: Updates = {**_pair_updates(complete[0]), "pairs": complete}
    if len(complete) > 1:
        thumbnails = [(pair.personalized, str(pair.seed)) for pair in complete]
        updates["thumbnails"] = gr.update(visible=True, value=thumbnails, columns=min(4, len(complete)))
    return updates


def _pair_updates(pair: Pair) -> Updates:
    return {
        "original": pair.original,
        "personalized": pair.personalized,
        "slider": (pair.original, pair.personalized),
        "file": pair.personalized,
    }
