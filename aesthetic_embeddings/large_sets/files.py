"""Pictures in separate files: in a folder, or in a list of paths and addresses."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..aesthetics.pictures import Picture
from . import locations
from .parts import MAX_METADATA_BYTES, ColumnFilter, Row, groups

_PART_BYTES = 64 * 1024  # of one part of a list: a few hundred addresses


@dataclass(frozen=True)
class Files:
    """Picture files. Metadata is in a JSON file with the same name beside each, as written by img2dataset."""

    paths: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.paths)

    def rows(self, columns: ColumnFilter) -> Iterator[Row]:
        for path in self.paths:
            yield Row(path, picture(path), _sidecar_metadata(path) if columns else {})


@dataclass(frozen=True)
class Lines:
    """The lines of a list that begin in `start <= byte < stop`: addresses and paths, or JSON with one of `COLUMNS`.

    Relative paths start at the list's folder.
    """

    list_file: str
    start: int
    stop: int
    count: int = 0

    def rows(self, columns: ColumnFilter) -> Iterator[Row]:
        is_json = locations.suffix(self.list_file) == ".jsonl"
        for line in self._lines():
            metadata = json.loads(line) if is_json else {}
            yield row_of(address(metadata) if is_json else line, metadata, self.list_file)

    def _lines(self) -> Iterator[str]:
        with locations.open_file(self.list_file) as file:
            file.seek(max(0, self.start - 1))
            if self.start:
                file.readline()  # the rest of a line that belongs to the part before
            while file.tell() < self.stop and (line := file.readline()):
                if text := line.decode("utf-8", "replace").strip():
                    yield text


#: The columns of a table, or keys of a line of JSON, that may have the picture's address; the first one counts.
COLUMNS = ("url", "URL", "path", "file", "file_name", "image_path")


def parts_of_files(paths: Iterable[str]) -> Iterator[Files]:
    return map(Files, groups(list(paths)))


def parts_of_list(location: str) -> Iterator[Lines]:
    size = locations.size(location)
    for start in range(0, size, _PART_BYTES):
        yield Lines(location, start, min(size, start + _PART_BYTES))


def picture(location: str) -> Picture:
    """A picture that is read when it is needed."""
    return functools.partial(locations.read_picture, location) if locations.is_address(location) else Path(location)


def address(metadata: dict[str, Any]) -> str:
    """The address of a picture in the metadata. Raises ValueError if there is none."""
    for column in COLUMNS:
        if isinstance(metadata.get(column), str):
            return str(metadata[column])
    raise ValueError(f"none of {', '.join(COLUMNS)} in it")


def row_of(location: str, metadata: dict[str, Any], listed_in: str) -> Row:
    if not locations.is_address(location) and not os.path.isabs(location):
        location = listed_in[: -len(locations.name(listed_in))] + location
    return Row(location, picture(location), metadata)


def _sidecar_metadata(path: str) -> dict[str, Any]:
    try:
        with locations.open_file(os.path.splitext(path)[0] + ".json") as file:
            metadata = json.loads(file.read(MAX_METADATA_BYTES))
    except Exception:  # missing or damaged: no metadata
        return {}
    return metadata if isinstance(metadata, dict) else {}
