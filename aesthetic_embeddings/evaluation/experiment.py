"""The paper's experiment: the same prompts and seeds, plain and personalized, each picture scored.

Everything is kept in one folder:

    experiment.json     what was asked for
    pictures/VARIANT[/AESTHETIC]/PROMPT-SEED.png     with settings and scores inside
    results.jsonl       one line per picture
    results.csv         the same as a table
    index.html          figures and grids (report.py)

A picture that exists is not made again, so a run that was stopped goes on where it was. One that others have scored is
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
from ..diffusion.png_metadata import described, read_about, save_picture
from ..diffusion.sampling import pictures
from ..errors import AestheticError
from ..settings import PRESETS, Settings
from ..storage.paths import write_atomically
from .scoring import Scoring

ORIGINAL, KEYWORD = "original", "keyword"
#: Table 1 of the paper.
PROMPTS = tuple((Path(__file__).parent / "prompts.txt").read_text(encoding="utf-8").splitlines())
_MOST_PROMPTS, _LONGEST_PROMPT = 1000, 2000


@dataclass(frozen=True)
class Variant:
    """One column of the comparison: the plain prompt, the plain prompt with the aesthetic's name, or a tuning.

    Attributes:
        name: Of the column. "original" stands for the plain prompt alone; without settings, any other name stands for
            the prompt with the aesthetic's name.
        settings: Of the tuning; None where the text encoder stays plain.
    """

    name: str
    settings: Settings | None = None


@dataclass(frozen=True)
class Experiment:
    """What `evaluate` compares. The figures compare each variant with the original.

    Attributes:
        model: A diffusers folder, a hub id in the local cache, a checkpoint file, or "pocket" for the bundled model.
        aesthetics: What the prompts are tuned towards, one after the other.
        variants: The columns; by default the original, the keyword, and the prompt tuned with `Settings()`.
        prompts: By default the 25 of the paper's table 1.
        images: Pictures of each prompt and variant.
        seed: The first picture's; the others count up from it.
        sampler_steps: Of each picture.
        cfg: The guidance scale.
        size: (width, height) in pixels; by default the model's own.
        keyword: How the keyword variant says an aesthetic.
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
        for what, values in (("aesthetic", [a.name for a in self.aesthetics]), ("variant", names)):
            if len(set(values)) != len(values):
                raise AestheticError(f"Each {what} should be given once, but these are given: {', '.join(values)}.")
        if not self.aesthetics or not self.prompts or not names or self.images < 1:
            raise AestheticError("An evaluation needs an aesthetic, a prompt, a variant and one image at least.")
        if len(self.prompts) > _MOST_PROMPTS:
            raise AestheticError(f"{len(self.prompts)} prompts are too many: take at most {_MOST_PROMPTS}.")

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.images)

    def as_json(self) -> dict[str, Any]:
        """All that the pictures depend on, for `experiment.json`."""
        return dataclasses.asdict(self) | {
            "aesthetics": {a.name: a.tuning_hash for a in self.aesthetics},
            "variants": {v.name: v.settings and dataclasses.asdict(v.settings) for v in self.variants},
            "prompts": list(self.prompts),
            "size": self.size and list(self.size),
        }


@dataclass(frozen=True)
class Cell:
    """The pictures of one prompt under one variant: the same conditioning, one picture per seed."""

    variant: Variant
    aesthetic: AestheticEmbedding | None
    prompt: str
    index: int

    def path(self, seed: int) -> Path:
        parts = [self.variant.name] + ([self.aesthetic.name.replace("/", " ")] if self.aesthetic else [])
        return Path("pictures", *parts, f"{self.index:03d}-{seed}.png")


def cells(experiment: Experiment) -> list[Cell]:
    """Prompt by prompt, so that a run that is stopped has whole comparisons."""
    return [
        Cell(variant, aesthetic, prompt, index)
        for index, prompt in enumerate(experiment.prompts)
        for variant in experiment.variants
        for aesthetic in ([None] if variant.name == ORIGINAL else experiment.aesthetics)
    ]


def variants(names: str | Iterable[str], settings: Settings) -> tuple[Variant, ...]:
    """The variants that `names` means, such as `original,keyword,personalized,strong:steps=20:epsilon=2e-4`.

    settings: of `personalized`, and what a variant with values of its own starts from.
    Raises AestheticError for a name that is not known and brings no values.
    """
    presets = {name.lower().replace(" ", "-").replace("'", ""): value for name, value in PRESETS.items()}
    known = {"personalized": settings, **presets}
    found = []
    for text in names.split(",") if isinstance(names, str) else names:
        name, *values = text.strip().split(":")
        if name in (ORIGINAL, KEYWORD) and not values:
            found.append(Variant(name))
        elif values and name.replace("-", "").replace("_", "").isalnum():
            found.append(Variant(name, dataclasses.replace(settings, **dict(_value(value) for value in values))))
        elif name in known:
            found.append(Variant(name, known[name]))
        else:
            every = ", ".join([ORIGINAL, KEYWORD, *known])
            raise AestheticError(
                f"There is no variant {text.strip()!r}. There are {every}. To make one: mine:steps=20:epsilon=2e-4"
            )
    return tuple(found)


def _value(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    kinds: dict[str, type] = {f.name: type(f.default) for f in dataclasses.fields(Settings)}
    if name not in kinds:
        raise AestheticError(f"There is no setting called {name!r}. There are {', '.join(kinds)}.")
    try:
        return name, value.lower() in ("true", "1", "yes") if kinds[name] is bool else kinds[name](value)
    except ValueError:
        raise AestheticError(f"{name} cannot be {value!r}.") from None


def read_prompts(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """One prompt per line of a text file; empty lines do not count."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AestheticError(f"{path} cannot be read as text in UTF-8: {error}.") from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise AestheticError(f"{path} holds no prompt. Write one per line.")
    if long := next((line for line in found if len(line) > _LONGEST_PROMPT), None):
        raise AestheticError(f"{path} has a prompt of {len(long)} letters: take at most {_LONGEST_PROMPT}.")
    return found


def prepare(experiment: Experiment, output: Path) -> None:
    """Make the folder. Raises AestheticError where it holds something other than this experiment.

    An experiment that failed before its first picture may be followed by another.
    """
    about, path = experiment.as_json(), output / "experiment.json"
    if path.exists() and (output / "pictures").exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AestheticError(f"{path} is damaged. Choose another folder.") from error
        now = json.loads(json.dumps(about))
        if changed := [key for key in now if not isinstance(before, dict) or before.get(key) != now[key]]:
            raise AestheticError(
                f"{output} holds an evaluation with another {', another '.join(changed)}. Choose another folder."
            )
    elif not path.exists() and output.exists() and any(output.iterdir()):
        raise AestheticError(f"{output} is not empty, and holds no evaluation. Choose another folder.")
    else:
        write_atomically(path, (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())


def run(
    experiment: Experiment,
    wanted: Iterable[Cell],
    pipeline: Callable[[], Any],
    scoring: Scoring,
    output: Path,
    on_picture: Callable[[], object] = lambda: None,
    projection: str | os.PathLike[str] | None = None,
) -> None:
    """Make and score the pictures of some cells that are not in `output` yet.

    pipeline: loads it; called only where a picture is missing. on_picture: called after each picture.
    Raises AestheticError where the model cannot be tuned towards an aesthetic; nothing is written for that cell.
    """
    for cell in wanted:
        missing = [seed for seed in experiment.seeds if not (output / cell.path(seed)).exists()]
        for seed in experiment.seeds:
            if seed not in missing:
                _score_again(output / cell.path(seed), cell.prompt, experiment.aesthetics, scoring)
                on_picture()
        if not missing:
            continue
        loaded = pipeline()
        arguments, similarities = _conditioning(experiment, cell, loaded, projection)
        about = described(
            cell.prompt,
            cell.aesthetic,
            cell.variant.settings or Settings(steps=0),
            model=experiment.model,
            negative_prompt="",
            sampler_steps=experiment.sampler_steps,
            cfg=experiment.cfg,
            similarities=similarities,
        )
        about |= {"variant": cell.variant.name, "prompt_number": cell.index}
        made = pictures(
            loaded,
            arguments,
            missing,
            steps=experiment.sampler_steps,
            cfg=experiment.cfg,
            size=experiment.size,
        )
        for seed, image in zip(missing, made, strict=True):
            said = about | {"seed": seed, "size": image.size}
            _save_scored(image, output / cell.path(seed), said, cell.prompt, experiment.aesthetics, scoring)
            on_picture()


def _conditioning(
    experiment: Experiment, cell: Cell, pipeline: Any, projection: str | os.PathLike[str] | None
) -> tuple[dict[str, Any], Mapping[str, Sequence[float]]]:
    """What the pipeline takes for a cell, and the similarities over the steps where its prompt is tuned."""
    if cell.aesthetic is None:
        return {"prompt": cell.prompt}, {}
    if cell.variant.settings is None:
        named = cell.aesthetic.name.split("/")[-1]
        return {"prompt": experiment.keyword.format(prompt=cell.prompt, aesthetic=named)}, {}
    place = None if projection is None else Path(projection)
    tuned = personalized_prompt(pipeline, cell.prompt, cell.aesthetic, cell.variant.settings, projection=place)
    return tuned.arguments, tuned.similarities


def _save_scored(
    image: Image.Image,
    path: Path,
    about: Mapping[str, Any],
    prompt: str,
    aesthetics: Sequence[AestheticEmbedding],
    scoring: Scoring,
) -> None:
    scores = scoring.scores(image, prompt, aesthetics)
    save_picture(image, path, {**about, "scores": scores, "scored_by": scoring.names})


def _score_again(path: Path, prompt: str, aesthetics: Sequence[AestheticEmbedding], scoring: Scoring) -> None:
    """Score a picture that exists, where others have scored it; the pixels stay."""
    if not scoring.names or (about := read_about(path)).get("scored_by") == scoring.names:
        return
    with Image.open(path) as image:
        _save_scored(image.convert("RGB"), path, about, prompt, aesthetics, scoring)


def results(experiment: Experiment, output: Path) -> Iterator[dict[str, Any]]:
    """What is known of each picture that exists, in order."""
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
                    **_known(path),
                }


def _known(path: Path) -> dict[str, Any]:
    about = read_about(path)
    return {"scores": about.get("scores", {}), "similarities": about.get("similarities", {})}


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
