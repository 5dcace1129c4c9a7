"""Files and folders: on a disk, or behind an address that fsspec opens (s3://, gs://, hf://, ...)."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import AestheticError, FileError
from ..storage.paths import open_regular, walk

_PICTURE_LIMIT = 256 * 2**20  # bytes of one picture's file, which is held in memory


def is_address(place: str) -> bool:
    return "://" in place


def name(place: str) -> str:
    """The last part of a path or an address, without what an address asks for."""
    return (place.partition("?")[0] if is_address(place) else place).replace(os.sep, "/").rpartition("/")[2]


def suffix(place: str) -> str:
    """In lower case, with its dot."""
    return os.path.splitext(name(place))[1].lower()


def open_file(place: str) -> BinaryIO:
    """For reading at any position. Raises FileError, or what the file system behind the address raises."""
    if not is_address(place):
        return open_regular(place)
    file: BinaryIO = fsspec().open(place, "rb").open()
    return file


def read_picture(place: str) -> bytes:
    """The bytes of a picture's file. Raises FileError for one that is far too large."""
    with open_file(place) as file:
        data = file.read(_PICTURE_LIMIT + 1)
    if len(data) > _PICTURE_LIMIT:
        raise FileError(f"too large: more than {_PICTURE_LIMIT >> 20} MB")
    return data


def size(place: str) -> int:
    """In bytes."""
    with open_file(place) as file:
        return file.seek(0, os.SEEK_END)


def matching(place: str) -> Iterator[str]:
    """What a path or an address with `*` and `?` stands for, in alphabetical order; itself where it has none.

    Raises FileError where nothing is there.
    """
    if is_address(place):
        if "*" not in place:
            yield place
            return
        system, path = fsspec().core.url_to_fs(place)
        found = [system.unstrip_protocol(each) for each in sorted(system.glob(path))]
    else:
        found = [place] if os.path.exists(place) else sorted(glob.glob(place, recursive=True))
    if not found:
        raise FileError(f"{place} does not exist, so no pictures can be read from it.")
    yield from found


def is_folder(place: str) -> bool:
    if not is_address(place):
        return os.path.isdir(place)
    system, path = fsspec().core.url_to_fs(place)
    return bool(system.isdir(path))


def below(folder: str) -> Iterator[str]:
    """Every file below a folder in alphabetical order, except what is hidden by a leading dot."""
    if not is_address(folder):
        yield from map(str, walk(Path(folder)))
        return
    system, path = fsspec().core.url_to_fs(folder)
    for each in sorted(system.find(path)):
        if not any(part.startswith(".") for part in each.removeprefix(path).split("/")):
            yield system.unstrip_protocol(each)


def fsspec() -> Any:
    return needed("fsspec")


def needed(module: str) -> Any:
    """A module of the extra `cluster`. Raises AestheticError where it is not installed."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise AestheticError(
            f"{module.partition('.')[0]} is needed for this: pip install 'sd-webui-aesthetic-gradients[cluster]'"
        ) from error
