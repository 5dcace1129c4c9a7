"""Pictures in files of their own: of a folder, or of a list of paths and addresses."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..aesthetics.pictures import Picture
from . import places
from .parts import Columns, Row, groups

_BYTES = 64 * 1024  # of a part of a list: some hundred addresses


@dataclass(frozen=True)
class Files:
    """Pictures, each with its metadata in a JSON file of the same name beside it, as img2dataset writes them."""

    paths: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.paths)

    def rows(self, columns: Columns) -> Iterator[Row]:
        for path in self.paths:
            yield Row(path, picture(path), _beside(path) if columns else {})


@dataclass(frozen=True)
class Lines:
    """The lines of a list that begin in `start <= byte < stop`: addresses and paths, or JSON with one of `COLUMNS`.

    A path that is not absolute begins at the folder of the list.
    """

    list: str
    start: int
    stop: int
    count: int = 0

    def rows(self, columns: Columns) -> Iterator[Row]:
        is_json = places.suffix(self.list) == ".jsonl"
        for line in self._lines():
            known = json.loads(line) if is_json else {}
            yield row_of(address(known) if is_json else line, known, self.list)

    def _lines(self) -> Iterator[str]:
        with places.open_file(self.list) as file:
            file.seek(max(0, self.start - 1))
            if self.start:
                file.readline()  # it begins in the part before, or just there
            while file.tell() < self.stop and (line := file.readline()):
                if text := line.decode("utf-8", "replace").strip():
                    yield text


#: Where a table or a line of JSON has the address of its picture, in this order.
COLUMNS = ("url", "URL", "path", "file", "file_name", "image_path")


def parts_of_files(paths: Iterable[str]) -> Iterator[Files]:
    return map(Files, groups(list(paths)))


def parts_of_list(place: str) -> Iterator[Lines]:
    size = places.size(place)
    for start in range(0, size, _BYTES):
        yield Lines(place, start, min(size, start + _BYTES))


def picture(place: str) -> Picture:
    """A picture that is read when it is needed."""
    return functools.partial(places.read_picture, place) if places.is_address(place) else Path(place)


def address(known: dict[str, Any]) -> str:
    """Of the picture that a line is about. Raises ValueError where it has none."""
    for column in COLUMNS:
        if isinstance(known.get(column), str):
            return str(known[column])
    raise ValueError(f"none of {', '.join(COLUMNS)} in it")


def row_of(place: str, known: dict[str, Any], listed_in: str) -> Row:
    if not places.is_address(place) and not os.path.isabs(place):
        place = listed_in[: -len(places.name(listed_in))] + place
    return Row(place, picture(place), known)


def _beside(path: str) -> dict[str, Any]:
    try:
        with places.open_file(os.path.splitext(path)[0] + ".json") as file:
            known = json.loads(file.read())
    except Exception:  # there is none, or it is damaged: then nothing is known
        return {}
    return known if isinstance(known, dict) else {}
