"""Divides sources of pictures into parts. The suffix of a file tells its kind."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..aesthetics.pictures import may_be_a_picture
from ..errors import AestheticError
from . import locations
from .archives import parts_of_tar, parts_of_zip
from .features import is_text, parts_of_features
from .files import parts_of_files, parts_of_list
from .parts import Part, Unreadable
from .tables import parts_of_table

#: Suffix -> the function that divides such a file into parts. Any other file is a picture.
READERS: Mapping[str, Callable[[str], Iterator[Part]]] = {
    ".tar": parts_of_tar,
    ".zip": parts_of_zip,
    ".parquet": parts_of_table,
    ".arrow": parts_of_table,
    ".feather": parts_of_table,
    ".jsonl": parts_of_list,
    ".txt": parts_of_list,
    ".npy": parts_of_features,
}
#: The kinds of files to look for in a folder without pictures. The first kind found is read, and others are ignored.
_SHARD_SUFFIXES = (".npy", ".tar", ".parquet", ".arrow", ".feather", ".zip")


def parts_of(sources: Sequence[str]) -> Iterator[Part]:
    """All parts of all sources, in order. Raises FileError for a source that does not exist."""
    pictures: list[str] = []
    for source in sources:
        for location in locations.expand(source):
            if locations.is_folder(location):
                yield from _parts_of_folder(location)
            elif locations.suffix(location) in READERS:
                yield from _split(location, READERS[locations.suffix(location)])
            else:
                pictures.append(location)
    yield from parts_of_files(pictures)


def _parts_of_folder(folder: str) -> Iterator[Part]:
    files = list(locations.files_below(folder))
    shards = [file for file in files if locations.suffix(file) in _SHARD_SUFFIXES]
    pictures = [file for file in files if locations.suffix(file) not in READERS and _is_picture(file)]
    if pictures or not shards:
        yield from parts_of_files(pictures)
        return
    kind = next(suffix for suffix in _SHARD_SUFFIXES if any(locations.suffix(shard) == suffix for shard in shards))
    reader = READERS[kind]
    if kind == ".npy":
        tables = [shard for shard in shards if locations.suffix(shard) == ".parquet"]
        reader = functools.partial(parts_of_features, tables=tables)
    for shard in shards:
        if locations.suffix(shard) == kind and not is_text(shard):
            yield from _split(shard, reader)


def _split(location: str, reader: Callable[[str], Iterator[Part]]) -> list[Part]:
    try:
        return list(reader(location))
    except AestheticError:
        raise
    except Exception as error:  # a damaged file counts as a damaged picture
        return [Unreadable(location, str(error))]


def _is_picture(location: str) -> bool:
    return may_be_a_picture(Path(locations.name(location)))
