"""The widgets that show a comparison while it is made, and when it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from time import perf_counter
from typing import Any

import gradio as gr

from ...diffusion.job import Progress
from ...ui import messages
from .. import plots
from ..engine import Engine
from ..state import QUIET, elem_id
from .comparison import Comparison
from .request import PAIRS
from .saving import Pair, save_pairs, save_sheet

SIDE_BY_SIDE, SLIDER = VIEWS = ("Side by side", "Slider")

Updates = dict[str, Any]  # for some of a display's parts, by name


def build(message: gr.HTML) -> dict[str, Any]:
    """Draw the widgets, and return those that are updated, by name."""
    parts: dict[str, Any] = {"message": message, "pairs": gr.State(()), "file": gr.State("")}
    static: dict[str, Any] = {"interactive": False, "type": "filepath", "format": "png"}
    with gr.Column(elem_id=elem_id("pairs")) as parts["pairs_view"]:
        with gr.Row(elem_classes="studio-together") as side_by_side:
            for name in ("original", "personalized"):
                parts[name] = gr.Image(
                    label=name.capitalize(), buttons=["download"], min_width=100, elem_id=elem_id(name), **static
                )
        with gr.Row(visible=False) as sliding:
            parts["slider"] = gr.ImageSlider(
                label="Original and personalized", max_height=640, elem_id=elem_id("slider"), **static
            )
        view = gr.Radio(list(VIEWS), value=SIDE_BY_SIDE, show_label=False, container=False, elem_id=elem_id("view"))
        parts["thumbnails"] = gr.Gallery(
            label="All seeds",
            show_label=False,
            columns=4,
            height="auto",
            allow_preview=False,
            buttons=[],
            object_fit="cover",
            visible=False,
            elem_id=elem_id("thumbnails"),
        )
    parts["sheet"] = gr.Image(
        label="Figure", show_label=False, visible=False, buttons=[], elem_id=elem_id("sheet"), **static
    )
    parts["download"] = gr.DownloadButton("Download with settings", interactive=False, elem_id=elem_id("save"))
    parts["curve"] = plots.curves_plot(elem_id("curve"))

    view.change(
        lambda view: [gr.update(visible=view == SIDE_BY_SIDE), gr.update(visible=view == SLIDER)],
        inputs=[view],
        outputs=[side_by_side, sliding],
        **QUIET,
    )
    offer_download(parts, parts["thumbnails"].select(*_choosing(parts), **QUIET))
    return parts


def _choosing(parts: dict[str, Any]) -> tuple[Any, list[Any], list[Any]]:
    """The handler that shows the pair whose thumbnail is chosen, its inputs and its outputs."""
    names = ("original", "personalized", "slider", "file")

    def choose(pairs: Sequence[Pair], event: gr.SelectData) -> list[Any]:
        updates = _pair(pairs[event.index])
        return [updates.get(name, gr.skip()) for name in names]

    return choose, [parts["pairs"]], [parts[name] for name in names]


def offer_download(parts: dict[str, Any], event: Any) -> Any:
    """After the event, let the button download the file.

    This is an event of its own, as gradio's page sometimes loses the address of a file that comes among many updates.
    """
    return event.then(
        lambda file: gr.update(value=file or None, interactive=bool(file)),
        inputs=[parts["file"]],
        outputs=[parts["download"]],
        **QUIET,
    )


def updates(comparison: Comparison, engine: Engine, folder: Path, owner: str) -> Iterator[Updates]:
    """Do the comparison's job, and yield what changes on the page; the last update has all of it."""
    started = perf_counter()
    labels = engine.labels(comparison.job)
    yield _begin(comparison, labels)
    before, shown = Progress(""), Updates()
    for progress in engine.run(comparison.job, owner):
        changed = Updates()
        if progress.curves != before.curves and progress.curves.keys() == {*labels}:  # a plot keeps its first curves
            changed["curve"] = gr.update(value=plots.curves(progress.curves), visible=True)
        if _made(progress) != _made(before):
            changed |= _pictures(comparison, progress, folder, engine.model)
        before = progress
        shown |= changed
        yield {"message": progress_bar(progress), **changed}
    # all of it once more: a busy page may have left something out
    yield {**shown, "message": summary(comparison, progress, perf_counter() - started)}


def _begin(comparison: Comparison, labels: Sequence[str]) -> Updates:
    in_pairs = comparison.request.layout == PAIRS
    return {
        "message": progress_bar(Progress("Starting")),
        "pairs_view": gr.update(visible=in_pairs),
        "sheet": gr.update(visible=not in_pairs, value=None),
        **(dict.fromkeys(("original", "personalized", "slider")) if in_pairs else {}),
        "thumbnails": gr.update(visible=False, value=None),
        "download": gr.update(interactive=False),
        "file": "",
        "curve": gr.update(value=None, color_map=plots.colors(labels), visible=False),
        "pairs": (),
    }


def _pictures(comparison: Comparison, progress: Progress, folder: Path, model: str) -> Updates:
    """Save the pictures made so far, and show them: of pairs the first large, and all small."""
    if comparison.request.layout != PAIRS:
        sheet = save_sheet(comparison, progress, folder, model)
        complete = _made(progress) == sum(map(len, progress.pictures))
        return {"sheet": sheet, **({"file": sheet} if complete else {})}
    saved = save_pairs(comparison, progress, folder, model)
    pairs = tuple(pair for pair in saved if pair.personalized)
    if not pairs:
        return {"original": saved[0].original}
    changed: Updates = {"pairs": pairs}
    if len(pairs) == 1:
        changed |= _pair(pairs[0])
    else:
        small = [(pair.personalized, str(pair.seed)) for pair in pairs]
        changed["thumbnails"] = gr.update(value=small, visible=True)
    return changed


def _pair(pair: Pair) -> Updates:
    return {
        "original": pair.original,
        "personalized": pair.personalized,
        "slider": (pair.original, pair.personalized),
        "file": pair.personalized,
    }


def _made(progress: Progress) -> int:
    return sum(image is not None for row in progress.pictures for image in row)


def progress_bar(progress: Progress) -> str:
    return (
        f"<label class='aesthetic-status' role='status'><progress max='1' value='{progress.fraction:.3f}'></progress>"
        f"{escape(progress.message)}</label>"
    )


def summary(comparison: Comparison, progress: Progress, seconds: float) -> str:
    seeds = comparison.request.seeds
    numbers = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    moves = [f"Similarity to {label}: {run[0]:.3f} → {run[-1]:.3f}." for label, run in progress.curves.items()]
    lines = [f"Done in {seconds:.1f} s, {numbers}."]
    lines += moves if comparison.request.layout == PAIRS else []
    return "".join(map(messages.status, [*lines, *progress.notes]))
