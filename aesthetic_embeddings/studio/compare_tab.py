"""The tab Compare: a prompt as it is, and in the taste of an aesthetic."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from .. import pocket
from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.mixes import from_arguments, from_text
from ..diffusion.contact_sheet import sheet
from ..diffusion.png_metadata import described, read_about, save_picture
from ..errors import AestheticError
from ..settings import STRENGTHS, Settings
from ..ui import messages, widgets
from . import plots
from .engine import Cell, Job, State
from .state import Studio, elem_id

PAIR, STRIP, GRID = KINDS = ("Original and personalised", "A strip over steps", "A grid of aesthetics")
BESIDE, SLIDER = VIEWS = ("Side by side", "Slider")
COUNTS = (0, 5, 10, 15, 20)  # of steps in a strip, as in the paper's figure 1
EXAMPLES = ("a castle in a meadow", "a ship at sea", "a lighthouse in the snow", "an astronaut in the desert")
FIRST = ("steps",)  # settings that are seen at once; the others are under "More"
#: What is asked for beside the settings: name -> (lowest, highest, default, whole).
NUMBERS = {
    "seed": (-1, 2**32 - 1, -1, True),
    "count": (1, 8, 4, True),
    "sampler_steps": (1, 100, 20, True),
    "cfg": (0, 30, 5, False),
}
LONGEST, MOST_ROWS = 2000, 8  # letters of a prompt, aesthetics in a grid
LARGEST = 64_000_000  # pixels of a picture that brings settings


@dataclass(frozen=True)
class Request:
    """What the page asks for, checked: an API's caller can send anything."""

    kind: str
    prompt: str
    negative_prompt: str
    seed: int
    count: int
    sampler_steps: int
    cfg: float
    settings: Settings

    @staticmethod
    def of(values: dict[str, Any]) -> Request:
        prompt, negative = str(values["prompt"] or "").strip(), str(values["negative_prompt"] or "").strip()
        if not prompt:
            raise AestheticError("Write a prompt first.")
        if max(len(prompt), len(negative)) > LONGEST:
            raise AestheticError(f"A prompt can have {LONGEST} letters at most.")
        numbers = {name: _number(name, values[name]) for name in NUMBERS}
        if numbers["seed"] < 0:
            numbers["seed"] = random.randrange(10**6)
        if values["kind"] not in KINDS:
            raise AestheticError(f"What to show should be one of {', '.join(KINDS)}.")
        return Request(values["kind"], prompt, negative, **numbers, settings=widgets.settings(values))

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.count)


def _number(name: str, value: Any) -> Any:
    low, high, default, whole = NUMBERS[name]
    if value is None:
        return default
    if not isinstance(value, (int, float)) or not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise AestheticError(f"{name.replace('_', ' ')} should be {kind} between {low} and {high}, not {value!r}.")
    return int(value) if whole else float(value)


@dataclass(frozen=True)
class Pair:
    """Two files."""

    seed: int
    original: str
    personalised: str


# ---------------------------------------------------------------- the page


def build(studio: Studio, page: gr.Blocks) -> None:
    """Draw it, inside its tab."""
    inputs: dict[str, Any] = {}
    with gr.Row(elem_id=elem_id("compare")):
        with gr.Column(elem_id=elem_id("asked")):
            examples = _examples(studio)
            _first(studio, inputs)
            with gr.Row(elem_classes="studio-together"):
                go = gr.Button("Generate", variant="primary", min_width=100, elem_id=elem_id("generate"))
                stop = gr.Button("Cancel", min_width=100, elem_id=elem_id("cancel"))
            message = gr.HTML(elem_id=elem_id("message"))
        with gr.Column(elem_id=elem_id("results")):
            outputs, view, columns = _results()
        with gr.Column(elem_id=elem_id("rest")):
            with gr.Accordion("More", open=False, elem_id=elem_id("more")):
                presets = _more(studio, inputs)
            dropped = gr.File(
                label="A picture made here, to have its settings again",
                file_types=[".png"],
                height=120,
                elem_id=elem_id("restore"),
            )
    pairs, file = gr.State(()), gr.State("")  # what this page was given last, and what of it is to be downloaded
    outputs = {"message": message, "pairs": pairs, "file": file, **outputs}
    quiet = {"show_progress": "hidden", "api_visibility": "private"}

    @messages.errors_as_text(len(outputs))
    def generate(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        for updates in _generate(studio, dict(zip(inputs, values, strict=True)), request.session_hash):
            yield [updates.get(name, gr.skip()) for name in outputs]

    # the engine does one job at a time, and says who is waiting
    making = {"fn": generate, "inputs": [*inputs.values()], "outputs": [*outputs.values()], "concurrency_limit": None}
    # an event of its own: of a button's file that comes among many updates gradio's page sometimes loses the address
    offering = {"fn": _offered, "inputs": [file], "outputs": [outputs["download"]]}
    gr.on([go.click, inputs["prompt"].submit], **making, **quiet).then(**offering, **quiet)
    for button, values in examples:
        asked = [inputs[name] for name in values]
        filled = button.click(lambda values=values: [*values.values()], outputs=asked, **quiet)
        filled.then(**making, **quiet).then(**offering, **quiet)

    def cancel(request: gr.Request) -> None:
        studio.engine.cancel(request.session_hash)

    stop.click(cancel, **quiet)

    widgets.connect_presets(presets, inputs, **quiet)

    kind, grid = inputs["kind"], inputs["grid"]
    kind.change(lambda kind: gr.update(visible=kind == GRID), inputs=[kind], outputs=[grid], **quiet)
    view.change(
        lambda view: [gr.update(visible=view == BESIDE), gr.update(visible=view == SLIDER)],
        inputs=[view],
        outputs=columns,
        **quiet,
    )

    def select(pairs: Sequence[Pair], event: gr.SelectData) -> list[Any]:
        shown = _shown(pairs[event.index])
        return [shown.get(name, gr.skip()) for name in big]

    big = ("original", "personalised", "slider", "file")
    picked = outputs["thumbnails"].select(select, inputs=[pairs], outputs=[outputs[name] for name in big], **quiet)
    picked.then(**offering, **quiet)

    @messages.errors_as_text(1 + len(inputs))
    def restore(file: str | None) -> list[Any]:
        values, words = _restored(studio, Path(file)) if file else ({}, "")
        return [words, *(values.get(name, gr.skip()) for name in inputs)]

    dropped.upload(restore, inputs=[dropped], outputs=[message, *inputs.values()], **quiet)

    def names(chosen: str | None) -> list[Any]:
        studio.library.refresh()
        offered = _names(studio)
        first = {} if chosen or not offered else {"value": offered[0]}
        return [gr.update(choices=offered, **first), gr.update(choices=offered)]

    dropdown = inputs["aesthetic"]
    showing = {"fn": names, "inputs": [dropdown], "outputs": [dropdown, grid]}
    gr.on([studio.version.change, page.load, dropdown.focus], **showing, **quiet)


def _first(studio: Studio, inputs: dict[str, Any]) -> None:
    names = _names(studio)
    inputs["prompt"] = gr.Textbox(
        EXAMPLES[0], label="Prompt", lines=1, max_lines=4, max_length=LONGEST, elem_id=elem_id("prompt")
    )
    inputs["aesthetic"] = gr.Dropdown(
        names,
        value=names[0] if names else None,
        label="Aesthetic",
        info="The taste of the pictures, or a mix: dusk:0.7 fog:-0.3",
        allow_custom_value=True,
        elem_id=elem_id("aesthetic"),
    )
    for name in FIRST:
        inputs[name] = widgets.setting(name, elem_id(name))
    inputs["kind"] = gr.Radio(list(KINDS), value=PAIR, label="What to show", elem_id=elem_id("kind"))
    inputs["grid"] = gr.Dropdown(
        names,
        value=names[:MOST_ROWS],
        multiselect=True,
        max_choices=MOST_ROWS,
        label="Aesthetics in the grid",
        visible=False,
        elem_id=elem_id("grid"),
    )


def _examples(studio: Studio) -> list[tuple[gr.Button, dict[str, Any]]]:
    """Buttons that make a picture, and the inputs that each sets before."""
    buttons = []
    with gr.Row(elem_id=elem_id("examples")):
        for prompt, name in zip(EXAMPLES, _names(studio), strict=False):
            bundled = sorted((pocket.SAMPLES / name).glob("*.png"))
            button = gr.Button(
                f"{prompt}, {name}",
                icon=bundled[0] if bundled else studio.library.preview(name),
                size="sm",
                min_width=100,
                elem_id=elem_id(f"example_{len(buttons)}"),
            )
            buttons.append((button, {"prompt": prompt, "aesthetic": name, "kind": PAIR}))
    return buttons


def _more(studio: Studio, inputs: dict[str, Any]) -> dict[str, gr.Button]:
    """All other inputs, and the presets' buttons."""

    def number(name: str, label: str, info: str = "", step: float = 1) -> None:
        low, high, value, _ = NUMBERS[name]
        kind = {"elem_id": elem_id(name), "label": label, "info": info or None}
        whole = gr.Number(value, precision=0, minimum=low, maximum=high, **kind) if name == "seed" else None
        inputs[name] = whole or gr.Slider(low, high, value, step=step, **kind)

    with gr.Row():
        presets = widgets.preset_buttons(elem_id, min_width=90)
    inputs["negative_prompt"] = gr.Textbox(
        label="Negative prompt",
        info="Left plain: never personalised.",
        lines=1,
        max_length=LONGEST,
        elem_id=elem_id("negative_prompt"),
    )
    with gr.Row():
        number("seed", "Seed", "Of the first picture; the next ones count up. -1: another one each time.")
        number("count", "Pictures")
    with gr.Row():
        number("sampler_steps", "Sampler steps")
        number("cfg", "CFG", step=0.5)
    useless = {name for family, name in STRENGTHS.items() if family not in studio.engine.families}
    for name in widgets.FIELDS:
        if name not in FIRST:
            inputs[name] = widgets.setting(name, elem_id(name), visible=name not in useless)
    return presets


def _results() -> tuple[dict[str, Any], gr.Radio, list[gr.Row]]:
    """The parts that are filled, by name; what is to choose the view; and the two views."""
    parts: dict[str, Any] = {}
    still = {"interactive": False, "type": "filepath", "format": "png"}
    with gr.Column(elem_id=elem_id("pairs")) as parts["of_pairs"]:
        with gr.Row(elem_classes="studio-together") as beside:
            for name in ("original", "personalised"):
                parts[name] = gr.Image(
                    label=name.capitalize(),
                    buttons=["download"],
                    min_width=100,
                    elem_id=elem_id(name),
                    **still,
                )
        with gr.Row(visible=False) as over:
            parts["slider"] = gr.ImageSlider(
                label="Original and personalised", max_height=640, elem_id=elem_id("slider"), **still
            )
        view = gr.Radio(list(VIEWS), value=BESIDE, show_label=False, container=False, elem_id=elem_id("view"))
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
    parts["figure"] = gr.Image(
        label="Figure", show_label=False, visible=False, buttons=[], elem_id=elem_id("figure"), **still
    )
    parts["download"] = gr.DownloadButton("Download with its settings", interactive=False, elem_id=elem_id("save"))
    parts["curve"] = plots.curves_plot(elem_id("curve"))
    return parts, view, [beside, over]


def _names(studio: Studio) -> list[str]:
    """The aesthetics that serve the model."""
    return [name for name in studio.library.names() if studio.engine.serves(studio.library.get(name))]


# ---------------------------------------------------------------- making


def _generate(studio: Studio, values: dict[str, Any], session: str) -> Iterator[dict[str, Any]]:
    """Updates for the page, by the names of its parts, as it goes on."""
    started = time.perf_counter()
    studio.library.refresh()
    wish = Request.of(values)
    table = _TABLES[wish.kind](studio, wish, values)
    labels, folder = studio.engine.labels(table.job), studio.new_folder()
    whole = wish.kind == PAIR
    yield {
        "message": progress(State("Starting")),
        "of_pairs": gr.update(visible=whole),
        "figure": gr.update(visible=not whole, value=None),
        **(dict.fromkeys(("original", "personalised", "slider")) if whole else {}),
        "thumbnails": gr.update(visible=False, value=None),
        "download": gr.update(interactive=False),
        "file": "",
        "curve": gr.update(value=None, color_map=plots.colors(labels), visible=False),
        "pairs": (),
    }
    before, done = State(""), {}
    for state in studio.engine.run(table.job, session):
        updates: dict[str, Any] = {}
        if state.curves != before.curves and state.curves.keys() == {*labels}:  # the plot keeps to its first curves
            updates["curve"] = gr.update(value=plots.curves(state.curves), visible=True)
        if _count(state) != _count(before):
            save = _save_pairs if whole else _save_sheet
            updates |= save(table, state, before, folder, studio.engine.model)
        before = state
        done |= updates
        yield {"message": progress(state), **updates}
    # all of it once more: a page in a hurry may have left something out
    yield {**done, "message": _summary(table.wish, state, time.perf_counter() - started)}


@dataclass(frozen=True)
class Table:
    """A job, and what its pictures say of it. titles and labels: of its columns and rows, where it is one sheet."""

    wish: Request
    embedding: AestheticEmbedding
    job: Job
    titles: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def about(self, state: State, model: str) -> dict[str, Any]:
        wish = self.wish
        return described(
            *(wish.prompt, self.embedding, wish.settings),
            model=model,
            negative_prompt=wish.negative_prompt,
            sampler_steps=wish.sampler_steps,
            cfg=wish.cfg,
            similarities=state.curves,
        )


def _job(wish: Request, rows: Sequence[Sequence[Cell]]) -> Job:
    return Job(tuple(map(tuple, rows)), wish.negative_prompt, wish.sampler_steps, wish.cfg)


def _chosen(studio: Studio, values: dict[str, Any]) -> AestheticEmbedding:
    if not values["aesthetic"]:
        raise AestheticError("Choose an aesthetic first, or make one in the tab Create.")
    return studio.library.blend(from_text(values["aesthetic"], studio.library))


def _pairs(studio: Studio, wish: Request, values: dict[str, Any]) -> Table:
    e = _chosen(studio, values)
    rows = [[Cell(wish.prompt, s), Cell(wish.prompt, s, e, wish.settings, e.name)] for s in wish.seeds]
    return Table(wish, e, _job(wish, rows))


def _strip(studio: Studio, wish: Request, values: dict[str, Any]) -> Table:
    e = _chosen(studio, values)

    def cell(seed: int, n: int) -> Cell:
        return Cell(wish.prompt, seed, e, replace(wish.settings, steps=n), f"n = {n}")

    rows = [[cell(seed, n) for n in COUNTS] for seed in wish.seeds]
    labels = tuple(f"seed {seed}" for seed in wish.seeds)
    return Table(wish, e, _job(wish, rows), tuple(f"n = {n}" for n in COUNTS), labels if wish.count > 1 else ())


def _grid(studio: Studio, wish: Request, values: dict[str, Any]) -> Table:
    names = list(dict.fromkeys(values["grid"] or ()))
    if not 0 < len(names) <= MOST_ROWS:
        raise AestheticError(f"Choose from one to {MOST_ROWS} aesthetics for the grid.")
    embeddings, wish = [studio.library.get(name) for name in names], replace(wish, count=1)
    rows = [
        [
            Cell(wish.prompt, wish.seed),
            Cell(f"{wish.prompt}, {e.name} style", wish.seed),
            Cell(wish.prompt, wish.seed, e, wish.settings, e.name),
        ]
        for e in embeddings
    ]
    titles = ("original", "“... style”\nappended", "personalised")
    return Table(wish, embeddings[0], _job(wish, rows), titles, tuple(names))


_TABLES = {PAIR: _pairs, STRIP: _strip, GRID: _grid}


def _count(state: State) -> int:
    return sum(image is not None for row in state.pictures for image in row)


def _save_pairs(table: Table, state: State, before: State, folder: Path, model: str) -> dict[str, Any]:
    """The first pair is shown as it is made, and all small."""
    about, pairs = table.about(state, model), []

    def save(image: Image.Image, seed: int, what: str) -> str:
        path = folder / f"{_slug(table.wish.prompt)}-{seed}-{what}.png"
        if not path.exists():
            more = {"seed": seed, "size": image.size} | ({"personalised": False} if what == "original" else {})
            save_picture(image, path, about | more)
        return str(path)

    updates: dict[str, Any] = {}
    for seed, (original, personalised) in zip(table.wish.seeds, state.pictures, strict=True):
        if original and personalised:
            pairs.append(Pair(seed, save(original, seed, "original"), save(personalised, seed, "personalised")))
        elif original and not pairs:
            updates["original"] = save(original, seed, "original")
    if pairs:
        updates["pairs"] = tuple(pairs)
        if _count(before) < 2:
            updates |= _shown(pairs[0])
    if len(pairs) > 1:
        small = [(pair.personalised, str(pair.seed)) for pair in pairs]
        updates["thumbnails"] = gr.update(value=small, visible=True)
    return updates


def _shown(pair: Pair) -> dict[str, Any]:
    """The updates that show a pair."""
    return {
        "original": pair.original,
        "personalised": pair.personalised,
        "slider": (pair.original, pair.personalised),
        "file": pair.personalised,
    }


def _save_sheet(table: Table, state: State, before: State, folder: Path, model: str) -> dict[str, Any]:
    made = [image for row in state.pictures for image in row if image]
    empty = Image.new("RGB", made[0].size, "#eeeeee")
    rows = [[image or empty for image in row] for row in state.pictures]
    page = sheet(rows, table.titles, table.labels, cell=max(128, min(512, max(made[0].size))))
    wish = table.wish
    more = {"sheet": wish.kind, "seeds": list(wish.seeds)}
    more |= {"aesthetics": list(table.labels)} if wish.kind == GRID else {}
    path = save_picture(page, folder / f"{_slug(wish.prompt)}-{wish.seed}.png", table.about(state, model) | more)
    done = len(made) == sum(map(len, rows))
    return {"figure": str(path)} | ({"file": str(path)} if done else {})


def _offered(file: str) -> Any:
    """What the button is to give."""
    return gr.update(value=file or None, interactive=bool(file))


def _slug(prompt: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40] or "picture"


def progress(state: State) -> str:
    return (
        f"<label class='aesthetic-status' role='status'><progress max='1' value='{state.share:.3f}'></progress>"
        f"{escape(state.words)}</label>"
    )


def _summary(wish: Request, state: State, seconds: float) -> str:
    seeds = f"seed {wish.seed}" if wish.count == 1 else f"seeds {wish.seeds[0]} to {wish.seeds[-1]}"
    moves = [f"Similarity to {of}: {run[0]:.3f} → {run[-1]:.3f}." for of, run in state.curves.items()]
    lines = [f"Done in {seconds:.1f} s, {seeds}.", *(moves if wish.kind == PAIR else ()), *state.notes]
    return "".join(map(messages.status, lines))


# ---------------------------------------------------------------- restoring


def _restored(studio: Studio, path: Path) -> tuple[dict[str, Any], str]:
    """The values of inputs, by name, with which a picture was made, and what there is to say."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST:
                raise AestheticError(f"{path} is too large: {image.width} × {image.height} pixels.")
        about = read_about(path)
        sheet_ = about.get("sheet", PAIR)
        seeds = about.get("seeds") or [about.get("seed", -1)]
        settings = Settings(**about["settings"])
        values: dict[str, Any] = {
            "prompt": str(about["prompt"])[:LONGEST],
            "negative_prompt": str(about.get("negative_prompt", ""))[:LONGEST],
            "kind": sheet_ if sheet_ in KINDS else PAIR,
            "seed": _number("seed", seeds[0]),
            "count": _number("count", len(seeds)),
            "sampler_steps": _number("sampler_steps", about["sampler_steps"]),
            "cfg": _number("cfg", about["cfg"]),
        }
        values |= {name: getattr(settings, name) for name in widgets.FIELDS}
        name, content = str(about["aesthetic"]), str(about["aesthetic_hash"])
    except AestheticError as error:
        raise AestheticError(str(error).replace(str(path), path.name)) from error
    except (KeyError, TypeError, ValueError, IndexError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise AestheticError(f"{path.name} is no picture with settings that are known here.") from error
    words = [f"Settings restored from {path.name}."]
    if about.get("model") != studio.engine.model:
        words.append(f"It was made with {about.get('model')}; here is {studio.engine.model}.")
    if here := _here(studio, name, content):
        values["aesthetic"] = here
    else:
        words.append(f"The aesthetic {name!r} that it was made with is not here: import its file in the tab Library.")
    if isinstance(about.get("aesthetics"), list):
        values["grid"] = [name for name in _names(studio) if name in about["aesthetics"]][:MOST_ROWS]
    return values, messages.status(" ".join(words))


def _here(studio: Studio, name: str, content: str) -> str:
    """What means the aesthetic with this content here: its name of now, or a mix; empty where it is not here."""
    if found := studio.library.find(content):
        return found.name
    for read, words in ((from_text, name), (from_arguments, name.split())):  # pictures of 0.1 say a=0.7 b=0.3
        with suppress(AestheticError):
            mixed = studio.library.blend(read(words, studio.library))
            if mixed.content_hash == content:
                return mixed.name
    return ""
