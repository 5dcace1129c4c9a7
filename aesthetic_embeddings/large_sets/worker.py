"""The work on one part: read, filter, encode, add up. Engines run it anywhere."""

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

_FILTER_BATCH = 64

#: Whether a picture is one of the aesthetic's, and whether it is one of those that the aesthetic is told apart from.
Sides: TypeAlias = list[bool]


@dataclass(frozen=True)
class Job:
    """The parameters that all parts share. See `creation.create` for the fields."""

    encoder: Encoder
    where: str = ""
    against_where: str = ""
    batch_size: int = 8
    device: str = "cpu"
    allow_pickle: bool = False


@dataclass(frozen=True)
class Task:
    """A part. against: whether all its pictures, unfiltered, are those that the aesthetic is told apart from."""

    part: Part
    against: bool = False


@dataclass(frozen=True)
class Result:
    """The sums of both sides, and the encoder. The results of parts can be added in any order.

    of: the aesthetic's pictures. against: those that it is told apart from.
    family, name, clips: of the encoder (see ImageEncoder); empty if no picture was encoded.
    """

    of: Sums = field(default_factory=Sums)
    against: Sums = field(default_factory=Sums)
    family: str = ""
    name: str = ""
    clips: Mapping[str, str] | None = None

    def __add__(self, other: Result) -> Result:
        with_encoder = self if self.family else other
        return replace(with_encoder, of=self.of + other.of, against=self.against + other.against)


class Worker:
    """Computes the results of parts. on_batch: called with the number of pictures done since its last call."""

    def __init__(self, job: Job, on_batch: Callable[[int], object] | None = None) -> None:
        self._job, self._on_batch = job, on_batch or (lambda count: None)
        self._filters = [Where(text) if text else None for text in (job.where, job.against_where)]
        self._encoder: ImageEncoder | None = None  # not loaded for features

    def __call__(self, task: Task) -> Result:
        if isinstance(task.part, FeatureRows):
            return self._add_features(task)
        return self._add_pictures(task)

    def _add_pictures(self, task: Task) -> Result:
        if self._encoder is None:
            job = self._job
            self._encoder = load_image_encoder(job.encoder, None, job.device, job.batch_size, job.allow_pickle)
        encoder, sums = self._encoder, [Sums(), Sums()]
        with contextlib.closing(encoded(encoder, self._pictures(task, sums))) as encoded_batches:
            for batch in encoded_batches:
                for side in (0, 1):
                    of_side = [(label, result) for (label, sides), result in batch if sides[side]]
                    if features := [result for _, result in of_side if not isinstance(result, str)]:
                        sums[side] += Sums.of(torch.stack(features))
                    for label, result in of_side:
                        if isinstance(result, str):
                            sums[side] += Sums(skipped=Skipped.one(label, result))
                self._on_batch(len(batch))
        if not all(bool(torch.isfinite(side.total).all()) for side in sums):
            raise EncoderError(f"{encoder.name} gave features that are not finite. Load it in float32.")
        return Result(sums[0], sums[1], encoder.family, encoder.name, encoder.clips)

    def _pictures(self, task: Task, sums: list[Sums]) -> Iterator[tuple[tuple[str, Sides], Picture]]:
        rows: Iterator[Row] = self._readable(task, sums)
        for batch in batches(rows, _FILTER_BATCH if self._is_filtered(task) else 1):
            of, against = self._sides(task, len(batch), [row.metadata for row in batch])
            for row, *sides in zip(batch, of, against, strict=True):
                if any(sides):
                    yield (row.label, sides), row.picture

    def _add_features(self, task: Task) -> Result:
        sums = [Sums(), Sums()]
        blocks: Iterator[Features] = self._readable(task, sums)
        for label, features, metadata in blocks:
            x = features.float() if features.dtype is torch.float16 else features
            norms = torch.linalg.vector_norm(x, dim=1)
            valid = torch.isfinite(norms) & (norms > 0)
            for side, passes in enumerate(self._sides(task, len(features), metadata)):
                of_side = torch.frombuffer(bytearray(passes), dtype=torch.bool)
                selected = of_side & valid
                if bool(selected.any()):  # in fp64 a block would take twice as long
                    sums[side] += Sums.of(x if bool(selected.all()) else x[selected], x.dtype)
                if count := int((of_side & ~valid).sum()):
                    reason = "a feature that is zero or not finite"
                    sums[side] += Sums(skipped=Skipped({reason: count}, ((label, reason),)))
            self._on_batch(len(features))
        return Result(sums[0], sums[1])

    def _readable(self, task: Task, sums: list[Sums]) -> Iterator[Any]:
        """The rows of a part. A damaged file ends them, and counts as one picture that was skipped."""
        columns = self._is_needed if self._is_filtered(task) else None
        rows: Iterator[Any] | None = None
        while True:
            try:
                rows = task.part.rows(columns) if rows is None else rows
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:  # readers raise many kinds of errors for damaged files
                if isinstance(error, AestheticError) and isinstance(error.__cause__, ImportError):
                    raise
                location = str(getattr(task.part, "location", "") or getattr(task.part, "list_file", "") or "a list")
                reason = f"a file that is damaged or cannot be read: {error!s:.200}"
                sums[task.against] += Sums(skipped=Skipped.one(location, reason))
                return
            yield row

    def _is_filtered(self, task: Task) -> bool:
        return not task.against and any(self._filters)

    def _is_needed(self, column: str) -> bool:
        return any(where.mentions(column) for where in self._filters if where)

    def _sides(self, task: Task, count: int, metadata: Any) -> tuple[list[bool], list[bool]]:
        """For both sides, which pictures are on it. metadata: of all, in a form that `Where` takes."""
        if task.against:
            return [False] * count, [True] * count
        where, against_where = self._filters
        of = where(metadata) if where else [True] * count
        return of, against_where(metadata) if against_where else [False] * count
