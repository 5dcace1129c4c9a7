"""Pictures in the rows of Parquet and Arrow files: their bytes, or their addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import require
from . import locations
from .files import COLUMNS, row_of
from .parts import PART_SIZE, ColumnFilter, Row

_BATCH_ROWS = 64  # of an Arrow file, held in memory with their pictures
_PICTURE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "img", "bytes", "content")  # the first one counts


@dataclass(frozen=True)
class Rows:
    """The rows of some row groups of a Parquet file, or of a whole Arrow file. start: the number of the first."""

    location: str
    start: int
    row_groups: tuple[int, ...]
    count: int

    def rows(self, columns: ColumnFilter) -> Iterator[Row]:
        number = self.start
        with locations.open_file(self.location) as file:
            for batch in self._batches(file, columns):
                column = _column(batch.schema)
                metadata = batch.drop_columns([column]) if columns and column not in COLUMNS else batch
                metadata = metadata.to_pylist() if columns else [{}] * len(batch)
                for value, row_metadata in zip(batch.column(column), metadata, strict=True):
                    yield self._row(f"{self.location}, row {number}", value.as_py(), row_metadata)
                    number += 1

    def _row(self, label: str, value: Any, metadata: dict[str, Any]) -> Row:
        if isinstance(value, dict):  # the format of the library `datasets`
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str) and value:
            return row_of(value, metadata, self.location)
        return Row(label, value or b"", metadata)

    def _batches(self, file: Any, columns: ColumnFilter) -> Iterator[Any]:
        if locations.suffix(self.location) == ".parquet":
            parquet = _parquet().ParquetFile(file)
            schema = parquet.schema_arrow
            names = [name for name in schema.names if name == _column(schema) or (columns and columns(name))]
            # row by row, which costs little: many large pictures, or one that is there many times, can take gigabytes
            yield from parquet.iter_batches(1, list(self.row_groups), names)
        else:
            for batch in _arrow(file):
                yield from (batch.slice(row, _BATCH_ROWS) for row in range(0, len(batch), _BATCH_ROWS))


def parts_of_table(location: str) -> Iterator[Rows]:
    if locations.suffix(location) != ".parquet":
        yield Rows(location, 0, (), 0)
        return
    with locations.open_file(location) as file:
        metadata = _parquet().ParquetFile(file).metadata
        sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    start, count, first_group = 0, 0, 0
    for index, size in enumerate(sizes):
        count += size
        if count >= PART_SIZE or index == len(sizes) - 1:
            yield Rows(location, start, tuple(range(first_group, index + 1)), count)
            start, count, first_group = start + count, 0, index + 1


def _column(schema: Any) -> str:
    """The column with the pictures. Raises ValueError if there is none."""
    import pyarrow.types as arrow_types

    def holds_bytes(data_type: Any) -> bool:
        if arrow_types.is_struct(data_type):
            return any(field.name == "bytes" and holds_bytes(field.type) for field in data_type)
        return bool(arrow_types.is_binary(data_type) or arrow_types.is_large_binary(data_type))

    with_bytes = [field.name for field in schema if holds_bytes(field.type)]
    for name in (
        *(name for name in _PICTURE_COLUMNS if name in with_bytes),
        *with_bytes,
        *(name for name in COLUMNS if name in schema.names),
    ):
        return str(name)
    raise ValueError(f"no column of pictures, and none of {', '.join(COLUMNS)}; it has {', '.join(schema.names)}")


def _arrow(file: Any) -> Iterator[Any]:
    """The record batches of an Arrow file, in the file or the stream format."""
    pyarrow = require("pyarrow", "cluster")
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    if not is_file:
        yield from pyarrow.ipc.open_stream(file)
        return
    reader = pyarrow.ipc.open_file(file)
    yield from (reader.get_batch(index) for index in range(reader.num_record_batches))


def _parquet() -> Any:
    return require("pyarrow.parquet", "cluster")
