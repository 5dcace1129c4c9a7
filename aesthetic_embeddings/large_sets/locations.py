"""Files and folders given by a location: a path, or an address that fsspec opens (s3://, gs://, hf://, ...)."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import FileError, require
from ..storage.paths import open_regular, walk

_PICTURE_LIMIT = 256 * 2**20  # bytes of one picture file, which is held in memory


def is_address(location: str) -> bool:
    return "://" in location


def name(location: str) -> str:
    """The last part of a path or an address, without an address's query."""
    return (location.partition("?")[0] if is_address(location) else location).replace(os.sep, "/").rpartition("/")[2]


def suffix(location: str) -> str:
    """The suffix in lower case, with its dot."""
    return os.path.splitext(name(location))[1].lower()


def open_file(location: str) -> BinaryIO:
    """Open for reading at any position. Raises FileError, or an error of the address's file system."""
    if not is_address(location):
        return open_regular(location)
    file: BinaryIO = fsspec().open(location, "rb").open()
    return file


def read_picture(location: str) -> bytes:
    """The bytes of a picture file. Raises FileError if it is far too large."""
    with open_file(location) as file:
        data = file.read(_PICTURE_LIMIT + 1)
    if len(data) > _PICTURE_LIMIT:
        raise FileError(f"too large: more than {_PICTURE_LIMIT >> 20} MB")
    return data


def size(location: str) -> int:
    """The size in bytes."""
    with open_file(location) as file:
        return file.seek(0, os.SEEK_END)


def expand(location: str) -> Iterator[str]:
    """The paths or addresses that match `*` and `?`, sorted. Without wildcards, the location itself.

    Raises FileError if nothing matches.
    """
    if is_address(location):
        if "*" not in location:
            yield location
            return
        system, path = fsspec().core.url_to_fs(location)
        matches = [system.unstrip_protocol(match) for match in sorted(system.glob(path))]
    else:
        matches = [location] if os.path.exists(location) else sorted(glob.glob(location, recursive=True))
    if not matches:
        raise FileError(f"{location} does not exist, so no pictures can be read from it.")
    yield from matches


def is_folder(location: str) -> bool:
    if not is_address(location):
        return os.path.isdir(location)
    system, path = fsspec().core.url_to_fs(location)
    return bool(system.isdir(path))


def files_below(folder: str) -> Iterator[str]:
    """All files below a folder, sorted, without those hidden by a leading dot."""
    if not is_address(folder):
        yield from map(str, walk(Path(folder)))
        return
    system, path = fsspec().core.url_to_fs(folder)
    for file in sorted(system.find(path)):
        if not any(part.startswith(".") for part in file.removeprefix(path).split("/")):
            yield system.unstrip_protocol(file)


def fsspec() -> Any:
    return require("fsspec", "cluster")
