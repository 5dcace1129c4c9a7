"""Pictures in archives: tar shards as WebDataset reads them and img2dataset writes them, and zip."""

from __future__ import annotations

import functools
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..aesthetics.pictures import may_be_a_picture
from . import places
from .parts import PART, Columns, Row

_LIMIT = 256 * 2**20  # bytes of one member, unpacked: it is held in memory


@dataclass(frozen=True)
class Tar:
    """A shard. Files that follow each other and have the same name up to its first dot are about one picture."""

    place: str
    count: int = 0

    def rows(self, columns: Columns) -> Iterator[Row]:
        with places.open_file(self.place) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            members = ((m.name, m.size, functools.partial(_read_member, tar, m)) for m in tar if m.isfile())
            yield from _samples(self.place, members, columns)


@dataclass(frozen=True)
class Zip:
    """The members `start` to `stop` of an archive, in the order of their names."""

    place: str
    start: int
    stop: int
    count: int = 0

    def rows(self, columns: Columns) -> Iterator[Row]:
        with places.open_file(self.place) as file, zipfile.ZipFile(file) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            names = _members(archive)[self.start : self.stop]
            members = ((n, infos[n].file_size, functools.partial(archive.read, n)) for n in names)
            yield from _samples(self.place, members, columns)


def parts_of_tar(place: str) -> Iterator[Tar]:
    yield Tar(place)


def parts_of_zip(place: str) -> Iterator[Zip]:
    with places.open_file(place) as file, zipfile.ZipFile(file) as archive:
        names = _members(archive)
    start = 0
    while start < len(names):
        stop = min(len(names), start + PART)
        while stop < len(names) and _key(names[stop]) == _key(names[stop - 1]):
            stop += 1  # what is about one picture stays together
        yield Zip(place, start, stop)
        start = stop


def _samples(place: str, members: Iterator[tuple[str, int, Callable[[], bytes]]], columns: Columns) -> Iterator[Row]:
    key, picture = "", None
    known: dict[str, Any] = {}
    for name, size, read in members:
        if _key(name) != key:
            if picture:
                yield Row(*picture, known)
            key, picture, known = _key(name), None, {}
        if name.endswith(".json"):
            known = _json(read()) if columns and size <= _LIMIT else {}
        elif may_be_a_picture(Path(name)) and not Path(name).name.startswith("."):
            label = f"{place}/{name}"
            picture = (label, read() if size <= _LIMIT else _too_large)
    if picture:
        yield Row(*picture, known)


def _too_large() -> bytes:
    raise ValueError(f"too large: more than {_LIMIT >> 20} MB")


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    data = file.read() if file else b""
    if len(data) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _members(archive: zipfile.ZipFile) -> list[str]:
    return sorted(info.filename for info in archive.infolist() if not info.is_dir())


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _json(data: bytes) -> dict[str, Any]:
    try:
        known = json.loads(data)
    except ValueError:  # then nothing is known
        return {}
    return known if isinstance(known, dict) else {}
