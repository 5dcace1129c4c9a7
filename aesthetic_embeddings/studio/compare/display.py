"""The widgets that show a comparison while it is made, and when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from ...diffusion.job import Progress
from .. import plots
from ..state import QUIET, elem_id
from .request import PAIRS
from .results import Result
from .saving import Pair

SIDE_BY_SIDE, SLIDER = VIEWS = ("Side by side", "Slider")

Updates = dict[str, Any]  # of some parts of the display, by name


def build(message: gr.HTML) -> dict[str, Any]:
    """Draw the widgets, and return those that are updated, by name."""
    parts: dict[str, Any] = {"message": message, "pairs": gr.State(()), "file": gr.State("")}
    static: dict[str, Any] = {"interactive": False, "type": "filepath", "format": "png"}
    gallery: dict[str, Any] = {"allow_preview": False, "buttons": [], "object_fit": "cover", "height": "auto"}
    parts["empty"] = gr.HTML("<p>Pictures appear here.</p>", elem_id=elem_id("empty"))
    with gr.Column(visible=False, elem_id=elem_id("pairs")) as parts["pairs_view"]:
        with gr.Row(elem_classes="studio-together") as side_by_side:
            for name in ("original", "personalized"):
                parts[name] = gr.Image(
                    label=name.capitalize(),
                    alt_text=f"The {name} picture",
                    buttons=["download"],
                    min_width=100,
                    elem_id=elem_id(name),
                    **static,
                )
        with gr.Row(visible=False) as sliding:
            parts["slider"] = gr.ImageSlider(
                label="Original and personalized", show_label=False, elem_id=elem_id("slider"), **static
            )
        view = gr.Radio(list(VIEWS), value=SIDE_BY_SIDE, show_label=False, container=False, elem_id=elem_id("view"))
        parts["thumbnails"] = gr.Gallery(
            label="All seeds", show_label=False, columns=4, visible=False, elem_id=elem_id("thumbnails"), **gallery
        )
    parts["sheet"] = gr.Image(
        label="Figure",
        alt_text="All pictures",
        show_label=False,
        visible=False,
        buttons=[],
        elem_id=elem_id("sheet"),
        **static,
    )
    parts["download"] = gr.DownloadButton("Download with settings", size="sm", visible=False, elem_id=elem_id("save"))
    parts["curves"] = gr.HTML(elem_id=elem_id("curves"))
    parts["history"] = gr.Gallery(label="History", columns=6, visible=False, elem_id=elem_id("history"), **gallery)

    view.change(
        lambda view: [gr.update(visible=view == SIDE_BY_SIDE), gr.update(visible=view == SLIDER)],
        inputs=[view],
        outputs=[side_by_side, sliding],
        **QUIET,
    )

    def choose(pairs: Sequence[Pair], event: gr.SelectData) -> list[Any]:
        updates = _pair(pairs[event.index])
        return [updates[name] for name in chosen]

    chosen = ("original", "personalized", "slider", "file")
    choosing = parts["thumbnails"].select(choose, [parts["pairs"]], [parts[name] for name in chosen], **QUIET)
    offer_download(parts, choosing)
    return parts


def offer_download(parts: dict[str, Any], event: Any) -> Any:
    """After the event, let the button download the file.

    This is an event of its own, as gradio's page sometimes loses the address of a file that comes among many updates.
    """
    return event.then(
        lambda file: gr.update(value=file or None, visible=bool(file)), [parts["file"]], [parts["download"]], **QUIET
    )


def begin(layout: str) -> Updates:
    """The updates before the first progress."""
    return {**_cleared(layout), "message": progress_bar(Progress("Starting"))}


def update(progress: Progress, before: Result, result: Result) -> Updates:
    """The updates from one result to the next."""
    updates: Updates = {"message": progress_bar(progress)}
    if result.curves != before.curves:
        updates["curves"] = plots.curves(result.curves)
    if (result.pairs, result.sheet) != (before.pairs, before.sheet):
        updates |= _pictures(result)
    return updates


def show(result: Result) -> Updates:
    """The updates that show a whole result, whatever was shown before."""
    layout = result.comparison.request.layout
    return {
        **_cleared(layout),
        **_pictures(result),
        "message": result.summary,
        "curves": plots.curves(result.curves),
        "file": result.file,
    }


def gallery(results: Sequence[Result]) -> Any:
    """The update that lists a history; one result alone is no history."""
    pictures = [(result.file, result.comparison.request.prompt) for result in results]
    return gr.update(value=pictures, visible=len(pictures) > 1, selected_index=None)


def progress_bar(progress: Progress) -> str:
    left = f", about {progress.seconds_left:.0f} s left" if progress.seconds_left else ""
    return (
        f"<label class='aesthetic-status' role='status'><progress max='1' value='{progress.fraction:.3f}'></progress>"
        f"{escape(progress.message)}{left}</label>"
    )


def _cleared(layout: str) -> Updates:
    """The updates that make room for a result of this layout."""
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


def _pictures(result: Result) -> Updates:
    """Of pairs the first large, and all small; or the sheet."""
    if result.sheet:
        return {"sheet": gr.update(visible=True, value=result.sheet)}
    whole = tuple(pair for pair in result.pairs if pair.personalized)
    if not whole:
        return {"original": result.pairs[0].original} if result.pairs else {}
    updates: Updates = {**_pair(whole[0]), "pairs": whole}
    if len(whole) > 1:
        small = [(pair.personalized, str(pair.seed)) for pair in whole]
        updates["thumbnails"] = gr.update(visible=True, value=small, columns=min(4, len(whole)))
    return updates


def _pair(pair: Pair) -> Updates:
    return {
        "original": pair.original,
        "personalized": pair.personalized,
        "slider": (pair.original, pair.personalized),
        "file": pair.personalized,
    }
