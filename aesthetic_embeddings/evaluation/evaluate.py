"""`evaluate`: runs an experiment in one process or several, and writes its results and its page."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..aesthetics.scorers import Scorer
from ..engines import Engine, Processes
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
    engine: Engine | None = None,
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
        engine: What shares the work instead, such as `engines.Ray`. All its machines need `output` under this path.
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
    if jobs > 1 and engine is None:
        engine = Processes(jobs)
    if engine is not None and pipeline is not None:
        raise ValueError("a loaded pipeline can be used only with jobs=1 and without an engine")
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

    if engine is None:
        run(experiment, cells_to_do, load, scoring, output, on_picture, projection)
    else:
        make_worker = functools.partial(_worker, experiment, scoring, output.absolute(), projection)
        for _ in engine(make_worker, cells_to_do):
            for _ in range(experiment.images):
                on_picture()
    return write_report(experiment, write_results(experiment, output), output)


def _worker(
    experiment: Experiment, scoring: Scoring, output: Path, projection: str | os.PathLike[str] | None
) -> Callable[[Cell], None]:
    """A function that generates the pictures of one cell, for a process of its own."""

    def load() -> Any:
        scoring.load()
        return _load_pipeline(experiment.model)

    return lambda cell: run(experiment, [cell], load, scoring, output, projection=projection)


@functools.lru_cache(maxsize=1)
def _load_pipeline(model: str) -> Any:
    from ..diffusion.sampling import load_pipeline

    return load_pipeline(_model_folder(model))


def _model_folder(model: str) -> str:
    from .. import pocket

    return str(pocket.MODEL) if model == "pocket" else model
