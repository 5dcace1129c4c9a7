"""The command that makes pictures."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from PIL import Image

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.mixes import Mix, from_arguments
from ..errors import AestheticError
from ..settings import Settings
from . import options
from .library import Folders
from .terminal import note, progress, say, status

PAIRS, STRIP, GRID = "pairs", "strip", "grid"
STRIP_STEPS = (0, 5, 10, 15, 20)  # as in the paper's figure 1


@dataclass(frozen=True)
class Cell:
    """One picture: of a prompt as it is, or tuned towards an aesthetic."""

    prompt: str
    seed: int
    embedding: AestheticEmbedding | None = None
    settings: Settings = field(default_factory=Settings)

    @property
    def conditioning(self) -> Hashable:
        """Equal for cells whose prompts are encoded alike."""
        return (self.prompt, self.embedding and self.embedding.content_hash, self.settings)


@dataclass(frozen=True)
class Sheet:
    """The pictures of one run: rows of cells, each row with a label, under titles of the columns.

    layout: empty where each picture is a file of its own.
    """

    layout: str
    titles: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


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
    from ..diffusion.sampling import check_size, load_pipeline
    from ..evaluation.experiment import read_prompts

    if file:
        prompts += read_prompts(file)
    if not prompts:
        raise click.UsageError("Give a PROMPT, or a file of them with --prompts.")
    settings = Settings(**{f.name: chosen[f.name] for f in dataclasses.fields(Settings)})
    library = folders.library()
    if layout == GRID:
        mixes = [Mix(((name, 1.0),)) for name in dict.fromkeys(aesthetics)]
    else:
        mixes = [from_arguments(aesthetics, library)]
    targets = [library.blend(mix, told_apart=settings.contrast > 0) for mix in mixes]
    first = random.randrange(2**32 - chosen["count"]) if chosen["seed"] is None else chosen["seed"]
    sheet = _sheet(layout or "", prompts, targets, settings, range(first, first + chosen["count"]))
    destination = _destination(output, sheet)

    with status("loading the model"):
        pipeline = load_pipeline(chosen["model"], chosen["device"], chosen["dtype"])
    if chosen["size"]:
        check_size(pipeline, *chosen["size"])
    about = {
        "model": options.model_name(chosen["model"]),
        "negative_prompt": chosen["negative_prompt"],
        "sampler_steps": chosen["sampler_steps"],
        "cfg": chosen["cfg"],
    }
    run = _Run(pipeline, about, chosen["projection"], chosen["size"])
    rows: list[list[Image.Image]] = []
    with progress("making pictures", run.steps(sheet)) as advance:
        try:
            for cells in sheet.rows:
                images = [run.picture(cell, advance) for cell in cells]
                rows.append(images)
                if not layout:
                    say(run.save(images[0], destination(cells[0]), cells[0]))
        finally:  # after Ctrl-C what is finished is kept
            if layout and rows:
                say(run.save_sheet(sheet, rows, destination(sheet.rows[0][-1])))
    for line in run.notes:
        note(line)


def _sheet(
    layout: str,
    prompts: Sequence[str],
    targets: Sequence[AestheticEmbedding],
    settings: Settings,
    seeds: Sequence[int],
) -> Sheet:
    """The cells of a layout: a row for each prompt, each aesthetic of a grid, and each seed."""
    rows, labels = [], []
    for prompt in prompts:
        for target in targets:
            for seed in seeds:
                plain, tuned = Cell(prompt, seed), Cell(prompt, seed, target, settings)
                keyword = Cell(f"{prompt}, {target.name} style", seed)
                strip = tuple(Cell(prompt, seed, target, replace(settings, steps=steps)) for steps in STRIP_STEPS)
                rows.append({PAIRS: (plain, tuned), GRID: (plain, keyword, tuned), STRIP: strip}.get(layout, (tuned,)))
                words = [
                    prompt if len(prompts) > 1 else "",
                    target.name if layout == GRID else "",
                    f"seed {seed}" if len(seeds) > 1 else "",
                ]
                labels.append(", ".join(filter(None, words)))
    titles = {
        PAIRS: ("original", f"personalized: {targets[0].name}"),
        STRIP: tuple(f"n = {steps}" for steps in STRIP_STEPS),
        GRID: ("original", "“... style”\nappended", "personalized"),
    }
    return Sheet(layout, titles.get(layout, ()), tuple(labels) if any(labels) else (), tuple(rows))


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


class _Run:
    """Makes pictures with a pipeline; equal prompts are tuned once."""

    def __init__(
        self, pipeline: Any, about: Mapping[str, Any], projection: Path | None, size: tuple[int, int] | None
    ) -> None:
        self.pipeline, self.about, self.projection, self.size = pipeline, about, projection, size
        self.notes: dict[str, None] = {}
        self._arguments: dict[Hashable, dict[str, Any]] = {}
        self._similarities: dict[Hashable, Mapping[str, Sequence[float]]] = {}

    def steps(self, sheet: Sheet) -> int:
        """Steps of tuning and sampling, in all."""
        cells = [cell for row in sheet.rows for cell in row]
        tuned = {cell.conditioning: cell.settings.steps for cell in cells if cell.embedding}
        return sum(tuned.values()) + len(cells) * int(self.about["sampler_steps"])

    def picture(self, cell: Cell, on_step: Callable[..., None]) -> Image.Image:
        from ..diffusion.sampling import pictures

        if cell.conditioning not in self._arguments:
            self._arguments[cell.conditioning] = self._encoded(cell, on_step)
        (image,) = pictures(
            self.pipeline,
            self._arguments[cell.conditioning],
            [cell.seed],
            steps=self.about["sampler_steps"],
            cfg=self.about["cfg"],
            size=self.size,
            on_step=on_step,
        )
        return image

    def _encoded(self, cell: Cell, on_step: Callable[..., None]) -> dict[str, Any]:
        """The pipeline's arguments for the prompt of a cell."""
        from ..diffusion.pipelines import personalized_prompt

        if cell.embedding is None:
            return {"prompt": cell.prompt, "negative_prompt": self.about["negative_prompt"]}
        found = personalized_prompt(
            self.pipeline,
            cell.prompt,
            cell.embedding,
            cell.settings,
            negative_prompt=self.about["negative_prompt"],
            projection=self.projection,
            on_step=lambda k, _: on_step() if k else None,
        )
        self.notes.update(dict.fromkeys(found.notes))
        self._similarities[cell.conditioning] = found.similarities
        for family, values in found.similarities.items():
            say(f"similarity to {cell.embedding.name} ({family}): {values[0]:.3f} -> {values[-1]:.3f}")
        return found.arguments

    def save(self, image: Image.Image, path: Path, cell: Cell) -> Path:
        from ..diffusion.png_metadata import save_picture

        return save_picture(image, path, self._about(cell) | {"seed": cell.seed, "size": image.size})

    def save_sheet(self, sheet: Sheet, rows: Sequence[Sequence[Image.Image]], path: Path) -> Path:
        from ..diffusion import contact_sheet
        from ..diffusion.png_metadata import save_picture

        finished = [row[-1] for row in sheet.rows[: len(rows)]]
        page = contact_sheet.sheet(rows, sheet.titles, sheet.labels[: len(rows)])
        about = self._about(finished[0]) | {
            "sheet": sheet.layout,
            "prompts": list(dict.fromkeys(cell.prompt for cell in finished)),
            "seeds": list(dict.fromkeys(cell.seed for cell in finished)),
        }
        if sheet.layout == GRID:
            about["aesthetics"] = list(dict.fromkeys(cell.embedding.name for cell in finished if cell.embedding))
        return save_picture(page, path, about)

    def _about(self, cell: Cell) -> dict[str, Any]:
        from ..diffusion.png_metadata import described

        similarities = self._similarities.get(cell.conditioning, {})
        return described(cell.prompt, cell.embedding, cell.settings, similarities=similarities, **self.about)
