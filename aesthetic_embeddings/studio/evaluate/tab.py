"""The page of the tab Evaluate, and its event handlers."""

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
from ..state import INTERNAL_EVENT, Studio, elem_id, page_id
from .run import MAX_IMAGES, MAX_TEXT, make_evaluation

_VARIANTS = {"With the aesthetic's name in the prompt": KEYWORD, "Personalized": "personalized"}


def build(studio: Studio, page: gr.Blocks) -> None:
    """Build the tab inside the current block."""
    names = studio.supported_names()
    prompts = pocket.PROMPTS if studio.is_demo else PROMPTS
    available_scorers = [name for name, scorer in SCORERS.items() if scorer.file.is_file()]
    gr.Markdown(
        "The paper's experiment on this model: the same prompts and seeds, original and personalized, each picture "
        "scored, with the statistics. Comparisons wait while it runs."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            aesthetics = gr.Dropdown(
                names, value=names[:1], multiselect=True, label="Aesthetics", elem_id=elem_id("evaluate_aesthetics")
            )
            prompts_box = gr.Textbox(
                "\n".join(prompts),
                label="Prompts, one per line",
                lines=8,
                max_lines=8,
                max_length=MAX_TEXT,
                elem_id=elem_id("evaluate_prompts"),
            )
            columns = gr.CheckboxGroup(
                list(_VARIANTS.items()),
                value=[*_VARIANTS.values()],
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
                available_scorers,
                value=[],
                label="Scorers",
                visible=bool(available_scorers),
                elem_id=elem_id("evaluate_scorers"),
            )
            with gr.Row(elem_classes="studio-together"):
                start_button = gr.Button("Start", variant="primary", min_width=100, elem_id=elem_id("evaluate_start"))
                cancel_button = gr.Button("Cancel", visible=False, min_width=100, elem_id=elem_id("evaluate_cancel"))
            message = gr.HTML(elem_id=elem_id("evaluate_message"))
            download = gr.DownloadButton(
                "Download everything", size="sm", visible=False, elem_id=elem_id("evaluate_download")
            )
    results, archive = gr.HTML(elem_id=elem_id("evaluate_results")), gr.State("")
    outputs = [message, cancel_button, results, archive]

    @errors_as_text(len(outputs))
    def evaluate(caller: gr.Request, *values: Any) -> Iterator[list[Any]]:
        studio.library.refresh()
        evaluation = make_evaluation(studio, *values)
        yield [status("Starting"), gr.update(visible=True), gr.skip(), ""]
        for progress in evaluation.run(studio, _client(caller)):
            yield [progress_bar(progress), *[gr.skip()] * 3]
        message_text = status(f"{evaluation.pictures} pictures.")
        yield [message_text, gr.skip(), evaluation.page(studio), evaluation.archive(studio)]

    def cancel_visibility(caller: gr.Request) -> Any:
        return gr.update(visible=studio.engine.busy(_client(caller)))

    def cancel(caller: gr.Request) -> None:
        studio.engine.cancel(_client(caller))

    def name_updates(chosen: list[str]) -> Any:
        studio.library.refresh()
        supported = studio.supported_names()
        return gr.update(choices=supported, value=[name for name in chosen if name in supported])

    inputs = [aesthetics, prompts_box, images, columns, scorers, steps, epsilon]
    run = start_button.click(evaluate, inputs, outputs, concurrency_limit=None, **INTERNAL_EVENT)
    run.then(cancel_visibility, None, cancel_button, **INTERNAL_EVENT)
    run.then(lambda file: gr.update(value=file or None, visible=bool(file)), archive, download, **INTERNAL_EVENT)
    cancel_button.click(cancel, **INTERNAL_EVENT)
    gr.on([page.load, studio.version.change, aesthetics.focus], name_updates, aesthetics, aesthetics, **INTERNAL_EVENT)


def _client(caller: gr.Request) -> str:
    """The engine's client name for this tab, so that cancelling does not affect the page's comparisons."""
    return f"{page_id(caller)} evaluate"
