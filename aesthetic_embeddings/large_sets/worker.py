"""What is done with one part, wherever it is done: read, filter, encode, add up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch

from ..aesthetics.creation import encoded
from ..aesthetics.image_encoder import Encoder, ImageEncoder, load_image_encoder
from ..aesthetics.pictures import Picture
from ..aesthetics.sums import Skipped, Sums
from ..errors import AestheticError, EncoderError
from .features import FeatureRows
from .parts import Features, Part, Row, batches
from .where import Where

_FILTERED_AT_ONCE = 64

#: Of a picture: whether it is one of the aesthetic's, and whether it is one of those that it is told apart from.
Sides: TypeAlias = tuple[bool, bool]


@dataclass(frozen=True)
class Job:
    """What is wanted of every part; see `creation.create` for the fields."""

    encoder: Encoder
    where: str = ""
    against_where: str = ""
    batch_size: int = 8
    device: str = "cpu"
    allow_pickle: bool = False


@dataclass(frozen=True)
class Task:
    """A part. against: whether all of it is what the aesthetic is told apart from, and none is filtered out."""

    part: Part
    against: bool = False


@dataclass(frozen=True)
class Result:
    """The sums of both sides, and which CLIP encoded them. Results of parts add up, in any order.

    family, name, clips: of the encoder (see ImageEncoder); empty where no picture was encoded.
    """

    of: Sums = field(default_factory=Sums)
    against: Sums = field(default_factory=Sums)
    family: str = ""
    name: str = ""
    clips: Mapping[str, str] | None = None

    def __add__(self, other: Result) -> Result:
        known = self if self.family else other
        return replace(known, of=self.of + other.of, against=self.against + other.against)


class Worker:
    """Computes the result of one part after the other. on_batch: called with how many pictures were done since."""

    def __init__(self, job: Job, on_batch: Callable[[int], object] | None = None) -> None:
        self._job, self._on_batch = job, on_batch or (lambda count: None)
        self._filters = [Where(text) if text else None for text in (job.where, job.against_where)]
        self._encoder: ImageEncoder | None = None  # features need none

    def __call__(self, task: Task) -> Result:
        if isinstance(task.part, FeatureRows):
            return self._add_features(task)
        return self._add_pictures(task)

    def _add_pictures(self, task: Task) -> Result:
        if self._encoder is None:
            job = self._job
            self._encoder = load_image_encoder(job.encoder, None, job.device, job.batch_size, job.allow_pickle)
        encoder, sums = self._encoder, [Sums(), Sums()]
        with contextlib.closing(encoded(encoder, self._pictures(task, sums))) as found:
            for batch in found:
                for side in (0, 1):
                    mine = [(label, x) for (label, sides), x in batch if sides[side]]
                    if features := [x for _, x in mine if not isinstance(x, str)]:
                        sums[side] += Sums.of(torch.stack(features))
                    for label, x in mine:
                        if isinstance(x, str):
                            sums[side] += Sums(skipped=Skipped.one(label, x))
                self._on_batch(len(batch))
        if not all(bool(torch.isfinite(side.total).all()) for side in sums):
            raise EncoderError(f"{encoder.name} gave features that are not finite. Load it in float32.")
        return Result(sums[0], sums[1], encoder.family, encoder.name, encoder.clips)

    def _pictures(self, task: Task, sums: list[Sums]) -> Iterator[tuple[tuple[str, Sides], Picture]]:
        rows: Iterator[Row] = self._readable(task, sums)
        for batch in batches(rows, _FILTERED_AT_ONCE if self._is_filtered(task) else 1):
            chosen = self._sides(task, len(batch), [row.metadata for row in batch])
            for row, sides in zip(batch, chosen, strict=True):
                if any(sides):
                    yield (row.label, sides), row.picture

    def _add_features(self, task: Task) -> Result:
        sums = [Sums(), Sums()]
        blocks: Iterator[Features] = self._readable(task, sums)
        for label, features, known in blocks:
            norms = features.float().norm(dim=1)
            usable = torch.isfinite(norms) & (norms > 0)
            chosen = torch.tensor(self._sides(task, len(features), known))
            for side in (0, 1):
                mine = chosen[:, side]
                kept = features if bool(mine.all() and usable.all()) else features[mine & usable]
                if len(kept):
                    sums[side] += Sums.of(kept)
                if count := int((mine & ~usable).sum()):
                    reason = "a feature that is zero or not finite"
                    sums[side] += Sums(skipped=Skipped({reason: count}, ((label, reason),)))
            self._on_batch(len(features))
        return Result(sums[0], sums[1])

    def _readable(self, task: Task, sums: list[Sums]) -> Iterator[Any]:
        """The rows up to where the file is damaged, which is counted as one of what could not be read."""
        columns = self._mentioned if self._is_filtered(task) else None
        rows: Iterator[Any] | None = None
        while True:
            try:
                rows = task.part.rows(columns) if rows is None else rows
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:  # readers raise whatever a damaged file leads them to
                if isinstance(error, AestheticError) and isinstance(error.__cause__, ImportError):
                    raise
                place = str(getattr(task.part, "place", "") or getattr(task.part, "list", "") or "a list")
                reason = f"a file that is damaged or cannot be read: {error!s:.200}"
                sums[task.against] += Sums(skipped=Skipped.one(place, reason))
                return
            yield row

    def _is_filtered(self, task: Task) -> bool:
        return not task.against and any(self._filters)

    def _mentioned(self, column: str) -> bool:
        return any(where.mentions(column) for where in self._filters if where)

    def _sides(self, task: Task, count: int, known: Any) -> list[Sides]:
        """known: the metadata of each, as `Where` takes it."""
        if task.against:
            return [(False, True)] * count
        where, against_where = self._filters
        of = where(known) if where else [True] * count
        return list(zip(of, against_where(known) if against_where else [False] * count, strict=True))
