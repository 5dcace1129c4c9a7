"""A job: rows of pictures to generate with a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image

from ..aesthetics.embedding import AestheticEmbedding
from ..settings import Settings
from .pipelines import personalized_prompt
from .sampling import pictures


@dataclass(frozen=True)
class Cell:
    """One picture of a job. label: the name of its similarity curve."""

    prompt: str
    seed: int
    embedding: AestheticEmbedding | None = None
    settings: Settings = field(default_factory=Settings)
    label: str = ""

    @property
    def target(self) -> AestheticEmbedding | None:
        """The aesthetic that the prompt is tuned towards; None for a plain picture."""
        return None if self.settings.changes_nothing else self.embedding

    @property
    def conditioning(self) -> Hashable:
        """A key that is equal for cells with the same conditioning."""
        return (self.prompt, self.target.tuning_hash, self.settings) if self.target else self.prompt

    def families(self, available: Collection[str]) -> list[str]:
        """The CLIP families that are tuned. available: those of the model."""
        return [name for name in self.target.vectors if name in available] if self.target else []

    def labels(self, available: Collection[str]) -> dict[str, str]:
        """CLIP family -> the label of its curve."""
        names = self.families(available)
        return {name: f"{self.label} ({name})" if len(names) > 1 else self.label for name in names}


@dataclass(frozen=True)
class Job:
    """Rows of pictures, and the parameters that they share. size: (width, height), by default the model's own."""

    rows: tuple[tuple[Cell, ...], ...]
    negative_prompt: str = ""
    sampler_steps: int = 20
    cfg: float = 5.0
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Progress:
    """The progress of a job.

    message: the current activity. fraction: the share of all steps that is done, 0 to 1.
    pictures: one for each cell, None until it is generated.
    curves: label -> the similarity before the first step and after each. The last of several cells with one label wins.
    notes: sentences for the user. seconds_left: an estimate, None while there is none.
    """

    message: str
    fraction: float = 0.0
    pictures: tuple[tuple[Image.Image | None, ...], ...] = ()
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds_left: float | None = None

    @property
    def pictures_done(self) -> int:
        """The number of finished pictures."""
        return sum(image is not None for row in self.pictures for image in row)


@dataclass
class JobRun:
    """Generates the pictures of a job with a pipeline. Equal cells share a picture.

    families: the CLIP families that the pipeline can tune. projection: as for `personalized_prompt`.
    on_progress: called at every step. An exception that it raises ends the run.
    """

    job: Job
    pipeline: Any
    families: Collection[str]
    projection: Path | None
    on_progress: Callable[[Progress], None]

    def __post_init__(self) -> None:
        self._cells = {(cell.conditioning, cell.seed): cell for row in self.job.rows for cell in row}
        prompts = {cell.conditioning: self._tuning_steps(cell) for cell in self._cells.values()}
        self._total = sum(prompts.values()) + len(self._cells) * self.job.sampler_steps
        self._done, self._started = 0, perf_counter()
        self._pictures: dict[Hashable, Image.Image] = {}
        self._curves: dict[str, tuple[float, ...]] = {}
        self._notes: dict[str, None] = {}

    def run(self) -> None:
        """Generate all pictures. The last progress reported has all of them."""
        arguments: dict[Hashable, dict[str, Any]] = {}
        for number, (key, cell) in enumerate(self._cells.items(), 1):
            if cell.conditioning not in arguments:
                arguments[cell.conditioning] = self._encode(cell)
            self._pictures[key] = self._sample(cell, arguments[cell.conditioning], number)
        self._report("Done")

    def _tuning_steps(self, cell: Cell) -> int:
        return cell.settings.steps * len(cell.families(self.families))

    def _encode(self, cell: Cell) -> dict[str, Any]:
        """The pipeline's arguments for the cell's prompt, tuned towards its aesthetic if it has one."""
        embedding = cell.target
        if embedding is None:
            return {"prompt": cell.prompt, "negative_prompt": self.job.negative_prompt}
        done_after = self._done + self._tuning_steps(cell)
        label = cell.label  # of a temporary curve: the result says which encoders were tuned

        def on_step(step: int, similarity: float) -> None:
            self._curves[label] = (*self._curves[label], similarity) if step else (similarity,)
            self._done += step > 0
            self._report(f"Tuning towards {embedding.name}: step {step} of {cell.settings.steps}")

        tuned = personalized_prompt(
            self.pipeline,
            cell.prompt,
            embedding,
            cell.settings,
            negative_prompt=self.job.negative_prompt,
            projection=self.projection,
            on_step=on_step,
        )
        self._done = done_after
        self._curves.pop(label, None)
        labels = cell.labels(self.families)
        self._curves.update({labels[name]: run for name, run in tuned.similarities.items()})
        self._notes.update(dict.fromkeys(tuned.notes))
        return tuned.arguments

    def _sample(self, cell: Cell, arguments: dict[str, Any], number: int) -> Image.Image:
        done_after = self._done + self.job.sampler_steps

        def on_step() -> None:
            self._done = min(self._done + 1, done_after)  # some samplers call this twice for one step
            self._report(f"Picture {number} of {len(self._cells)}")

        (image,) = pictures(
            self.pipeline,
            arguments,
            [cell.seed],
            steps=self.job.sampler_steps,
            cfg=self.job.cfg,
            size=self.job.size,
            on_step=on_step,
        )
        self._done = done_after
        return image

    def _report(self, message: str) -> None:
        rows = tuple(tuple(self._pictures.get((each.conditioning, each.seed)) for each in row) for row in self.job.rows)
        self.on_progress(
            Progress(
                message,
                fraction=self._done / self._total,
                pictures=rows,
                curves=dict(self._curves),
                notes=tuple(self._notes),
                seconds_left=self._seconds_left(),
            )
        )

    def _seconds_left(self) -> float | None:
        """Estimated as if all steps took the same time. None at first, since the first steps also load things."""
        if self._done < self._total / 20:
            return None
        return (perf_counter() - self._started) * (self._total - self._done) / self._done
