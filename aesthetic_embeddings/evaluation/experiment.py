"""The paper's experiment: pictures of the same prompts and seeds, plain and personalized, each scored.

Everything is stored in one folder:

    experiment.json     the experiment's parameters
    pictures/VARIANT[/AESTHETIC]/PROMPT-SEED.png     with settings and scores inside
    results.jsonl       one line per picture
    results.csv         the same as a table
    index.html          figures and grids (report.py)

A picture that exists is not generated again, so an interrupted run continues. One that other scorers have scored is
scored again.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..aesthetics.embedding import AestheticEmbedding
from ..diffusion.pipelines import personalized_prompt
from ..diffusion.png_metadata import picture_metadata, read_metadata, save_picture
from ..diffusion.sampling import pictures
from ..errors import AestheticError
from ..settings import PRESETS, Settings
from ..storage.paths import write_atomically
from .scoring import Scoring

ORIGINAL, KEYWORD = "original", "keyword"
#: Table 1 of the paper.
PROMPTS = tuple((Path(__file__).parent / "prompts.txt").read_text(encoding="utf-8").splitlines())
MAX_PROMPTS, MAX_PROMPT_LENGTH = 1000, 2000


@dataclass(frozen=True)
class Variant:
    """One column of the comparison: the plain prompt, the prompt with the aesthetic's name, or a tuned prompt.

    Attributes:
        name: The column's name. "original" means the plain prompt. Any other name without settings means the prompt
            with the aesthetic's name.
        settings: The settings for tuning; None for a plain text encoder.
    """

    name: str
    settings: Settings | None = None


@dataclass(frozen=True)
class Experiment:
    """The parameters of an experiment. Its figures compare each variant with the original.

    Attributes:
        model: A diffusers folder, a hub id in the local cache, a checkpoint file, or "pocket" for the bundled model.
        aesthetics: The aesthetics that the prompts are tuned towards, one after the other.
        variants: The columns; by default the original, the keyword, and the prompt tuned with `Settings()`.
        prompts: By default the 25 of the paper's table 1.
        images: The number of pictures of each prompt and variant.
        seed: The seed of the first picture; it increments per picture.
        sampler_steps: Sampler steps of each picture.
        cfg: The guidance scale.
        size: (width, height) in pixels; by default the model's own.
        keyword: The prompt template of the keyword variant.
    """

    model: str
    aesthetics: Sequence[AestheticEmbedding]
    variants: Sequence[Variant] = (Variant(ORIGINAL), Variant(KEYWORD), Variant("personalized", Settings()))
    prompts: Sequence[str] = PROMPTS
    images: int = 6
    seed: int = 0
    sampler_steps: int = 20
    cfg: float = 5.0
    size: tuple[int, int] | None = None
    keyword: str = "{prompt}, {aesthetic} style"

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        for kind, values in (("aesthetic", [aesthetic.name for aesthetic in self.aesthetics]), ("variant", names)):
            if len(set(values)) != len(values):
                raise AestheticError(f"Each {kind} should be given once, but these are given: {', '.join(values)}.")
        if not self.aesthetics or not self.prompts or not names or self.images < 1:
            raise AestheticError("An evaluation needs an aesthetic, a prompt, a variant and one image at least.")
        if len(self.prompts) > MAX_PROMPTS:
            raise AestheticError(f"{len(self.prompts)} prompts are too many: take at most {MAX_PROMPTS}.")

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.images)

    def as_json(self) -> dict[str, Any]:
        """Everything that the pictures depend on, for `experiment.json`."""
        return dataclasses.asdict(self) | {
            "aesthetics": {aesthetic.name: aesthetic.tuning_hash for aesthetic in self.aesthetics},
            "variants": {
                variant.name: variant.settings and dataclasses.asdict(variant.settings) for variant in self.variants
            },
            "prompts": list(self.prompts),
            "size": self.size and list(self.size),
        }


@dataclass(frozen=True)
class Cell:
    """The pictures of one prompt and one variant: one per seed, with the same conditioning."""

    variant: Variant
    aesthetic: AestheticEmbedding | None
    prompt: str
    index: int

    def path(self, seed: int) -> Path:
        parts = [self.variant.name] + ([self.aesthetic.name.replace("/", " ")] if self.aesthetic else [])
        return Path("pictures", *parts, f"{self.index:03d}-{seed}.png")


def cells(experiment: Experiment) -> list[Cell]:
    """All cells, prompt by prompt, so that an interrupted run has complete comparisons."""
    return [
        Cell(variant, aesthetic, prompt, index)
        for index, prompt in enumerate(experiment.prompts)
        for variant in experiment.variants
        for aesthetic in ([None] if variant.name == ORIGINAL else experiment.aesthetics)
    ]


def variants(names: str | Iterable[str], settings: Settings) -> tuple[Variant, ...]:
    """Parse variants, such as `original,keyword,personalized,strong:steps=20:epsilon=2e-4`.

    settings: those of `personalized`, and the defaults of variants with values.
    Raises AestheticError for an unknown name without values.
    """
    presets = {name.lower().replace(" ", "-").replace("'", ""): value for name, value in PRESETS.items()}
    named_settings = {"personalized": settings, **presets}
    result = []
    for text in names.split(",") if isinstance(names, str) else names:
        name, *values = text.strip().split(":")
        if name in (ORIGINAL, KEYWORD) and not values:
            result.append(Variant(name))
        elif values and name.replace("-", "").replace("_", "").isalnum():
            result.append(
                Variant(name, dataclasses.replace(settings, **dict(_parse_setting(value) for value in values)))
            )
        elif name in named_settings:
            result.append(Variant(name, named_settings[name]))
        else:
            choices = ", ".join([ORIGINAL, KEYWORD, *named_settings])
            raise AestheticError(
                f"There is no variant {text.strip()!r}. There are {choices}. To make one: mine:steps=20:epsilon=2e-4"
            )
    return tuple(result)


def _parse_setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    types: dict[str, type] = {f.name: type(f.default) for f in dataclasses.fields(Settings)}
    if name not in types:
        raise AestheticError(f"There is no setting called {name!r}. There are {', '.join(types)}.")
    try:
        return name, value.lower() in ("true", "1", "yes") if types[name] is bool else types[name](value)
    except ValueError:
        raise AestheticError(f"{name} cannot be {value!r}.") from None


def read_prompts(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read a text file with one prompt per line. Empty lines are ignored."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AestheticError(f"{path} cannot be read as text in UTF-8: {error}.") from error
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise AestheticError(f"{path} holds no prompt. Write one per line.")
    if too_long := next((line for line in prompts if len(line) > MAX_PROMPT_LENGTH), None):
        raise AestheticError(f"{path} has a prompt of {len(too_long)} characters: take at most {MAX_PROMPT_LENGTH}.")
    return prompts


def prepare(experiment: Experiment, output: Path) -> None:
    """Create the folder. Raises AestheticError if it holds anything but this experiment.

    An experiment that failed before its first picture may be replaced by another.
    """
    description, path = experiment.as_json(), output / "experiment.json"
    if path.exists() and (output / "pictures").exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AestheticError(f"{path} is damaged. Choose another folder.") from error
        current = json.loads(json.dumps(description))
        if changed := [key for key in current if not isinstance(stored, dict) or stored.get(key) != current[key]]:
            raise AestheticError(
                f"{output} holds an evaluation with another {', another '.join(changed)}. Choose another folder."
            )
    elif not path.exists() and output.exists() and any(output.iterdir()):
        raise AestheticError(f"{output} is not empty, and holds no evaluation. Choose another folder.")
    else:
        write_atomically(path, (json.dumps(description, indent=1, ensure_ascii=False) + "\n").encode())


def run(
    experiment: Experiment,
    cells_to_do: Iterable[Cell],
    load_pipeline: Callable[[], Any],
    scoring: Scoring,
    output: Path,
    on_picture: Callable[[], object] = lambda: None,
    projection: str | os.PathLike[str] | None = None,
) -> None:
    """Generate and score the pictures of the cells that are not in `output` yet.

    load_pipeline: loads the model; called only if a picture is missing. on_picture: called after each picture.
    Raises AestheticError if the model cannot be tuned towards an aesthetic. Nothing is written for that cell.
    """
    for cell in cells_to_do:
        missing = [seed for seed in experiment.seeds if not (output / cell.path(seed)).exists()]
        for seed in experiment.seeds:
            if seed not in missing:
                _score_again(output / cell.path(seed), cell.prompt, experiment.aesthetics, scoring)
                on_picture()
        if not missing:
            continue
        loaded_pipeline = load_pipeline()
        arguments, similarities = _conditioning(experiment, cell, loaded_pipeline, projection)
        metadata = picture_metadata(
            cell.prompt,
            cell.aesthetic,
            cell.variant.settings or Settings(steps=0),
            model=experiment.model,
            negative_prompt="",
            sampler_steps=experiment.sampler_steps,
            cfg=experiment.cfg,
            similarities=similarities,
        )
        metadata |= {"variant": cell.variant.name, "prompt_number": cell.index}
        images = pictures(
            loaded_pipeline,
            arguments,
            missing,
            steps=experiment.sampler_steps,
            cfg=experiment.cfg,
            size=experiment.size,
        )
        for seed, image in zip(missing, images, strict=True):
            with_seed = metadata | {"seed": seed, "size": image.size}
            _save_scored(image, output / cell.path(seed), with_seed, cell.prompt, experiment.aesthetics, scoring)
            on_picture()


def _conditioning(
    experiment: Experiment, cell: Cell, pipeline: Any, projection: str | os.PathLike[str] | None
) -> tuple[dict[str, Any], Mapping[str, Sequence[float]]]:
    """The pipeline's arguments for a cell, and the similarities over the steps if its prompt is tuned."""
    if cell.aesthetic is None:
        return {"prompt": cell.prompt}, {}
    if cell.variant.settings is None:
        name = cell.aesthetic.name.split("/")[-1]
        return {"prompt": experiment.keyword.format(prompt=cell.prompt, aesthetic=name)}, {}
    projection_path = None if projection is None else Path(projection)
    tuned = personalized_prompt(
        pipeline, cell.prompt, cell.aesthetic, cell.variant.settings, projection=projection_path
    )
    return tuned.arguments, tuned.similarities


def _save_scored(
    image: Image.Image,
    path: Path,
    metadata: Mapping[str, Any],
    prompt: str,
    aesthetics: Sequence[AestheticEmbedding],
    scoring: Scoring,
) -> None:
    scores = scoring.scores(image, prompt, aesthetics)
    save_picture(image, path, {**metadata, "scores": scores, "scored_by": scoring.names})


def _score_again(path: Path, prompt: str, aesthetics: Sequence[AestheticEmbedding], scoring: Scoring) -> None:
    """Score an existing picture again if other scorers have scored it. Its pixels do not change."""
    if not scoring.names or (metadata := read_metadata(path)).get("scored_by") == scoring.names:
        return
    with Image.open(path) as image:
        _save_scored(image.convert("RGB"), path, metadata, prompt, aesthetics, scoring)


def results(experiment: Experiment, output: Path) -> Iterator[dict[str, Any]]:
    """The results of all existing pictures, in order."""
    for cell in cells(experiment):
        for seed in experiment.seeds:
            path = output / cell.path(seed)
            if path.exists():
                yield {
                    "picture": cell.path(seed).as_posix(),
                    "variant": cell.variant.name,
                    "aesthetic": cell.aesthetic.name if cell.aesthetic else "",
                    "prompt_number": cell.index,
                    "prompt": cell.prompt,
                    "seed": seed,
                    **_scores_and_similarities(path),
                }


def _scores_and_similarities(path: Path) -> dict[str, Any]:
    metadata = read_metadata(path)
    return {"scores": metadata.get("scores", {}), "similarities": metadata.get("similarities", {})}


def write_results(experiment: Experiment, output: Path) -> list[dict[str, Any]]:
    """Write `results.jsonl` and `results.csv`, and return their lines."""
    lines = list(results(experiment, output))
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomically(output / "results.jsonl", text.encode())
    scores = list(dict.fromkeys(name for line in lines for name in line["scores"]))
    table = io.StringIO()
    columns = ["picture", "variant", "aesthetic", "prompt_number", "prompt", "seed"]
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*columns, *scores])
    for line in lines:
        writer.writerow([*(line[column] for column in columns), *(line["scores"].get(name, "") for name in scores)])
    write_atomically(output / "results.csv", table.getvalue().encode("utf-8-sig"))
    return lines
