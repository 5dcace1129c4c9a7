"""The page of the tab Evaluate, and what its events do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ... import pocket
from ...aesthetics.known_scorers import SCORERS
from ...evaluation.experiment import KEYWORD, PROMPTS
from ...ui import widgets
from ...ui.messages import errors_as_text, status
from ..compare.display import progress_bar
from ..state import QUIET, Studio, elem_id, session
from .run import MAX_IMAGES, MAX_TEXT, asked

_COLUMNS = {"With the aesthetic's name in the prompt": KEYWORD, "Personalized": "personalized"}


def build(studio: Studio, page: gr.Blocks) -> None:
    """Draw the tab inside the current block."""
    names = studio.aesthetics()
    prompts = pocket.PROMPTS if studio.is_demo else PROMPTS
    fetched = [name for name, scorer in SCORERS.items() if scorer.file.is_file()]
    gr.Markdown(
        "The paper's experiment on this model: the same prompts and seeds, original and personalized, each picture "
        "scored, with the statistics. Comparisons wait while it runs."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            aesthetics = gr.Dropdown(
                names, value=names[:1], multiselect=True, label="Aesthetics", elem_id=elem_id("evaluate_aesthetics")
            )
            texts = gr.Textbox(
                "\n".join(prompts),
                label="Prompts, one per line",
                lines=8,
                max_lines=8,
                max_length=MAX_TEXT,
                elem_id=elem_id("evaluate_prompts"),
            )
            columns = gr.CheckboxGroup(
                list(_COLUMNS.items()),
                value=[*_COLUMNS.values()],
                label="Compare the original with",
                elem_id=elem_id("evaluate_columns"),
            )
        with gr.Column(scale=1, min_width=300):
            images = gr.Slider(
                1, MAX_IMAGES, 2, step=1, label="Pictures of each prompt", elem_id=elem_id("evaluate_images")
            )
            steps = widgets.setting("steps", elem_id("evaluate_steps"))
            epsilon = widgets.setting("epsilon", elem_id("evaluate_epsilon"))
            scorers = gr.CheckboxGroup(
                fetched, value=[], label="Scorers", visible=bool(fetched), elem_id=elem_id("evaluate_scorers")
            )
            with gr.Row(elem_classes="studio-together"):
                start = gr.Button("Start", variant="primary", min_width=100, elem_id=elem_id("evaluate_start"))
                stop = gr.Button("Cancel", visible=False, min_width=100, elem_id=elem_id("evaluate_cancel"))
            message = gr.HTML(elem_id=elem_id("evaluate_message"))
            download = gr.DownloadButton(
                "Download everything", size="sm", visible=False, elem_id=elem_id("evaluate_download")
            )
    results, archive = gr.HTML(elem_id=elem_id("evaluate_results")), gr.State("")
    outputs = [message, stop, results, archive]

    @errors_as_text(len(outputs))
    def evaluate(caller: gr.Request, *values: Any) -> Iterator[list[Any]]:
        studio.library.refresh()
        evaluation = asked(studio, *values)
        yield [status("Starting"), gr.update(visible=True), gr.skip(), ""]
        for progress in evaluation.run(studio, _owner(caller)):
            yield [progress_bar(progress), *[gr.skip()] * 3]
        said = status(f"{evaluation.pictures} pictures.")
        yield [said, gr.skip(), evaluation.page(studio), evaluation.archive(studio)]

    def idle(caller: gr.Request) -> Any:
        return gr.update(visible=studio.engine.busy(_owner(caller)))

    def cancel(caller: gr.Request) -> None:
        studio.engine.cancel(_owner(caller))

    def listed(chosen: list[str]) -> Any:
        studio.library.refresh()
        found = studio.aesthetics()
        return gr.update(choices=found, value=[name for name in chosen if name in found])

    asking = [aesthetics, texts, images, columns, scorers, steps, epsilon]
    made = start.click(evaluate, asking, outputs, concurrency_limit=None, **QUIET)
    made.then(idle, None, stop, **QUIET)
    made.then(lambda file: gr.update(value=file or None, visible=bool(file)), archive, download, **QUIET)
    stop.click(cancel, **QUIET)
    gr.on([page.load, studio.version.change, aesthetics.focus], listed, aesthetics, aesthetics, **QUIET)


def _owner(caller: gr.Request) -> str:
    """The engine knows the tab's jobs by this: to cancel them leaves the comparisons of the same page."""
    return f"{session(caller)} evaluate"
