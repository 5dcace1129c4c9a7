"""The job for a request: pairs of pictures, a strip over the steps, or a grid of aesthetics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...aesthetics.embedding import AestheticEmbedding
from ...aesthetics.library import Library
from ...aesthetics.mixes import from_text
from ...diffusion.job import Cell, Job, Progress
from ...diffusion.png_metadata import picture_metadata
from ...errors import AestheticError
from .request import GRID, PAIRS, STRIP, Request

STRIP_STEPS = (0, 5, 10, 15, 20)  # as in the paper's figure 1


@dataclass(frozen=True)
class Comparison:
    """A request and its job. columns, rows: their titles, if all pictures become one sheet."""

    request: Request
    embedding: AestheticEmbedding
    job: Job
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    def metadata(self, progress: Progress, model: str) -> dict[str, Any]:
        """The metadata of its pictures, without their seeds."""
        request = self.request
        return picture_metadata(
            request.prompt,
            self.embedding,
            request.settings,
            model=model,
            negative_prompt=request.negative_prompt,
            sampler_steps=request.sampler_steps,
            cfg=request.cfg,
            similarities=progress.curves,
        )


def make_comparison(request: Request, library: Library) -> Comparison:
    """The comparison for a request. Raises AestheticError if it has no aesthetic, or one that is not in the library."""
    return {PAIRS: _pairs, STRIP: _strip, GRID: _grid}[request.layout](request, library)


def _pairs(request: Request, library: Library) -> Comparison:
    e = _aesthetic(request, library)
    rows = [
        (Cell(request.prompt, seed), Cell(request.prompt, seed, e, request.settings, e.name)) for seed in request.seeds
    ]
    return Comparison(request, e, _job(request, rows))


def _strip(request: Request, library: Library) -> Comparison:
    e = _aesthetic(request, library)

    def cell(seed: int, steps: int) -> Cell:
        return Cell(request.prompt, seed, e, replace(request.settings, steps=steps), e.name)

    rows = [tuple(cell(seed, steps) for steps in STRIP_STEPS) for seed in request.seeds]
    columns = tuple(f"n = {steps}" for steps in STRIP_STEPS)
    row_titles = tuple(f"seed {seed}" for seed in request.seeds) if request.count > 1 else ()
    return Comparison(request, e, _job(request, rows), columns, row_titles)


def _grid(request: Request, library: Library) -> Comparison:
    if not request.grid:
        raise AestheticError("Choose the aesthetics of the grid first.")
    embeddings, request = [library.get(name) for name in request.grid], replace(request, count=1)
    rows = [
        (
            Cell(request.prompt, request.seed),
            Cell(f"{request.prompt}, {e.name} style", request.seed),
            Cell(request.prompt, request.seed, e, request.settings, e.name),
        )
        for e in embeddings
    ]
    columns = ("original", "“... style”\nappended", "personalized")
    return Comparison(request, embeddings[0], _job(request, rows), columns, request.grid)


def _aesthetic(request: Request, library: Library) -> AestheticEmbedding:
    if not request.aesthetic:
        raise AestheticError("Choose an aesthetic first, or make one in the tab Create.")
    return library.blend(from_text(request.aesthetic, library))


def _job(request: Request, rows: Sequence[tuple[Cell, ...]]) -> Job:
    return Job(tuple(rows), request.negative_prompt, request.sampler_steps, request.cfg)
