"""`evaluate`: make the pictures of an experiment, in one process or several, and write its results and its page."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import pocket
from ..errors import AestheticError
from .clip import Clip
from .experiment import Experiment, cells, prepare, run, write_results
from .scorers import Scorer


def evaluate(
    experiment: Experiment,
    output: str | os.PathLike[str],
    *,
    encoder: str | os.PathLike[str] | None = None,
    scorers: Mapping[str, Scorer] | None = None,
    projection: str | os.PathLike[str] | None = None,
    jobs: int = 1,
    on_progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Make, score and compare the pictures of an experiment, and return the page that shows them.

    output: a folder, which is made. What a run before this one made of the same experiment is kept.
    encoder: the whole CLIP that scores the pictures, as a folder or a hub id in the local cache. Without it there are
        no scores.
    scorers: name -> head on that CLIP's image features.
    projection: the text projection of a model that has none of its own (see `personalized_prompt`).
    jobs: processes that share the work; each loads the model.
    on_progress: called with the number of pictures done, and of all. To stop, raise `Interrupted` from it.

    Raises AestheticError, and what `load_pipeline` and `personalized_prompt` raise. Pictures that were finished stay.
    """
    output = Path(output)
    if scorers and encoder is None:
        raise AestheticError("Scorers need the CLIP that they were made for: give its folder as the encoder.")
    prepare(experiment, output)
    wanted = cells(experiment)
    total, done = len(wanted) * experiment.images, 0

    def on_picture() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total)

    clip_source = None if encoder is None else str(encoder)
    work = functools.partial(_work, experiment, output, clip_source, dict(scorers or {}), projection)
    if jobs == 1:
        work(range(len(wanted)), on_picture)
    else:
        for finished in _shared(work, len(wanted), jobs):
            for _ in range(finished):
                on_picture()
    lines = write_results(experiment, output)
    from .report import write_report  # matplotlib, scipy and jinja2 are needed from here on

    return write_report(experiment, lines, output)


def _work(
    experiment: Experiment,
    output: Path,
    encoder: str | None,
    scorers: Mapping[str, Scorer],
    projection: str | os.PathLike[str] | None,
    numbers: range,
    on_picture: Callable[[], object],
) -> None:
    """Make the cells with these numbers. Nothing is loaded where all of their pictures exist."""
    mine = [cell for number, cell in enumerate(cells(experiment)) if number in numbers]
    pipeline, clip = None, None
    if any(not (output / cell.path(seed)).exists() for cell in mine for seed in experiment.seeds):
        pipeline, clip = _loaded(experiment.model, encoder)
        for scorer in scorers.values():
            scorer.check(clip.model.config.projection_dim if clip else 0)
    run(experiment, mine, pipeline, clip, scorers, output, on_picture, projection)


@functools.lru_cache(maxsize=1)
def _loaded(model: str, encoder: str | None) -> tuple[Any, Clip | None]:
    from ..diffusion.sampling import load_pipeline

    clip = Clip(_folder(encoder)) if encoder else None  # first: it may be missing, and the model takes longer
    return load_pipeline(_folder(model)), clip


def _folder(model: str) -> str:
    return str(pocket.MODEL) if model == "pocket" else model


def _shared(work: Callable[[range, Callable[[], object]], None], cells: int, jobs: int) -> Iterator[int]:
    """Hand the cells out a few at a time, so that no process waits long for the others; yields the pictures of each."""
    parts = [range(start, min(start + 8, cells)) for start in range(0, cells, 8)]
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(_count, work, part) for part in parts]
        try:
            for finished in concurrent.futures.as_completed(waiting):
                yield finished.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _count(work: Callable[[range, Callable[[], object]], None], numbers: range) -> int:
    """In a process of its own: make some cells, and return how many pictures they are."""
    torch.set_num_threads(1)
    done = itertools.count()
    work(numbers, lambda: next(done))
    return next(done)
