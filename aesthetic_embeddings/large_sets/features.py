"""Features that were computed before: `.npy` parts with their metadata in Parquet, as clip-retrieval and LAION have
them. No picture is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from . import places
from .parts import Columns, Features

_AT_ONCE = 1024  # rows, which stay in a processor's cache while they are added up
_PART = 2**17  # rows


@dataclass(frozen=True)
class FeatureRows:
    """Some rows of an array `[rows, dim]`, and the Parquet file with what is known of them; "" where there is none."""

    place: str
    start: int
    stop: int
    table: str = ""

    @property
    def count(self) -> int:
        return self.stop - self.start

    def rows(self, columns: Columns) -> Iterator[Features]:
        with places.open_file(self.place) as file:
            dtype, (_, dim), offset = _header(file)
            file.seek(offset + self.start * dim * dtype.itemsize)
            known = self._known(columns) if columns else None
            for at in range(self.start, self.stop, _AT_ONCE):
                data = bytearray(min(_AT_ONCE, self.stop - at) * dim * dtype.itemsize)
                if file.readinto(data) < len(data):  # type: ignore[attr-defined]
                    raise ValueError(f"cut short after {at} rows")
                block = torch.frombuffer(data, dtype=getattr(torch, dtype.name)).view(-1, dim)
                yield Features(f"{self.place}, row {at}", block, next(known) if known else None)

    def _known(self, columns: Callable[[str], bool]) -> Iterator[Any]:
        if not self.table:
            raise ValueError("there is no Parquet file with metadata for it")
        pyarrow = places.needed("pyarrow")
        with places.open_file(self.table) as file:
            parquet = places.needed("pyarrow.parquet").ParquetFile(file)
            names = [name for name in parquet.schema_arrow.names if columns(name)]
            if parquet.metadata.num_rows != self.count:
                raise ValueError(f"{self.table} has {parquet.metadata.num_rows} rows, not {self.count}")
            for batch in parquet.iter_batches(_AT_ONCE, columns=names):
                yield pyarrow.Table.from_batches([batch])


def parts_of_features(place: str, beside: Sequence[str] = ()) -> Iterator[FeatureRows]:
    """beside: the Parquet files of the same source, of which one may be about this array."""
    with places.open_file(place) as file:
        _, (rows, _), _ = _header(file)
    table = next((each for each in beside if _number(each) == _number(place)), "")
    step = rows if table else _PART  # a table is read from its beginning
    for start in range(0, rows, step or 1):
        yield FeatureRows(place, start, min(rows, start + step), table)


def is_text(place: str) -> bool:
    """Whether an array is of captions: clip-retrieval writes these beside those of pictures."""
    return "text_emb" in place


def _number(place: str) -> str:
    """`0012` of `img_emb_0012.npy` and of `metadata_0012.parquet`, else all of the name."""
    stem = places.name(place).rpartition(".")[0]
    found = re.search(r"\d+$", stem)
    return found[0] if found else stem


def _header(file: Any) -> tuple[Any, tuple[int, int], int]:
    """dtype, shape, and where the numbers begin. Raises ValueError for what is not an array of features."""
    formats = places.needed("numpy.lib.format")
    version = formats.read_magic(file)
    read = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if len(shape) != 2 or fortran_order or dtype.str not in ("<f2", "<f4", "<f8"):
        raise ValueError(f"not rows of features: {dtype} of shape {shape}")
    return dtype, shape, file.tell()
