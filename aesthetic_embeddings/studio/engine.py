"""The pipeline, and what is done with it: one job at a time, in the order in which they were asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.families import family
from ..diffusion.pipelines import beside, personalized_prompt
from ..diffusion.sampling import pictures
from ..errors import AestheticError, EncoderError, Interrupted
from ..settings import Settings
from ..text_encoder.missing_parts import complete, lacks_last_layer
from ..text_encoder.towers import find_tower

_WAITING = 16  # jobs, at most
_BEAT = 0.15  # seconds between two reports


@dataclass(frozen=True)
class Cell:
    """One picture of a job: of a prompt as it is, or personalised.

    label: of its similarity curve.
    """

    prompt: str
    seed: int
    embedding: AestheticEmbedding | None = None
    settings: Settings = field(default_factory=Settings)
    label: str = ""

    @property
    def plain(self) -> bool:
        return self.embedding is None or self.settings.changes_nothing

    @property
    def encoded(self) -> Any:
        """Equal for cells with the same conditioning."""
        return self.prompt if self.plain else (self.prompt, self.embedding.content_hash, self.settings)


@dataclass(frozen=True)
class Job:
    """Rows of pictures, and what they have in common."""

    rows: tuple[tuple[Cell, ...], ...]
    negative_prompt: str = ""
    sampler_steps: int = 20
    cfg: float = 5.0


@dataclass(frozen=True)
class State:
    """How far a job is. share: of its steps. pictures: what is made, each where its cell is, else None.

    curves: label -> the similarity before, and after each step. notes: sentences for the user.
    """

    words: str
    share: float = 0.0
    pictures: tuple[tuple[Image.Image | None, ...], ...] = ()
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Ticket:
    """A job's place in line."""

    owner: str
    stop: threading.Event = field(default_factory=threading.Event)


Tell = Callable[[State], None]


class Engine:
    """model: what pictures say they were made with. projection: as for `personalized_prompt`."""

    def __init__(self, pipeline: Any, model: str, projection: Path | None = None) -> None:
        self.pipeline, self.model, self.projection = pipeline, model, projection
        self.families = _families(pipeline, projection)
        self._line: list[_Ticket] = []  # the first one's job is being done
        self._moved = threading.Condition()

    def serves(self, embedding: AestheticEmbedding) -> bool:
        """Whether a text encoder of this model can be tuned towards it."""
        return not self.families.isdisjoint(embedding.vectors)

    def labels(self, job: Job) -> list[str]:
        """Of all curves that there will be."""
        tuned = [cell for row in job.rows for cell in row if not cell.plain]
        each = [
            self._labels(cell, [name for name in cell.embedding.vectors if name in self.families]) for cell in tuned
        ]
        return list(dict.fromkeys(label for labels in each for label in labels.values()))

    @staticmethod
    def _labels(cell: Cell, families: Collection[str]) -> dict[str, str]:
        """Family -> the label of its curve."""
        return {name: f"{cell.label} ({name})" if len(families) > 1 else cell.label for name in families}

    def cancel(self, owner: str) -> None:
        """End the jobs of this owner, each at its next step."""
        with self._moved:
            for ticket in self._line:
                if ticket.owner == owner:
                    ticket.stop.set()

    def run(self, job: Job, owner: str = "") -> Iterator[State]:
        """Do it, and say how far it is, several times a second; the last state has all its pictures.

        It is cancelled, too, where the iterator is closed, which does not wait for that.
        Raises AestheticError where too many are waiting, Interrupted where it was cancelled, and what making the
        pictures raises.
        """
        ticket, done, state, fault = _Ticket(owner), threading.Event(), State("Starting"), None

        def tell(now: State) -> None:
            nonlocal state
            if ticket.stop.is_set():
                raise Interrupted("Cancelled.")
            state = now

        def work() -> None:
            nonlocal fault
            try:
                with self._turn(ticket, tell):
                    self._make(job, tell)
            except BaseException as error:
                fault = error
            finally:
                done.set()

        with self._moved:
            if len(self._line) >= _WAITING:
                raise AestheticError("Too many are waiting for pictures. Try again in a minute.")
            self._line.append(ticket)
        threading.Thread(target=work, daemon=True).start()
        try:
            while not done.wait(_BEAT):
                yield state
            if fault is not None:
                raise fault
            yield state
        finally:
            ticket.stop.set()

    @contextmanager
    def _turn(self, ticket: _Ticket, tell: Tell) -> Iterator[None]:
        """A block that is entered when `ticket` is the first in line, and leaves the line with it."""
        try:
            with self._moved:
                while ahead := self._line.index(ticket):
                    tell(State(f"Waiting: {ahead} before you"))
                    self._moved.wait(_BEAT)
            yield
        finally:
            with self._moved:
                self._line.remove(ticket)
                self._moved.notify_all()

    def _make(self, job: Job, tell: Tell) -> None:
        cells = {(cell.encoded, cell.seed): cell for row in job.rows for cell in row}
        encoded = {cell.encoded: cell for cell in cells.values()}
        tuning = {key: 0 if cell.plain else cell.settings.steps for key, cell in encoded.items()}
        total, done = sum(tuning.values()) + job.sampler_steps * len(cells), 0
        made: dict[Any, Image.Image] = {}
        conditionings: dict[Any, dict[str, Any]] = {}
        curves: dict[str, tuple[float, ...]] = {}
        notes: dict[str, None] = {}

        def say(words: str, more: int = 0) -> None:
            rows = tuple(tuple(made.get((cell.encoded, cell.seed)) for cell in row) for row in job.rows)
            tell(State(words, min(1.0, (done + more) / total), rows, dict(curves), tuple(notes)))

        def encode(cell: Cell) -> dict[str, Any]:
            if cell.plain:
                return {"prompt": cell.prompt, "negative_prompt": job.negative_prompt}
            label = cell.label  # until it is known which encoders are tuned

            def tuned(k: int, similarity: float) -> None:
                curves[label] = (*curves[label], similarity) if k else (similarity,)
                say(f"Tuning towards {cell.embedding.name}: step {k} of {cell.settings.steps}", k)

            found = personalized_prompt(
                *(self.pipeline, cell.prompt, cell.embedding, cell.settings),
                negative_prompt=job.negative_prompt,
                projection=self.projection,
                on_step=tuned,
            )
            curves.pop(label, None)
            labels = self._labels(cell, found.similarities)
            curves.update({labels[name]: run for name, run in found.similarities.items()})
            notes.update(dict.fromkeys(found.notes))
            return found.arguments

        for number, ((key, seed), cell) in enumerate(cells.items(), 1):
            if key not in conditionings:
                conditionings[key] = encode(cell)
                done += tuning[key]
            sampled = 0

            def stepped(words: str = f"Picture {number} of {len(cells)}") -> None:
                nonlocal sampled
                sampled += 1
                say(words, sampled)

            (made[key, seed],) = pictures(
                *(self.pipeline, conditionings[key], [seed]), steps=job.sampler_steps, cfg=job.cfg, on_step=stepped
            )
            done += job.sampler_steps
        say("Done")


def _families(pipeline: Any, projection: Path | None) -> set[str]:
    """The CLIP families of its text encoders."""
    models = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")]
    given, found = beside(pipeline) if projection is None else projection, set()
    for model in filter(None, models):
        with suppress(EncoderError):  # not a CLIP
            tower = find_tower(model)
            layers, dim = len(tower.layers) + lacks_last_layer(tower), tower.width
            with suppress(EncoderError):  # a projection that is not here is missed when it is needed
                tower, matrix = complete(tower, given)
                layers, dim = len(tower.layers), matrix.shape[0]
            found.add(family(tower.width, layers, dim))
    return found
