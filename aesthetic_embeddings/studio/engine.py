"""The model behind the page. It runs one job at a time, in the order in which they come in."""

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
    """A job's place in the queue. client: who requested it."""

    client: str
    cancelled: threading.Event = field(default_factory=threading.Event)


class Engine:
    """A pipeline and its queue of jobs.

    model: the model's name, which is written into pictures. projection: as for `personalized_prompt`.
    """

    def __init__(self, pipeline: Any, model: str, projection: Path | None = None) -> None:
        self.pipeline, self.model, self.projection = pipeline, model, projection
        self.families = clip_families(pipeline, projection)
        self._queue: list[_Ticket] = []  # the first ticket's job is running
        self._queue_changed = threading.Condition()

    def supports(self, embedding: AestheticEmbedding) -> bool:
        """Whether a text encoder of this model can be tuned towards it."""
        return not self.families.isdisjoint(embedding.vectors)

    def busy(self, client: str) -> bool:
        """Whether a job of this client is running or waiting."""
        with self._queue_changed:
            return any(ticket.client == client and not ticket.cancelled.is_set() for ticket in self._queue)

    def cancel(self, client: str) -> None:
        """Cancel the jobs of this client. A running job ends at its next step."""
        with self._queue_changed:
            for ticket in self._queue:
                if ticket.client == client:
                    ticket.cancelled.set()

    def run(self, job: Job, client: str = "") -> Iterator[Progress]:
        """Run the job and yield its progress several times a second; the last has all pictures. See `queue`."""
        return self.queue(
            lambda report: JobRun(job, self.pipeline, self.families, self.projection, report).run(), client
        )

    def queue(self, work: Callable[[Callable[[Progress], None]], None], client: str = "") -> Iterator[Progress]:
        """Run work that uses the pipeline when its turn comes, and yield the progress that it reports.

        work: called with a function that it should report its progress to, often. That function raises Interrupted
        once the work is cancelled.

        Closing the iterator cancels the work, without waiting for its end. Raises AestheticError if the queue is full,
        Interrupted if the work was cancelled, and whatever the work raises.
        """
        ticket, finished = _Ticket(client), threading.Event()
        progress, error = Progress("Starting"), None

        def report(new_progress: Progress) -> None:
            nonlocal progress
            if ticket.cancelled.is_set():
                raise Interrupted("Cancelled.")
            progress = new_progress

        def run_work() -> None:
            nonlocal error
            try:
                with self._turn(ticket, report):
                    work(report)
            except BaseException as exception:
                error = exception
            finally:
                finished.set()

        with self._queue_changed:
            if len(self._queue) >= _QUEUE_LIMIT:
                raise AestheticError("Too many are waiting for pictures. Try again in a minute.")
            self._queue.append(ticket)
        threading.Thread(target=run_work, daemon=True).start()
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
        """The model's own image width, in pixels."""
        model = getattr(self.pipeline, "unet", None) or getattr(self.pipeline, "transformer", None)
        size = getattr(getattr(model, "config", None), "sample_size", None)
        return size * self.pipeline.vae_scale_factor if isinstance(size, int) else 512

    @contextmanager
    def _turn(self, ticket: _Ticket, report: Callable[[Progress], None]) -> Iterator[None]:
        """A context that is entered once the ticket is first in the queue. The ticket leaves the queue on exit."""
        try:
            with self._queue_changed:
                while position := self._queue.index(ticket):
                    report(Progress(f"Waiting: {position} before you"))
                    self._queue_changed.wait(_REPORT_INTERVAL)
            yield
        finally:
            with self._queue_changed:
                self._queue.remove(ticket)
                self._queue_changed.notify_all()
