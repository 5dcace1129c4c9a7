"""Pictures in archives: zip files, and tar shards in the format of WebDataset and img2dataset."""

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
from . import locations
from .parts import MAX_METADATA_BYTES, PART_SIZE, ColumnFilter, Row

_MAX_MEMBER_BYTES = 256 * 2**20  # unpacked, since a member is held in memory
_MAX_HEADER_BYTES = 2**20  # of a tar member's long name or other attributes, which tarfile reads whole
_LONG_HEADERS = {
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
}


class _TarInfo(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, *args: Any, **kwargs: Any) -> Any:
        member = super().frombuf(*args, **kwargs)
        if member.type in _LONG_HEADERS and member.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is larger than it should be")
        return member


@dataclass(frozen=True)
class Tar:
    """A tar shard. Successive files with the same name up to the first dot belong to one picture."""

    location: str
    count: int = 0

    def rows(self, columns: ColumnFilter) -> Iterator[Row]:
        with (
            locations.open_file(self.location) as file,
            tarfile.open(fileobj=file, mode="r|*", tarinfo=_TarInfo) as tar,
        ):
            members = (
                (member.name, member.size, functools.partial(_read_member, tar, member))
                for member in tar
                if member.isfile()
            )
            yield from _samples(self.location, members, columns)


@dataclass(frozen=True)
class Zip:
    """The members `start` to `stop` of a zip archive, sorted by name."""

    location: str
    start: int
    stop: int
    count: int = 0

    def rows(self, columns: ColumnFilter) -> Iterator[Row]:
        with locations.open_file(self.location) as file, zipfile.ZipFile(file) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            names = _members(archive)[self.start : self.stop]
            members = ((name, infos[name].file_size, functools.partial(archive.read, name)) for name in names)
            yield from _samples(self.location, members, columns)


def parts_of_tar(location: str) -> Iterator[Tar]:
    yield Tar(location)


def parts_of_zip(location: str) -> Iterator[Zip]:
    with locations.open_file(location) as file, zipfile.ZipFile(file) as archive:
        names = _members(archive)
    start = 0
    while start < len(names):
        stop = min(len(names), start + PART_SIZE)
        while stop < len(names) and _key(names[stop]) == _key(names[stop - 1]):
            stop += 1  # files of one picture stay together
        yield Zip(location, start, stop)
        start = stop


def _samples(
    location: str, members: Iterator[tuple[str, int, Callable[[], bytes]]], columns: ColumnFilter
) -> Iterator[Row]:
    key, picture = "", None
    metadata: dict[str, Any] = {}
    for name, size, read in members:
        if _key(name) != key:
            if picture:
                yield Row(*picture, metadata)
            key, picture, metadata = _key(name), None, {}
        if name.endswith(".json"):
            metadata = _parse_json(read()) if columns and size <= MAX_METADATA_BYTES else {}
        elif may_be_a_picture(Path(name)) and not Path(name).name.startswith("."):
            label = f"{location}/{name}"
            picture = (label, read() if size <= _MAX_MEMBER_BYTES else _too_large)
    if picture:
        yield Row(*picture, metadata)


def _too_large() -> bytes:
    raise ValueError(f"too large: more than {_MAX_MEMBER_BYTES >> 20} MB")


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


def _parse_json(data: bytes) -> dict[str, Any]:
    try:
        metadata = json.loads(data)
    except (ValueError, RecursionError):  # no metadata then
        return {}
    return metadata if isinstance(metadata, dict) else {}
