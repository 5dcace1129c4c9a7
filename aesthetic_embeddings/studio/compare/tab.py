"""The page of the tab Compare, and what its events do."""

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
from ..state import QUIET, Studio, elem_id, session
from . import display, results
from .comparison import comparison
from .form import Form
from .history import History
from .request import PAIRS, request
from .restoring import restored
from .results import Result

FIRST_SEED = 2  # of what a new page shows: one of the better pictures
#: On a phone the pictures lie below the form. At once: pictures that come and go would end a smooth scroll early.
_TO_RESULT = """() => {
  if (innerWidth <= 720) document.getElementById('studio_message').scrollIntoView();
}"""
#: Gradio changes what is typed to the slider's nearest end when the box is left (see ui/widgets.py, RANGES).
_KEEP_EPSILON = f"""() => document.addEventListener('blur', event => {{
  if (event.target.closest?.('#{elem_id("epsilon")}')) event.stopPropagation();
}}, true)"""


@dataclass
class Tab:
    """The tab's parts. outputs: what changes while a comparison is made, by name. key: of this page's history."""

    studio: Studio
    form: Form
    outputs: dict[str, Any]
    key: gr.BrowserState
    saved: gr.BrowserState
    history: History


def build(studio: Studio, page: gr.Blocks) -> None:
    """Draw the tab inside the current block."""
    form = Form()
    with gr.Row(elem_id=elem_id("compare")):
        with gr.Column(elem_id=elem_id("form")):
            form.draw(studio)
            with gr.Row(elem_classes="studio-together"):
                go = gr.Button("Generate", variant="primary", min_width=100, elem_id=elem_id("generate"))
                stop = gr.Button("Cancel", visible=False, min_width=100, elem_id=elem_id("cancel"))
            message = gr.HTML(elem_id=elem_id("message"))
        with gr.Column(elem_id=elem_id("results")):
            outputs = display.build(message)
        with gr.Column(elem_id=elem_id("rest")):
            with gr.Accordion("More", open=False, elem_id=elem_id("more")) as more:
                form.draw_more(studio)
            picture = gr.File(
                label="Restore settings from an image", file_types=[".png"], height=120, elem_id=elem_id("restore")
            )
    # what a reload brings back is kept by the browser
    key = gr.BrowserState("", storage_key="aesthetic-studio-page")
    saved = gr.BrowserState({}, storage_key="aesthetic-studio-form")
    tab = Tab(studio, form, {**outputs, "stop": stop}, key, saved, History())
    _generating(tab, go, stop)
    _restoring(tab, picture, more)
    _remembering(tab, page, more)
    _listing(studio, form, page)
    scripts.run_on_load(page, _KEEP_EPSILON)


def _generating(tab: Tab, go: gr.Button, stop: gr.Button) -> None:
    studio, form, outputs = tab.studio, tab.form, tab.outputs

    @messages.errors_as_text(len(outputs))
    def generate(caller: gr.Request, key: str, *values: Any) -> Iterator[list[Any]]:
        studio.library.refresh()
        asked = comparison(request(dict(zip(form.inputs, values, strict=True))), studio.library)
        yield _row(outputs, {**display.begin(asked.request.layout), "stop": gr.update(visible=True)})
        result = Result(asked)
        for progress, now in results.run(asked, studio.engine, studio.new_folder(), session(caller)):
            yield _row(outputs, display.update(progress, result, now))
            result = now
        tab.history.add(key, result)
        # all of it once more: a busy page may have left something out
        yield _row(outputs, {**display.show(result), "history": display.gallery(tab.history.results(key))})

    def idle(caller: gr.Request) -> Any:
        return gr.update(visible=studio.engine.busy(session(caller)))

    def start(after: Any) -> None:
        # the engine does one job at a time, and tells who is waiting
        made = after(
            generate,
            [tab.key, *form.inputs.values()],
            [*outputs.values()],
            concurrency_limit=None,
            **QUIET,
        )
        display.offer_download(outputs, made).then(idle, None, [stop], **QUIET)

    def cancel(caller: gr.Request) -> None:
        studio.engine.cancel(session(caller))

    def fill(trial: tuple[str, int] | None) -> list[Any]:
        if trial is None:
            return [gr.skip()] * 3
        return [gr.update(selected="compare"), trial[0], PAIRS]

    asking = [go.click, form.inputs["prompt"].submit]
    start(functools.partial(gr.on, asking))
    gr.on(asking, None, js=_TO_RESULT)
    for button, values in form.examples:
        filled = [form.inputs[name] for name in values]
        start(button.click(lambda values=values: [*values.values()], None, filled, **QUIET).then)
        button.click(None, js=_TO_RESULT)
    trying = [studio.tabs, form.inputs["aesthetic"], form.inputs["layout"]]
    filled_in = studio.trial.change(fill, [studio.trial], trying, **QUIET)
    start(filled_in.success)
    filled_in.success(None, js=_TO_RESULT)
    stop.click(cancel, **QUIET)


def _restoring(tab: Tab, picture: gr.File, more: gr.Accordion) -> None:
    inputs = tab.form.inputs

    @messages.errors_as_text(2 + len(inputs))
    def restore(file: str | None) -> list[Any]:
        if not file:
            return [gr.skip()] * (2 + len(inputs))
        values, sentence = restored(tab.studio, Path(file))
        return [messages.status(sentence), gr.update(open=True), *_row(inputs, values)]

    picture.upload(restore, [picture], [tab.outputs["message"], more, *inputs.values()], **QUIET)


def _remembering(tab: Tab, page: gr.Blocks, more: gr.Accordion) -> None:
    """Show a page that opens what it showed before a reload, or else a first comparison."""
    inputs, outputs, history = tab.form.inputs, tab.outputs, tab.history
    defaults = {name: part.value for name, part in inputs.items()}
    first = _first_result(tab.studio, defaults) if tab.studio.is_demo else None

    def opened(saved: Any, claimed: Any) -> list[Any]:
        key = history.key(claimed)
        found = history.results(key)
        values = {name: value for name, value in _acceptable(saved, defaults) if value != defaults[name]}
        result = next(iter(found), first)
        updates = {**display.show(result), "history": display.gallery(found)} if result else {}
        is_set = any(name in tab.form.folded for name in values)
        return [key, gr.update(open=is_set), *_row(inputs, values), *_row(outputs, updates)]

    @messages.errors_as_text(len(outputs))
    def choose(key: str, event: gr.SelectData) -> list[Any]:
        found = history.results(key)
        if not isinstance(event.index, int) or not 0 <= event.index < len(found):
            raise AestheticError("These pictures are no longer here.")
        return _row(outputs, display.show(found[event.index]))

    opening = page.load(opened, [tab.saved, tab.key], [tab.key, more, *inputs.values(), *outputs.values()], **QUIET)
    display.offer_download(outputs, opening)
    display.offer_download(outputs, outputs["history"].select(choose, [tab.key], [*outputs.values()], **QUIET))
    names = json.dumps([*inputs])
    gr.on(
        [part.change for part in inputs.values()],
        None,
        [*inputs.values()],
        [tab.saved],
        js=f"(...values) => Object.fromEntries({names}.map((name, i) => [name, values[i]]))",
    )


def _acceptable(saved: Any, defaults: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Those of the values that a browser kept, by name, with which there can be a request."""
    for name, value in saved.items() if isinstance(saved, dict) else ():
        with suppress(AestheticError):
            if name in defaults and request({**defaults, name: value}):
                yield name, value


def _first_result(studio: Studio, defaults: Mapping[str, Any]) -> Result:
    """What a new page shows: one pair for the form as it is at first."""
    asked = comparison(request({**defaults, "seed": FIRST_SEED, "count": 1}), studio.library)
    folder = studio.folder / "first"
    folder.mkdir(exist_ok=True)
    *_, (_, result) = results.run(asked, studio.engine, folder)
    return result


def _listing(studio: Studio, form: Form, page: gr.Blocks) -> None:
    aesthetic, grid = form.inputs["aesthetic"], form.inputs["grid"]

    def names(chosen: str | None, in_grid: list[str]) -> list[Any]:
        studio.library.refresh()
        found = studio.aesthetics()
        first: dict[str, Any] = {} if chosen or not found else {"value": found[0]}
        return [
            gr.update(choices=found, **first),
            gr.update(choices=found, value=[name for name in in_grid if name in found]),
        ]

    gr.on(
        [page.load, studio.version.change, aesthetic.focus],
        names,
        [aesthetic, grid],
        [aesthetic, grid],
        **QUIET,
    )


def _row(parts: Mapping[str, Any], updates: Mapping[str, Any]) -> list[Any]:
    """The updates in the order of the parts."""
    return [updates.get(name, gr.skip()) for name in parts]
