"""The command that generates pictures."""

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
    """The pictures of one run, as rows of cells. titles: of the columns. labels: of the rows.

    layout: empty if each picture becomes a separate file.
    """

    layout: str
    titles: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def finished(self, progress: Progress) -> Sheet:
        """The sheet with only the rows whose pictures are all finished."""
        finished_rows = [index for index, row in enumerate(progress.pictures) if all(row)]
        labels = tuple(self.labels[index] for index in finished_rows) if self.labels else ()
        return replace(self, labels=labels, rows=tuple(self.rows[index] for index in finished_rows))


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
@click.option("--negative-prompt", default="", help="Never personalized.")
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
    **values: Any,
) -> None:
    """Generate pictures of each PROMPT in the taste of an aesthetic."""
    from ..diffusion.pipelines import clip_families
    from ..diffusion.sampling import check_size, load_pipeline
    from ..evaluation.experiment import read_prompts

    if file:
        prompts += read_prompts(file)
    if not prompts:
        raise click.UsageError("Give a PROMPT, or a file of them with --prompts.")
    settings = Settings(**{f.name: values[f.name] for f in dataclasses.fields(Settings)})
    library = folders.library()
    if layout == GRID:
        targets = [library.get(name) for name in dict.fromkeys(aesthetics)]
    else:
        targets = [library.blend(from_arguments(aesthetics, library))]
    first_seed = random.randrange(2**32 - values["count"]) if values["seed"] is None else values["seed"]
    sheet = _build_sheet(layout or "", prompts, targets, settings, range(first_seed, first_seed + values["count"]))
    destination = _destination(output, sheet)

    with status("loading the model"):
        pipeline = load_pipeline(values["model"], values["device"], values["dtype"])
    if values["size"]:
        check_size(pipeline, *values["size"])
    job = Job(sheet.rows, values["negative_prompt"], values["sampler_steps"], values["cfg"], values["size"])
    families = clip_families(pipeline, values["projection"])
    metadata = partial(_cell_metadata, job, families, options.model_name(values["model"]))
    job_run = partial(JobRun, job, pipeline, families, values["projection"])
    last_progress = _run_and_save(job_run, sheet, destination, metadata)
    for label, curve in last_progress.curves.items():
        say(f"similarity to {label}: {curve[0]:.3f} -> {curve[-1]:.3f}")
    for line in last_progress.notes:
        note(line)


def _run_and_save(
    job_run: Callable[[Callable[[Progress], None]], JobRun],
    sheet: Sheet,
    destination: Callable[[Cell], Path],
    metadata: Callable[[Cell, Progress], dict[str, Any]],
) -> Progress:
    """Run the job, save pictures as they are finished, or the sheet at the end, and return the last progress."""
    from ..diffusion.png_metadata import save_picture

    last_progress, saved = Progress(""), 0
    with progress("generating pictures", 100) as advance:

        def on_progress(new_progress: Progress) -> None:
            nonlocal last_progress, saved
            last_progress = new_progress
            advance(round(100 * new_progress.fraction))
            pictures = [] if sheet.layout else [row[0] for row in new_progress.pictures]
            while saved < len(pictures) and (image := pictures[saved]):
                cell = sheet.rows[saved][0]
                contents = metadata(cell, new_progress) | {"seed": cell.seed, "size": image.size}
                say(save_picture(image, destination(cell), contents))
                saved += 1

        try:
            job_run(on_progress).run()
        finally:  # also after Ctrl-C, so that finished rows are kept
            finished = sheet.finished(last_progress)
            if sheet.layout and finished.rows:
                cell = finished.rows[0][-1]
                contents = metadata(cell, last_progress) | _sheet_metadata(finished)
                say(save_picture(_draw_sheet(finished, last_progress), destination(cell), contents))
    return last_progress


def _build_sheet(
    layout: str,
    prompts: Sequence[str],
    targets: Sequence[AestheticEmbedding],
    settings: Settings,
    seeds: Sequence[int],
) -> Sheet:
    """The cells of a layout: a row for each prompt, each aesthetic of a grid, and each seed."""

    def row(prompt: str, target: AestheticEmbedding, seed: int) -> tuple[Cell, ...]:
        suffix = f" of {prompt!r}" if len(prompts) > 1 else ""
        tuned = Cell(prompt, seed, target, settings, target.name + suffix)
        if layout == PAIRS:
            return Cell(prompt, seed), tuned
        if layout == GRID:
            return Cell(prompt, seed), Cell(f"{prompt}, {target.name} style", seed), tuned
        if layout == STRIP:
            step_settings = [replace(settings, steps=step_settings) for step_settings in STRIP_STEPS]
            return tuple(
                Cell(prompt, seed, target, combinations, f"{tuned.label}, n = {combinations.steps}")
                for combinations in step_settings
            )
        return (tuned,)

    def label(prompt: str, target: AestheticEmbedding, seed: int) -> str:
        parts = {prompt: len(prompts) > 1, target.name: layout == GRID, f"seed {seed}": len(seeds) > 1}
        return ", ".join(part for part, differs in parts.items() if differs)

    titles = {
        PAIRS: ("original", f"personalized: {targets[0].name}"),
        STRIP: tuple(f"n = {step_settings}" for step_settings in STRIP_STEPS),
        GRID: ("original", "“... style”\nappended", "personalized"),
    }
    combinations = list(itertools.product(prompts, targets, seeds))
    labels = tuple(label(*combination) for combination in combinations)
    return Sheet(
        layout,
        titles.get(layout, ()),
        labels if any(labels) else (),
        tuple(row(*combination) for combination in combinations),
    )


def _destination(output: Path, sheet: Sheet) -> Callable[[Cell], Path]:
    """A function from a cell to its file, or to that of the sheet. Raises AestheticError if it is not a PNG file."""
    suffix = output.suffix.lower()
    if not output.is_dir() and suffix != ".png" and suffix in Image.registered_extensions():
        raise AestheticError(
            f"{output} is not a PNG file, which alone holds all settings. Give --output {output.with_suffix('.png')}."
        )
    if output.is_file() and suffix != ".png":
        raise AestheticError(f"{output} is a file. Give a folder, or a PNG file, to --output.")
    is_file = suffix == ".png" and not output.is_dir()
    if sheet.layout:
        names = {PAIRS: "compare.png", STRIP: "strip.png", GRID: "grid.png"}
        return lambda _: output if is_file else output / names[sheet.layout]
    prompts = list(dict.fromkeys(row[0].prompt for row in sheet.rows))

    def file_of(cell: Cell) -> Path:
        name = str(cell.seed)
        if len(prompts) > 1:
            name = f"{prompts.index(cell.prompt) + 1:0{len(str(len(prompts)))}}-{name}"
        if not is_file:
            return output / f"{name}.png"
        return output if len(sheet.rows) == 1 else output.with_stem(f"{output.stem}-{name}")

    return file_of


def _draw_sheet(sheet: Sheet, progress: Progress) -> Image.Image:
    """The contact sheet of finished rows."""
    from ..diffusion import contact_sheet

    pictures = [[image for image in row if image] for row in progress.pictures if all(row)]
    return contact_sheet.sheet(pictures, sheet.titles, sheet.labels)


def _sheet_metadata(sheet: Sheet) -> dict[str, Any]:
    """The metadata of a whole sheet, to be added to that of its first row."""
    cells = [row[-1] for row in sheet.rows]
    metadata: dict[str, Any] = {
        "sheet": sheet.layout,
        "prompts": list(dict.fromkeys(cell.prompt for cell in cells)),
        "seeds": list(dict.fromkeys(cell.seed for cell in cells)),
    }
    if sheet.layout == GRID:
        metadata["aesthetics"] = list(dict.fromkeys(cell.embedding.name for cell in cells if cell.embedding))
    return metadata


def _cell_metadata(job: Job, families: Collection[str], model: str, cell: Cell, progress: Progress) -> dict[str, Any]:
    """The metadata of a picture, without its seed and size."""
    from ..diffusion.png_metadata import picture_metadata

    labels = cell.labels(families)
    return picture_metadata(
        cell.prompt,
        cell.embedding,
        cell.settings,
        model=model,
        negative_prompt=job.negative_prompt,
        sampler_steps=job.sampler_steps,
        cfg=job.cfg,
        similarities={family: progress.curves[label] for family, label in labels.items() if label in progress.curves},
    )
