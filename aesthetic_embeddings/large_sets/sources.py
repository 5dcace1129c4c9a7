"""Sources of pictures: told apart by what their names end in, and cut into parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..aesthetics.pictures import may_be_a_picture
from ..errors import AestheticError
from . import places
from .archives import parts_of_tar, parts_of_zip
from .features import is_text, parts_of_features
from .files import parts_of_files, parts_of_list
from .parts import Part, Unreadable
from .tables import parts_of_table

#: How a file's name ends -> what cuts it into parts. Any other file is a picture.
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
#: What a folder without pictures is read for: the first of these that it holds. The rest lies beside it.
_IN_FOLDERS = (".npy", ".tar", ".parquet", ".arrow", ".feather", ".zip")


def parts_of(sources: Sequence[str]) -> Iterator[Part]:
    """All parts of all sources, in order. Raises FileError for a source that does not exist."""
    pictures: list[str] = []
    for source in sources:
        for place in places.matching(source):
            if places.is_folder(place):
                yield from _parts_of_folder(place)
            elif places.suffix(place) in READERS:
                yield from _cut(place, READERS[places.suffix(place)])
            else:
                pictures.append(place)
    yield from parts_of_files(pictures)


def _parts_of_folder(folder: str) -> Iterator[Part]:
    files = list(places.below(folder))
    shards = [file for file in files if places.suffix(file) in _IN_FOLDERS]
    pictures = [file for file in files if places.suffix(file) not in READERS and _is_picture(file)]
    if pictures or not shards:
        yield from parts_of_files(pictures)
        return
    kind = next(suffix for suffix in _IN_FOLDERS if any(places.suffix(shard) == suffix for shard in shards))
    reader = READERS[kind]
    if kind == ".npy":
        tables = [shard for shard in shards if places.suffix(shard) == ".parquet"]
        reader = functools.partial(parts_of_features, beside=tables)
    for shard in shards:
        if places.suffix(shard) == kind and not is_text(shard):
            yield from _cut(shard, reader)


def _cut(place: str, reader: Callable[[str], Iterator[Part]]) -> list[Part]:
    try:
        return list(reader(place))
    except AestheticError:
        raise
    except Exception as error:  # a damaged file is counted, as a damaged picture is
        return [Unreadable(place, str(error))]


def _is_picture(place: str) -> bool:
    return may_be_a_picture(Path(places.name(place)))
