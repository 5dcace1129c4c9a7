"""Validates and runs an evaluation of the loaded model."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from time import perf_counter

from ...aesthetics.scorers import Scorer, load_scorer
from ...diffusion.job import Progress
from ...diffusion.pipelines import clip_folder
from ...errors import AestheticError, Interrupted
from ...evaluation.evaluate import evaluate
from ...evaluation.experiment import ORIGINAL, Experiment, cells, variants
from ...evaluation.scoring import default_encoder
from ...settings import Settings
from ...ui import text_fields
from ..state import Studio

MAX_PICTURES = 2000  # of one evaluation
MAX_TEXT = 100_000  # characters of all prompts
MAX_IMAGES = 12  # of one prompt
_AVERAGED_PICTURES = 12  # for the estimate of the time left


@dataclass(frozen=True)
class Evaluation:
    """An experiment on the studio's model, with the encoder and the scorers of its pictures."""

    experiment: Experiment
    encoder: str | None
    scorers: dict[str, Scorer]

    @property
    def pictures(self) -> int:
        return len(cells(self.experiment)) * self.experiment.images

    def folder(self, studio: Studio) -> Path:
        """The folder of its pictures. It is the same for an equal experiment, so that a cancelled one continues."""
        content = json.dumps(self.experiment.as_json()).encode()
        return studio.folder / "evaluations" / hashlib.sha256(content).hexdigest()[:16]

    def run(self, studio: Studio, client: str) -> Iterator[Progress]:
        """Generate and score the pictures in the engine's queue. Raises what `evaluate` and `Engine.queue` raise."""

        def work(report: Callable[[Progress], None]) -> None:
            times: deque[float] = deque([perf_counter()], maxlen=_AVERAGED_PICTURES)

            def on_picture(done: int, total: int) -> None:
                times.append(perf_counter())
                left = (times[-1] - times[0]) / (len(times) - 1) * (total - done)
                report(Progress(f"Picture {done} of {total}", fraction=done / total, seconds_left=left))

            report(Progress("Starting"))
            evaluate(
                self.experiment,
                self.folder(studio),
                encoder=self.encoder,
                scorers=self.scorers,
                projection=studio.engine.projection,
                pipeline=studio.engine.pipeline,
                on_progress=on_picture,
            )

        try:
            yield from studio.engine.queue(work, client)
        except Interrupted:
            raise Interrupted("Cancelled. What is finished is kept: Start continues.") from None

    def page(self, studio: Studio) -> str:
        """The page of results, as a frame inside the tab."""
        page = (self.folder(studio) / "index.html").read_text(encoding="utf-8")
        return f'<iframe title="Results" sandbox srcdoc="{escape(page)}"></iframe>'

    def archive(self, studio: Studio) -> str:
        """A zip of everything: the page, the table and all pictures."""
        folder = self.folder(studio)
        return shutil.make_archive(str(folder), "zip", folder)


def make_evaluation(
    studio: Studio,
    names: Sequence[str],
    prompts: str,
    images: float,
    columns: Sequence[str],
    scorers: Sequence[str],
    steps: float,
    epsilon: float,
) -> Evaluation:
    """The evaluation for the tab's values. Raises AestheticError if they are not valid."""
    lines = [line.strip() for line in text_fields.text(prompts, "The prompts", MAX_TEXT).splitlines() if line.strip()]
    for line in lines:
        text_fields.text(line, "A prompt", text_fields.PROMPT)
    if not names:
        raise AestheticError("Choose an aesthetic first.")
    if not lines:
        raise AestheticError("There is no prompt. Write one per line.")
    if not 1 <= images <= MAX_IMAGES:
        raise AestheticError(f"There can be 1 to {MAX_IMAGES} pictures of each prompt.")
    experiment = Experiment(
        studio.engine.model,
        [studio.library.get(name) for name in names],
        variants([ORIGINAL, *columns], Settings(steps=int(steps), epsilon=epsilon)),
        lines,
        int(images),
    )
    loaded_scorers = {name: load_scorer(name) for name in scorers}
    clip = clip_folder(studio.engine.pipeline)
    encoder = (
        str(clip) if clip else default_encoder(studio.engine.model, studio.engine.families, needed=bool(loaded_scorers))
    )
    evaluation = Evaluation(experiment, encoder, loaded_scorers)
    if evaluation.pictures > MAX_PICTURES:
        raise AestheticError(f"These are {evaluation.pictures} pictures; there can be {MAX_PICTURES} at a time.")
    return evaluation
