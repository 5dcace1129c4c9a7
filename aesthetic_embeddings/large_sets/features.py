"""Features computed before, so that no picture is read: `.npy` arrays with metadata in Parquet files.

clip-retrieval and LAION use this format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import require
from . import locations
from .parts import ColumnFilter, Features

_BLOCK_ROWS = 256  # small enough for a CPU's cache
_PART_ROWS = 2**17


@dataclass(frozen=True)
class FeatureRows:
    """Some rows of an array `[rows, dim]`. table: the Parquet file with their metadata, or ""."""

    location: str
    start: int
    stop: int
    table: str = ""

    @property
    def count(self) -> int:
        return self.stop - self.start

    def rows(self, columns: ColumnFilter) -> Iterator[Features]:
        with locations.open_file(self.location) as file:
            dtype, (_, dim), offset = _header(file)
            file.seek(offset + self.start * dim * dtype.itemsize)
            metadata = self._metadata(columns) if columns else None
            for row in range(self.start, self.stop, _BLOCK_ROWS):
                data = bytearray(min(_BLOCK_ROWS, self.stop - row) * dim * dtype.itemsize)
                if file.readinto(data) < len(data):  # type: ignore[attr-defined]
                    raise ValueError(f"cut short after {row} rows")
                block = torch.frombuffer(data, dtype=getattr(torch, dtype.name)).view(-1, dim)
                yield Features(f"{self.location}, row {row}", block, next(metadata) if metadata else None)

    def _metadata(self, columns: Callable[[str], bool]) -> Iterator[Any]:
        if not self.table:
            raise ValueError("there is no Parquet file with metadata for it")
        pyarrow = require("pyarrow", "cluster")
        with locations.open_file(self.table) as file:
            parquet = require("pyarrow.parquet", "cluster").ParquetFile(file)
            names = [name for name in parquet.schema_arrow.names if columns(name)]
            if parquet.metadata.num_rows != self.count:
                raise ValueError(f"{self.table} has {parquet.metadata.num_rows} rows, not {self.count}")
            for batch in parquet.iter_batches(_BLOCK_ROWS, columns=names):
                yield pyarrow.Table.from_batches([batch])


def parts_of_features(location: str, tables: Sequence[str] = ()) -> Iterator[FeatureRows]:
    """The parts of an array. tables: the Parquet files of the same source; one may hold the array's metadata."""
    with locations.open_file(location) as file:
        _, (rows, _), _ = _header(file)
    table = next((candidate for candidate in tables if _shard_number(candidate) == _shard_number(location)), "")
    step = rows if table else _PART_ROWS  # a table cannot be read from the middle
    for start in range(0, rows, step or 1):
        yield FeatureRows(location, start, min(rows, start + step), table)


def is_text(location: str) -> bool:
    """Whether an array holds features of captions, which clip-retrieval writes beside those of pictures."""
    return "text_emb" in location


def _shard_number(location: str) -> str:
    """The number at the end of a file's name: 0012 of `img_emb_0012.npy`. Without a number, the name itself."""
    stem = locations.name(location).rpartition(".")[0]
    digits = re.search(r"\d+$", stem)
    return digits[0] if digits else stem


def _header(file: Any) -> tuple[Any, tuple[int, int], int]:
    """An array's dtype, shape and data offset. Raises ValueError if it is not an array of features."""
    formats = require("numpy.lib.format", "cluster")
    version = formats.read_magic(file)
    read = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if len(shape) != 2 or fortran_order or dtype.str not in ("<f2", "<f4", "<f8"):
        raise ValueError(f"not rows of features: {dtype} of shape {shape}")
    return dtype, shape, file.tell()
