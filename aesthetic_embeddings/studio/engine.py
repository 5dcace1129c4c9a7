"""The model of the page: it does one job at a time, in the order in which they were asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..aesthetics.embedding import AestheticEmbedding
from ..diffusion.job import Job, JobRun, Progress
from ..diffusion.pipelines import clip_families
from ..errors import AestheticError, Interrupted

_QUEUE_LIMIT = 16  # jobs
_REPORT_INTERVAL = 0.15  # seconds


@dataclass(frozen=True, eq=False)
class _Ticket:
    """A job's place in the queue. owner: who asked for it."""

    owner: str
    cancelled: threading.Event = field(default_factory=threading.Event)


class Engine:
    """A pipeline, and the queue before it.

    model: the model's name, which pictures carry. projection: as for `personalized_prompt`.
    """

    def __init__(self, pipeline: Any, model: str, projection: Path | None = None) -> None:
        self.pipeline, self.model, self.projection = pipeline, model, projection
        self.families = clip_families(pipeline, projection)
        self._queue: list[_Ticket] = []  # the first one's job is being done
        self._moved = threading.Condition()

    def supports(self, embedding: AestheticEmbedding) -> bool:
        """Whether a text encoder of this model can be tuned towards it."""
        return not self.families.isdisjoint(embedding.vectors)

    def busy(self, owner: str) -> bool:
        """Whether a job of this owner is being done, or waits."""
        with self._moved:
            return any(ticket.owner == owner and not ticket.cancelled.is_set() for ticket in self._queue)

    def cancel(self, owner: str) -> None:
        """End the jobs of this owner, each at its next step."""
        with self._moved:
            for ticket in self._queue:
                if ticket.owner == owner:
                    ticket.cancelled.set()

    def run(self, job: Job, owner: str = "") -> Iterator[Progress]:
        """Do the job, and yield its progress several times a second; the last one has all pictures. See `queue`."""
        return self.queue(
            lambda report: JobRun(job, self.pipeline, self.families, self.projection, report).run(), owner
        )

    def queue(self, work: Callable[[Callable[[Progress], None]], None], owner: str = "") -> Iterator[Progress]:
        """Do work with the pipeline when its turn comes, and yield the progress that it reports.

        work: is called with a function to report progress to, often; that raises Interrupted once it is cancelled.

        Closing the iterator cancels the work, without waiting for its end. Raises AestheticError where the queue is
        full, Interrupted where the work was cancelled, and what it raises.
        """
        ticket, finished = _Ticket(owner), threading.Event()
        progress, error = Progress("Starting"), None

        def report(now: Progress) -> None:
            nonlocal progress
            if ticket.cancelled.is_set():
                raise Interrupted("Cancelled.")
            progress = now

        def do() -> None:
            nonlocal error
            try:
                with self._turn(ticket, report):
                    work(report)
            except BaseException as raised:
                error = raised
            finally:
                finished.set()

        with self._moved:
            if len(self._queue) >= _QUEUE_LIMIT:
                raise AestheticError("Too many are waiting for pictures. Try again in a minute.")
            self._queue.append(ticket)
        threading.Thread(target=do, daemon=True).start()
        try:
            while not finished.wait(_REPORT_INTERVAL):
                yield progress
            if error is not None:
                raise error
            yield progress
        finally:
            ticket.cancelled.set()

    @property
    def image_size(self) -> int:
        """The width of the model's pictures, in pixels."""
        model = getattr(self.pipeline, "unet", None) or getattr(self.pipeline, "transformer", None)
        size = getattr(getattr(model, "config", None), "sample_size", None)
        return size * self.pipeline.vae_scale_factor if isinstance(size, int) else 512

    @contextmanager
    def _turn(self, ticket: _Ticket, report: Callable[[Progress], None]) -> Iterator[None]:
        """A block that is entered when the ticket is the first of the queue; it leaves the queue with the block."""
        try:
            with self._moved:
                while ahead := self._queue.index(ticket):
                    report(Progress(f"Waiting: {ahead} before you"))
                    self._moved.wait(_REPORT_INTERVAL)
            yield
        finally:
            with self._moved:
                self._queue.remove(ticket)
                self._moved.notify_all()
