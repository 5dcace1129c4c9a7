"""The parts that sources of pictures are divided into, and the rows that are read from them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from torch import Tensor

from ..aesthetics.pictures import Picture

T = TypeVar("T")

#: Tells which columns of the metadata are needed; None: no column.
ColumnFilter: TypeAlias = "Callable[[str], bool] | None"

#: Pictures in a part, if a source can be divided anywhere: a few seconds of work, which a lost worker repeats.
PART_SIZE = 512


#: Bytes of the JSON beside a picture. Parsed it takes some twenty times the memory; img2dataset writes a few thousand.
MAX_METADATA_BYTES = 2**20


class Row(NamedTuple):
    """A picture, its name in reports, and its metadata."""

    label: str
    picture: Picture
    metadata: Mapping[str, Any]


class Features(NamedTuple):
    """Features of pictures, `[count, dim]` of any float dtype, and their metadata as a pyarrow table."""

    label: str
    features: Tensor
    metadata: Any


class Part(Protocol):
    """Some pictures of a source. A part is small, can be pickled, and yields the same rows each time."""

    @property
    def count(self) -> int:
        """The number of pictures; 0 if it is unknown before reading."""

    def rows(self, columns: ColumnFilter) -> Iterator[Row] | Iterator[Features]:
        """The rows in order. A damaged file can raise any exception of its reader."""


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be divided into parts."""

    location: str
    reason: str
    count: int = 0

    def rows(self, columns: ColumnFilter) -> Iterator[Row]:
        raise ValueError(self.reason)


def groups(items: Sequence[T], size: int = PART_SIZE) -> Iterator[tuple[T, ...]]:
    """`items` in order, `size` at a time."""
    for start in range(0, len(items), size):
        yield tuple(items[start : start + size])


def batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """`items` in order, `size` at a time. Each batch is yielded as soon as it is complete."""
    while batch := list(itertools.islice(items, size)):
        yield batch
