"""`evaluate`: runs an experiment in one process or several, and writes its results and its page."""

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
    """Generate, score and compare the pictures of an experiment: section 4 of the paper, on any model.

    The same call continues an interrupted run: finished pictures are kept.

    Args:
        experiment: The experiment.
        output: A folder for the pictures, the results and the page. It is created if it does not exist.
        encoder: The complete CLIP that scores the pictures: a folder, or a hub id in the local cache. Without it, only
            the judge gives scores.
        scorers: Name -> head on that CLIP's image features (see `load_scorer`).
        judge: Called with a picture and its plain prompt; returns more scores by name.
        projection: The text projection of a model that lacks one (see `personalized_prompt`).
        pipeline: The experiment's model, if it is loaded already.
        jobs: The number of processes that share the work. Each loads the model, and they are spread over the GPUs.
        on_progress: Called with the number of pictures done, and their total. To stop, raise `Interrupted` from it.

    Returns:
        The path of the page with the results. The page needs no server and no other file.

    Raises:
        AestheticError: The folder holds another experiment, a part of CLIP is missing, or the model cannot be tuned
            towards an aesthetic. Finished pictures are kept.
    """
    try:  # checked first, before hours of work
        from .report import write_report
    except ModuleNotFoundError as error:
        raise AestheticError(f'{error.name} is missing: pip install ".[evaluate]"') from error
    output = Path(output)
    scoring = Scoring(None if encoder is None else _model_folder(str(encoder)), dict(scorers or {}), judge)
    if jobs > 1 and pipeline is not None:
        raise ValueError("a loaded pipeline can be used only with jobs=1")
    prepare(experiment, output)
    cells_to_do = cells(experiment)
    total, done = len(cells_to_do) * experiment.images, 0

    def on_picture() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total)

    def load() -> Any:
        scoring.load()  # first: it fails fast if it is missing
        return pipeline if pipeline is not None else _load_pipeline(experiment.model)

    if jobs == 1:
        run(experiment, cells_to_do, load, scoring, output, on_picture, projection)
    else:
        work = functools.partial(_run_cell, experiment, scoring, output, projection)
        for _ in _run_in_processes(work, cells_to_do, jobs):
            for _ in range(experiment.images):
                on_picture()
    return write_report(experiment, write_results(experiment, output), output)


def _run_cell(
    experiment: Experiment,
    scoring: Scoring,
    output: Path,
    projection: str | os.PathLike[str] | None,
    cell: Cell,
) -> None:
    """Generate the pictures of one cell, in a separate process."""

    def load() -> Any:
        scoring.load()
        return _load_pipeline(experiment.model)

    run(experiment, [cell], load, scoring, output, projection=projection)


@functools.lru_cache(maxsize=1)
def _load_pipeline(model: str) -> Any:
    from ..diffusion.sampling import load_pipeline

    return load_pipeline(_model_folder(model))


def _model_folder(model: str) -> str:
    from .. import pocket

    return str(pocket.MODEL) if model == "pocket" else model


def _run_in_processes(work: Callable[[Cell], None], cells_to_do: Sequence[Cell], jobs: int) -> Iterator[None]:
    """Do the work in several processes. Yields after each cell."""
    context = multiprocessing.get_context("spawn")
    process_count = context.Value("i", 0)
    arguments = (process_count, list(warnings.filters))
    with concurrent.futures.ProcessPoolExecutor(jobs, context, _start_process, arguments) as pool:
        futures = [pool.submit(work, cell) for cell in cells_to_do]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_process(process_count: Any, warning_filters: Sequence[Any]) -> None:
    """Set up a new process: one CPU thread, the next GPU if there are several, and its parent's warning filters."""
    warnings.filters[:] = warning_filters  # type: ignore[index]
    torch.set_num_threads(1)
    with process_count.get_lock():
        index, process_count.value = process_count.value, process_count.value + 1
    if gpus := torch.cuda.device_count():
        torch.cuda.set_device(index % gpus)
