"""The command that makes pictures."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from PIL import Image

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.mixes import from_arguments
from ..diffusion.job import Cell, Job, JobRun, Progress
from ..errors import AestheticError
from ..settings import Settings
from . import options
from .library import Folders
from .terminal import note, progress, say, status

PAIRS, STRIP, GRID = "pairs", "strip", "grid"
STRIP_STEPS = (0, 5, 10, 15, 20)  # as in the paper's figure 1


@dataclass(frozen=True)
class Sheet:
    """The pictures of one run: rows of cells, each row with a label, under titles of the columns.

    layout: empty where each picture is a file of its own.
    """

    layout: str
    titles: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def finished(self, made: Progress) -> Sheet:
        """The rows of which all pictures are made."""
        kept = [i for i, row in enumerate(made.pictures) if all(row)]
        labels = tuple(self.labels[i] for i in kept) if self.labels else ()
        return replace(self, labels=labels, rows=tuple(self.rows[i] for i in kept))


@click.command()
@click.argument("prompts", nargs=-1, metavar="PROMPT...")
@click.option(
    "--prompts",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file with more prompts, one per line.",
)
@click.option(
    "--aesthetic", "aesthetics", multiple=True, required=True, metavar="NAME[=WEIGHT]", help="Repeat it for a mix."
)
@options.settings
@click.option("--negative-prompt", default="", help="Left plain: never personalized.")
@options.model
@options.projection
@options.seed(default=None, show_default="random")
@click.option("--count", type=click.IntRange(1, 1000), default=1, help="Pictures per prompt.")
@options.sampler_steps
@options.cfg
@options.size
@click.option("--output", type=click.Path(path_type=Path), default=Path("out"), help="PNG file, or folder.")
@click.option("--compare", "layout", flag_value=PAIRS, help="One sheet: original and personalized side by side.")
@click.option("--strip", "layout", flag_value=STRIP, help="One sheet: 0, 5, 10, 15 and 20 steps.")
@click.option("--grid", "layout", flag_value=GRID, help="One sheet: each --aesthetic beside its name in the prompt.")
@options.device
@options.dtype
@click.pass_obj
def generate(
    folders: Folders,
    /,
    prompts: tuple[str, ...],
    file: Path | None,
    aesthetics: Sequence[str],
    layout: str | None,
    output: Path,
    **chosen: Any,
) -> None:
    """Make pictures of each PROMPT in the taste of an aesthetic."""
    from ..diffusion.pipelines import clip_families
    from ..diffusion.png_metadata import save_picture
    from ..diffusion.sampling import check_size, load_pipeline
    from ..evaluation.experiment import read_prompts

    if file:
        prompts += read_prompts(file)
    if not prompts:
        raise click.UsageError("Give a PROMPT, or a file of them with --prompts.")
    settings = Settings(**{f.name: chosen[f.name] for f in dataclasses.fields(Settings)})
    library = folders.library()
    if layout == GRID:
        targets = [library.get(name) for name in dict.fromkeys(aesthetics)]
    else:
        targets = [library.blend(from_arguments(aesthetics, library))]
    first = random.randrange(2**32 - chosen["count"]) if chosen["seed"] is None else chosen["seed"]
    sheet = _sheet(layout or "", prompts, targets, settings, range(first, first + chosen["count"]))
    destination = _destination(output, sheet)

    with status("loading the model"):
        pipeline = load_pipeline(chosen["model"], chosen["device"], chosen["dtype"])
    if chosen["size"]:
        check_size(pipeline, *chosen["size"])
    job = Job(sheet.rows, chosen["negative_prompt"], chosen["sampler_steps"], chosen["cfg"], chosen["size"])
    families = clip_families(pipeline, chosen["projection"])
    about = partial(_about, job, families, options.model_name(chosen["model"]))
    made, saved = Progress(""), 0

    with progress("making pictures", 100) as advance:

        def on_progress(now: Progress) -> None:
            nonlocal made, saved
            made = now
            advance(round(100 * now.fraction))
            while not layout and saved < len(now.pictures) and (image := now.pictures[saved][0]):
                cell = sheet.rows[saved][0]
                say(save_picture(image, destination(cell), about(cell, now) | {"seed": cell.seed, "size": image.size}))
                saved += 1

        try:
            JobRun(job, pipeline, families, chosen["projection"], on_progress).run()
        finally:  # after Ctrl-C what is finished is kept
            finished = sheet.finished(made)
            if layout and finished.rows:
                last = finished.rows[0][-1]
                say(save_picture(_drawn(finished, made), destination(last), about(last, made) | _contents(finished)))
    for label, values in made.curves.items():
        say(f"similarity to {label}: {values[0]:.3f} -> {values[-1]:.3f}")
    for line in made.notes:
        note(line)


def _sheet(
    layout: str,
    prompts: Sequence[str],
    targets: Sequence[AestheticEmbedding],
    settings: Settings,
    seeds: Sequence[int],
) -> Sheet:
    """The cells of a layout: a row for each prompt, each aesthetic of a grid, and each seed."""

    def row(prompt: str, target: AestheticEmbedding, seed: int) -> tuple[Cell, ...]:
        about = f" of {prompt!r}" if len(prompts) > 1 else ""
        tuned = Cell(prompt, seed, target, settings, target.name + about)
        if layout == PAIRS:
            return Cell(prompt, seed), tuned
        if layout == GRID:
            return Cell(prompt, seed), Cell(f"{prompt}, {target.name} style", seed), tuned
        if layout == STRIP:
            steps = [replace(settings, steps=steps) for steps in STRIP_STEPS]
            return tuple(Cell(prompt, seed, target, each, f"{tuned.label}, n = {each.steps}") for each in steps)
        return (tuned,)

    def label(prompt: str, target: AestheticEmbedding, seed: int) -> str:
        parts = {prompt: len(prompts) > 1, target.name: layout == GRID, f"seed {seed}": len(seeds) > 1}
        return ", ".join(part for part, differs in parts.items() if differs)

    titles = {
        PAIRS: ("original", f"personalized: {targets[0].name}"),
        STRIP: tuple(f"n = {steps}" for steps in STRIP_STEPS),
        GRID: ("original", "“... style”\nappended", "personalized"),
    }
    each = list(itertools.product(prompts, targets, seeds))
    labels = tuple(label(*one) for one in each)
    return Sheet(layout, titles.get(layout, ()), labels if any(labels) else (), tuple(row(*one) for one in each))


def _destination(output: Path, sheet: Sheet) -> Callable[[Cell], Path]:
    """The file of each picture, or of the sheet. Raises AestheticError for a file of another format than PNG."""
    suffix = output.suffix.lower()
    if not output.is_dir() and suffix != ".png" and suffix in Image.registered_extensions():
        raise AestheticError(
            f"{output} is no PNG file, which alone holds all settings. Give --output {output.with_suffix('.png')}."
        )
    if output.is_file() and suffix != ".png":
        raise AestheticError(f"{output} is a file. Give a folder, or a PNG file, to --output.")
    single = suffix == ".png" and not output.is_dir()
    if sheet.layout:
        names = {PAIRS: "compare.png", STRIP: "strip.png", GRID: "grid.png"}
        return lambda _: output if single else output / names[sheet.layout]
    prompts = list(dict.fromkeys(row[0].prompt for row in sheet.rows))

    def file(cell: Cell) -> Path:
        name = str(cell.seed)
        if len(prompts) > 1:
            name = f"{prompts.index(cell.prompt) + 1:0{len(str(len(prompts)))}}-{name}"
        if not single:
            return output / f"{name}.png"
        return output if len(sheet.rows) == 1 else output.with_stem(f"{output.stem}-{name}")

    return file


def _drawn(sheet: Sheet, made: Progress) -> Image.Image:
    """The contact sheet of finished rows."""
    from ..diffusion import contact_sheet

    pictures = [[image for image in row if image] for row in made.pictures if all(row)]
    return contact_sheet.sheet(pictures, sheet.titles, sheet.labels)


def _contents(sheet: Sheet) -> dict[str, Any]:
    """What a sheet says of all its pictures, beside what holds for the first row."""
    cells = [row[-1] for row in sheet.rows]
    contents: dict[str, Any] = {
        "sheet": sheet.layout,
        "prompts": list(dict.fromkeys(cell.prompt for cell in cells)),
        "seeds": list(dict.fromkeys(cell.seed for cell in cells)),
    }
    if sheet.layout == GRID:
        contents["aesthetics"] = list(dict.fromkeys(cell.embedding.name for cell in cells if cell.embedding))
    return contents


def _about(job: Job, families: Collection[str], model: str, cell: Cell, made: Progress) -> dict[str, Any]:
    """What a picture says of how it was made, but for its seed and size."""
    from ..diffusion.png_metadata import described

    labels = cell.labels(families)
    return described(
        cell.prompt,
        cell.embedding,
        cell.settings,
        model=model,
        negative_prompt=job.negative_prompt,
        sampler_steps=job.sampler_steps,
        cfg=job.cfg,
        similarities={family: made.curves[label] for family, label in labels.items() if label in made.curves},
    )
