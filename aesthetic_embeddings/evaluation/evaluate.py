"""`evaluate`: make the pictures of an experiment, in one process or several, and write its results and its page."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..aesthetics.scorers import Scorer
from ..errors import AestheticError
from .experiment import Cell, Experiment, cells, prepare, run, write_results
from .scoring import Judge, Scoring


def evaluate(
    experiment: Experiment,
    output: str | os.PathLike[str],
    *,
    encoder: str | os.PathLike[str] | None = None,
    scorers: Mapping[str, Scorer] | None = None,
    judge: Judge | None = None,
    projection: str | os.PathLike[str] | None = None,
    pipeline: Any = None,
    jobs: int = 1,
    on_progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Make, score and compare the pictures of an experiment: section 4 of the paper, on any model.

    A run that was stopped is continued by the same call: pictures that exist are kept.

    Args:
        experiment: What is compared.
        output: A folder for the pictures, the results and the page; it is made where it does not exist.
        encoder: The whole CLIP that scores the pictures: a folder, or a hub id in the local cache. Without it only the
            judge gives scores.
        scorers: Name -> head on that CLIP's image features (see `load_scorer`).
        judge: Called with a picture and its plain prompt; gives more scores by name.
        projection: The text projection of a model that has none of its own (see `personalized_prompt`).
        pipeline: The experiment's model, where it is loaded already.
        jobs: Processes that share the work; each loads the model. They take turns on the GPUs of a machine.
        on_progress: Called with the number of pictures done, and of all. To stop, raise `Interrupted` from it.

    Returns:
        The page that shows the results. It needs no server and no other file.

    Raises:
        AestheticError: The folder holds another experiment, a part of CLIP is missing, or the model cannot be tuned
            towards an aesthetic. Pictures that were finished stay.
    """
    try:  # before hours of work
        from .report import write_report
    except ModuleNotFoundError as error:
        raise AestheticError(f'{error.name} is missing: pip install ".[evaluate]"') from error
    output = Path(output)
    scoring = Scoring(None if encoder is None else _folder(str(encoder)), dict(scorers or {}), judge)
    if jobs > 1 and pipeline is not None:
        raise ValueError("a loaded pipeline is used by one job")
    prepare(experiment, output)
    wanted = cells(experiment)
    total, done = len(wanted) * experiment.images, 0

    def on_picture() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total)

    def load() -> Any:
        scoring.load()  # first: it may be missing, and the model takes longer
        return pipeline if pipeline is not None else _loaded(experiment.model)

    if jobs == 1:
        run(experiment, wanted, load, scoring, output, on_picture, projection)
    else:
        work = functools.partial(_one_cell, experiment, scoring, output, projection)
        for _ in _shared(work, wanted, jobs):
            for _ in range(experiment.images):
                on_picture()
    return write_report(experiment, write_results(experiment, output), output)


def _one_cell(
    experiment: Experiment,
    scoring: Scoring,
    output: Path,
    projection: str | os.PathLike[str] | None,
    cell: Cell,
) -> None:
    """In a process of its own: the pictures of one prompt under one variant."""

    def load() -> Any:
        scoring.load()
        return _loaded(experiment.model)

    run(experiment, [cell], load, scoring, output, projection=projection)


@functools.lru_cache(maxsize=1)
def _loaded(model: str) -> Any:
    from ..diffusion.sampling import load_pipeline

    return load_pipeline(_folder(model))


def _folder(model: str) -> str:
    from .. import pocket

    return str(pocket.MODEL) if model == "pocket" else model


def _shared(work: Callable[[Cell], None], wanted: Sequence[Cell], jobs: int) -> Iterator[None]:
    """Do the work in several processes; yields after each cell."""
    context = multiprocessing.get_context("spawn")
    started = context.Value("i", 0)
    with concurrent.futures.ProcessPoolExecutor(jobs, context, _start, (started, list(warnings.filters))) as pool:
        waiting = [pool.submit(work, cell) for cell in wanted]
        try:
            for finished in concurrent.futures.as_completed(waiting):
                yield finished.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start(started: Any, warned: Sequence[Any]) -> None:
    """In a new process: one thread of the CPU, the next GPU where there are several, and its parent's warnings."""
    warnings.filters[:] = warned  # type: ignore[index]
    torch.set_num_threads(1)
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if gpus := torch.cuda.device_count():
        torch.cuda.set_device(number % gpus)
