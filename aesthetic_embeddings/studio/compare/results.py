"""Runs comparisons, and collects their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from ...diffusion.job import Progress
from ...ui import messages
from ..engine import Engine
from .comparison import Comparison
from .request import PAIRS
from .saving import Pair, save_pairs, save_sheet


@dataclass(frozen=True)
class Result:
    """A comparison and the files of its pictures so far: pairs, or one sheet.

    curves: label -> the similarity before the first step and after each. summary: HTML, empty until all is done.
    """

    comparison: Comparison
    pairs: tuple[Pair, ...] = ()
    sheet: str = ""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    summary: str = ""

    @property
    def file(self) -> str:
        """The file that represents the result: the sheet, or the first personalized picture. Empty until it exists."""
        return self.sheet or next((pair.personalized for pair in self.pairs), "")


def run(comparison: Comparison, engine: Engine, folder: Path, client: str = "") -> Iterator[tuple[Progress, Result]]:
    """Run the comparison's job, save its pictures in the folder, and yield the progress and the result so far.

    The last result is complete. Raises what `Engine.run` raises.
    """
    started, saved, result = perf_counter(), 0, Result(comparison)
    for progress in engine.run(comparison.job, client):
        if saved != (saved := progress.pictures_done):
            if comparison.request.layout == PAIRS:
                result = replace(result, pairs=save_pairs(comparison, progress, folder, engine.model))
            else:
                result = replace(result, sheet=save_sheet(comparison, progress, folder, engine.model))
        result = replace(result, curves=progress.curves)
        yield progress, result
    yield progress, replace(result, summary=_summary(comparison, progress, perf_counter() - started))


def _summary(comparison: Comparison, progress: Progress, seconds: float) -> str:
    seeds = comparison.request.seeds
    numbers = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    changes = [f"Similarity to {label}: {run[0]:.3f} → {run[-1]:.3f}." for label, run in progress.curves.items()]
    lines = [f"Done in {seconds:.1f} s, {numbers}.", *(changes if comparison.request.layout == PAIRS else [])]
    return "".join(map(messages.status, [*lines, *progress.notes]))
