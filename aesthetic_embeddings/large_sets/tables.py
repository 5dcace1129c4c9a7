"""Pictures in the rows of Parquet and Arrow files: their bytes, or their addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import places
from .files import COLUMNS, row_of
from .parts import PART, Columns, Row

_AT_ONCE = 64  # rows that are held in memory with their pictures
_PICTURES = ("image", "jpg", "jpeg", "png", "webp", "img", "bytes", "content")  # names of columns, in this order


@dataclass(frozen=True)
class Rows:
    """The rows from number `start` on that are in some row groups of a Parquet file, or in the whole of another."""

    place: str
    start: int
    row_groups: tuple[int, ...]
    count: int

    def rows(self, columns: Columns) -> Iterator[Row]:
        number = self.start
        with places.open_file(self.place) as file:
            for batch in self._batches(file, columns):
                column = _column(batch.schema)
                known = batch.drop_columns([column]) if columns and column not in COLUMNS else batch
                known = known.to_pylist() if columns else [{}] * len(batch)
                for value, about in zip(batch.column(column), known, strict=True):
                    yield self._row(f"{self.place}, row {number}", value.as_py(), about)
                    number += 1

    def _row(self, label: str, value: Any, about: dict[str, Any]) -> Row:
        if isinstance(value, dict):  # as the library datasets writes pictures
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str) and value:
            return row_of(value, about, self.place)
        return Row(label, value or b"", about)

    def _batches(self, file: Any, columns: Columns) -> Iterator[Any]:
        if places.suffix(self.place) == ".parquet":
            parquet = _parquet().ParquetFile(file)
            schema = parquet.schema_arrow
            names = [n for n in schema.names if n == _column(schema) or (columns and columns(n))]
            yield from parquet.iter_batches(_AT_ONCE, list(self.row_groups), names)
        else:
            for batch in _arrow(file):
                yield from (batch.slice(at, _AT_ONCE) for at in range(0, len(batch), _AT_ONCE))


def parts_of_table(place: str) -> Iterator[Rows]:
    if places.suffix(place) != ".parquet":
        yield Rows(place, 0, (), 0)
        return
    with places.open_file(place) as file:
        metadata = _parquet().ParquetFile(file).metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    start, count, first = 0, 0, 0
    for i, size in enumerate(sizes):
        count += size
        if count >= PART or i == len(sizes) - 1:
            yield Rows(place, start, tuple(range(first, i + 1)), count)
            start, count, first = start + count, 0, i + 1


def _column(schema: Any) -> str:
    """The column with the pictures. Raises ValueError where there is none."""
    import pyarrow.types as kinds

    def holds_bytes(kind: Any) -> bool:
        if kinds.is_struct(kind):
            return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
        return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))

    held = [field.name for field in schema if holds_bytes(field.type)]
    for name in (*(n for n in _PICTURES if n in held), *held, *(n for n in COLUMNS if n in schema.names)):
        return str(name)
    raise ValueError(f"no column of pictures, and none of {', '.join(COLUMNS)}; it has {', '.join(schema.names)}")


def _arrow(file: Any) -> Iterator[Any]:
    """The record batches of a file in either format of Arrow."""
    pyarrow = places.needed("pyarrow")
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    if not is_file:
        yield from pyarrow.ipc.open_stream(file)
        return
    reader = pyarrow.ipc.open_file(file)
    yield from (reader.get_batch(i) for i in range(reader.num_record_batches))


def _parquet() -> Any:
    return places.needed("pyarrow.parquet")
