"""What every source of pictures is cut into, and what is read of a part."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from torch import Tensor

from ..aesthetics.pictures import Picture

T = TypeVar("T")

#: Which columns of the metadata are wanted; None for none.
Columns: TypeAlias = "Callable[[str], bool] | None"

#: Pictures in a part, where a source can be cut anywhere: some seconds of work, which a lost worker does again.
PART = 512


class Row(NamedTuple):
    """A picture, what it is called in the report, and what is known of it."""

    label: str
    picture: Picture
    metadata: Mapping[str, Any]


class Features(NamedTuple):
    """Of some pictures, computed before: `[count, dim]`, of any float dtype; and their metadata, a pyarrow table."""

    label: str
    features: Tensor
    metadata: Any


class Part(Protocol):
    """Some pictures of a source. It is small, can be pickled, and reads the same whenever it is read."""

    @property
    def count(self) -> int:
        """The number of pictures; 0 where only reading would tell."""

    def rows(self, columns: Columns) -> Iterator[Row] | Iterator[Features]:
        """What it holds, in order. Raises whatever a damaged file leads its reader to."""


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be cut into parts."""

    place: str
    reason: str
    count: int = 0

    def rows(self, columns: Columns) -> Iterator[Row]:
        raise ValueError(self.reason)


def groups(items: Sequence[T], size: int = PART) -> Iterator[tuple[T, ...]]:
    """`items` in order, `size` at a time."""
    for start in range(0, len(items), size):
        yield tuple(items[start : start + size])


def batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """`items` in order, `size` at a time, each batch as soon as it is there."""
    while batch := list(itertools.islice(items, size)):
        yield batch
