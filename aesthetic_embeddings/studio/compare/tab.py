"""The page of the tab Compare, and its event handlers."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ...errors import AestheticError
from ...ui import messages, scripts
from ..state import INTERNAL_EVENT, Studio, elem_id, page_id
from . import display, results
from .comparison import make_comparison
from .form import Form
from .history import History
from .request import PAIRS, parse_request
from .restoring import restore_settings
from .results import Result

FIRST_SEED = 2  # of the pair that a new page shows; one of the better pictures
#: On a phone the pictures are below the form. The scroll is not smooth, since new pictures would end it early.
_SCROLL_TO_RESULT = """() => {
  if (innerWidth <= 720) document.getElementById('studio_message').scrollIntoView();
}"""
#: Gradio clamps a typed value to the slider's range when the field loses focus (see ui/widgets.py, RANGES).
_KEEP_EPSILON = f"""() => document.addEventListener('blur', event => {{
  if (event.target.closest?.('#{elem_id("epsilon")}')) event.stopPropagation();
}}, true)"""


@dataclass
class Tab:
    """The tab's components. outputs: those that a comparison updates, by name. page_key: of this page's history."""

    studio: Studio
    form: Form
    outputs: dict[str, Any]
    page_key: gr.BrowserState
    saved_form: gr.BrowserState
    history: History


def build(studio: Studio, page: gr.Blocks) -> None:
    """Build the tab inside the current block."""
    form = Form()
    with gr.Row(elem_id=elem_id("compare")):
        with gr.Column(elem_id=elem_id("form")):
            form.build(studio)
            with gr.Row(elem_classes="studio-together"):
                generate_button = gr.Button("Generate", variant="primary", min_width=100, elem_id=elem_id("generate"))
                cancel_button = gr.Button("Cancel", visible=False, min_width=100, elem_id=elem_id("cancel"))
            message = gr.HTML(elem_id=elem_id("message"))
        with gr.Column(elem_id=elem_id("results")):
            outputs = display.build(message)
        with gr.Column(elem_id=elem_id("rest")):
            with gr.Accordion("More", open=False, elem_id=elem_id("more")) as more_fold:
                form.build_more(studio)
            image_file = gr.File(
                label="Restore settings from an image", file_types=[".png"], height=120, elem_id=elem_id("restore")
            )
    # the browser stores these, so that a reload restores the page
    page_key = gr.BrowserState("", storage_key="aesthetic-studio-page")
    saved_form = gr.BrowserState({}, storage_key="aesthetic-studio-form")
    tab = Tab(studio, form, {**outputs, "cancel": cancel_button}, page_key, saved_form, History())
    _connect_generation(tab, generate_button, cancel_button)
    _connect_restoring(tab, image_file, more_fold)
    _connect_history(tab, page, more_fold)
    _connect_name_lists(studio, form, page)
    scripts.run_on_load(page, _KEEP_EPSILON)


def _connect_generation(tab: Tab, generate_button: gr.Button, cancel_button: gr.Button) -> None:
    studio, form, outputs = tab.studio, tab.form, tab.outputs

    @messages.errors_as_text(len(outputs))
    def generate(caller: gr.Request, page_key: str, *values: Any) -> Iterator[list[Any]]:
        studio.library.refresh()
        comparison = make_comparison(parse_request(dict(zip(form.inputs, values, strict=True))), studio.library)
        yield _in_order(
            outputs, {**display.start_updates(comparison.request.layout), "cancel": gr.update(visible=True)}
        )
        result = Result(comparison)
        for progress, new_result in results.run(comparison, studio.engine, studio.new_job_folder(), page_id(caller)):
            yield _in_order(outputs, display.progress_updates(progress, result, new_result))
            result = new_result
        tab.history.add(page_key, result)
        # send everything again: a busy page may have missed an update
        yield _in_order(
            outputs,
            {**display.result_updates(result), "history": display.history_update(tab.history.results(page_key))},
        )

    def cancel_visibility(caller: gr.Request) -> Any:
        return gr.update(visible=studio.engine.busy(page_id(caller)))

    def generate_after(event: Any) -> None:
        # no limit here: the engine runs one job at a time, and reports the place in its queue
        generation = event(
            generate,
            [tab.page_key, *form.inputs.values()],
            [*outputs.values()],
            concurrency_limit=None,
            **INTERNAL_EVENT,
        )
        display.connect_download(outputs, generation).then(cancel_visibility, None, [cancel_button], **INTERNAL_EVENT)

    def cancel(caller: gr.Request) -> None:
        studio.engine.cancel(page_id(caller))

    def fill_form(trial: tuple[str, int] | None) -> list[Any]:
        if trial is None:
            return [gr.skip()] * 3
        return [gr.update(selected="compare"), trial[0], PAIRS]

    triggers = [generate_button.click, form.inputs["prompt"].submit]
    generate_after(functools.partial(gr.on, triggers))
    gr.on(triggers, None, js=_SCROLL_TO_RESULT)
    for button, values in form.examples:
        components = [form.inputs[name] for name in values]
        generate_after(button.click(lambda values=values: [*values.values()], None, components, **INTERNAL_EVENT).then)
        button.click(None, js=_SCROLL_TO_RESULT)
    to_fill = [studio.tabs, form.inputs["aesthetic"], form.inputs["layout"]]
    filled = studio.aesthetic_to_try.change(fill_form, [studio.aesthetic_to_try], to_fill, **INTERNAL_EVENT)
    generate_after(filled.success)
    filled.success(None, js=_SCROLL_TO_RESULT)
    cancel_button.click(cancel, **INTERNAL_EVENT)


def _connect_restoring(tab: Tab, image_file: gr.File, more_fold: gr.Accordion) -> None:
    inputs = tab.form.inputs

    @messages.errors_as_text(2 + len(inputs))
    def restore(file: str | None) -> list[Any]:
        if not file:
            return [gr.skip()] * (2 + len(inputs))
        values, sentence = restore_settings(tab.studio, Path(file))
        return [messages.status(sentence), gr.update(open=True), *_in_order(inputs, values)]

    image_file.upload(restore, [image_file], [tab.outputs["message"], more_fold, *inputs.values()], **INTERNAL_EVENT)


def _connect_history(tab: Tab, page: gr.Blocks, more_fold: gr.Accordion) -> None:
    """When a page opens, restore what it showed before a reload, or else show a first comparison."""
    inputs, outputs, history = tab.form.inputs, tab.outputs, tab.history
    defaults = {name: component.value for name, component in inputs.items()}
    first_result = _first_result(tab.studio, defaults) if tab.studio.is_demo else None

    def restore_page(saved_form: Any, claimed_key: Any) -> list[Any]:
        page_key = history.key(claimed_key)
        results_of_page = history.results(page_key)
        values = {name: value for name, value in _valid_values(saved_form, defaults) if value != defaults[name]}
        result = next(iter(results_of_page), first_result)
        updates = (
            {**display.result_updates(result), "history": display.history_update(results_of_page)} if result else {}
        )
        has_folded = any(name in tab.form.folded for name in values)
        return [page_key, gr.update(open=has_folded), *_in_order(inputs, values), *_in_order(outputs, updates)]

    @messages.errors_as_text(len(outputs))
    def show_from_history(page_key: str, event: gr.SelectData) -> list[Any]:
        results_of_page = history.results(page_key)
        if not isinstance(event.index, int) or not 0 <= event.index < len(results_of_page):
            raise AestheticError("These pictures are no longer here.")
        return _in_order(outputs, display.result_updates(results_of_page[event.index]))

    page_load = page.load(
        restore_page,
        [tab.saved_form, tab.page_key],
        [tab.page_key, more_fold, *inputs.values(), *outputs.values()],
        **INTERNAL_EVENT,
    )
    display.connect_download(outputs, page_load)
    display.connect_download(
        outputs, outputs["history"].select(show_from_history, [tab.page_key], [*outputs.values()], **INTERNAL_EVENT)
    )
    names = json.dumps([*inputs])
    gr.on(
        [component.change for component in inputs.values()],
        None,
        [*inputs.values()],
        [tab.saved_form],
        js=f"(...values) => Object.fromEntries({names}.map((name, i) => [name, values[i]]))",
    )


def _valid_values(saved_form: Any, defaults: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The stored values, by name, that are valid in a request."""
    for name, value in saved_form.items() if isinstance(saved_form, dict) else ():
        with suppress(AestheticError):
            if name in defaults and parse_request({**defaults, name: value}):
                yield name, value


def _first_result(studio: Studio, defaults: Mapping[str, Any]) -> Result:
    """The result that a new page shows: one pair for the form's defaults."""
    comparison = make_comparison(parse_request({**defaults, "seed": FIRST_SEED, "count": 1}), studio.library)
    folder = studio.folder / "first"
    folder.mkdir(exist_ok=True)
    *_, (_, result) = results.run(comparison, studio.engine, folder)
    return result


def _connect_name_lists(studio: Studio, form: Form, page: gr.Blocks) -> None:
    aesthetic, grid = form.inputs["aesthetic"], form.inputs["grid"]

    def name_updates(chosen: str | None, in_grid: list[str]) -> list[Any]:
        studio.library.refresh()
        names = studio.supported_names()
        new_value: dict[str, Any] = {} if chosen or not names else {"value": names[0]}
        return [
            gr.update(choices=names, **new_value),
            gr.update(choices=names, value=[name for name in in_grid if name in names]),
        ]

    gr.on(
        [page.load, studio.version.change, aesthetic.focus],
        name_updates,
        [aesthetic, grid],
        [aesthetic, grid],
        **INTERNAL_EVENT,
    )


def _in_order(components: Mapping[str, Any], updates: Mapping[str, Any]) -> list[Any]:
    """The updates in the order of the components."""
    return [updates.get(name, gr.skip()) for name in components]
