"""Saves, deletes, restores, imports and exports files of aesthetics."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...aesthetics.embedding import SUFFIX, SUFFIXES, AestheticEmbedding
from ...aesthetics.families import family_of_dimension
from ...aesthetics.library import SIDE_FILES, Library
from ...errors import AestheticError
from ...storage.paths import write_atomically
from ...ui.messages import error, status

MAX_IMPORTS = 50  # files at once


@dataclass(frozen=True)
class Deleted:
    """A deleted aesthetic, with the contents of its files, so that it can be restored."""

    name: str = ""
    files: tuple[tuple[Path, bytes], ...] = ()


def save(library: Library, e: AestheticEmbedding, preview: bytes | None, overwrite: bool = False) -> str:
    """Save an aesthetic and its preview, a PNG. Returns a message, as HTML."""
    library.save(e, overwrite=overwrite)
    if preview:
        library.set_preview(e.name, preview)
    duplicate_of = _duplicate_of(library, e.name)
    hint = (
        f"It equals {duplicate_of}, and Compare lists it by that name." if duplicate_of else "Choose it under Compare."
    )
    return status(f"Saved as {e.name}, from {e.images} pictures. {hint}")


def delete(library: Library, name: str) -> Deleted:
    """Delete an aesthetic. The result can be passed to `restore`."""
    paths = [entry.path for entry in library.entries if entry.name == name]
    files = {path.with_suffix(suffix) for path in paths for suffix in (*SUFFIXES, *SIDE_FILES)}
    contents = [(file, file.read_bytes()) for file in sorted(files) if os.path.isfile(file)]
    library.delete(name)
    return Deleted(name, tuple((file, data) for file, data in contents if not os.path.exists(file)))


def restore(library: Library, deleted: Deleted) -> None:
    """Write the files again. Raises AestheticError if other files have their names now."""
    written: list[Path] = []
    try:
        for file, data in deleted.files:
            write_atomically(file, data, overwrite=False)
            written.append(file)
    except FileExistsError:
        for file in written:
            file.unlink(missing_ok=True)
        raise AestheticError(f"There is another {deleted.name} by now. Rename that one, and undo again.") from None
    finally:
        library.refresh()


def import_files(library: Library, files: Sequence[Path]) -> str:
    """Import embedding files. Returns a message for each, as HTML. A name in use gets a number."""
    lines = []
    for file in files[:MAX_IMPORTS]:
        try:
            name = _free_name(library, file.stem)
            library.import_(file, name)
            duplicate_of = _duplicate_of(library, name)
            lines.append(status(f"Imported {name}." + (f" It equals {duplicate_of}." if duplicate_of else "")))
        except AestheticError as exception:
            lines.append(error(str(exception).replace(str(file), file.name)))
    if len(files) > MAX_IMPORTS:
        lines.append(error(f"Only the first {MAX_IMPORTS} of {len(files)} files were imported."))
    return "".join(lines)


def export(folder: Path, e: AestheticEmbedding, suffix: str) -> Path | None:
    """A file to download. None if the old extension's format cannot express the vector's CLIP family.

    Equal aesthetics share a file, so there are never more files than aesthetics.
    """
    path = folder / "exports" / e.content_hash[:16] / (e.name.split("/")[-1] + suffix)
    if suffix == SUFFIX:
        return e.save(path, overwrite=True)
    vector = next((known for known in e.vectors.values() if family_of_dimension(len(known))), None)
    if vector is None:
        return None
    data = io.BytesIO()
    torch.save(vector[None].clone(), data)
    write_atomically(path, data.getvalue())
    return path


def _duplicate_of(library: Library, name: str) -> str:
    return next((entry.duplicate_of for entry in library.entries if entry.name == name), "")


def _free_name(library: Library, name: str) -> str:
    """`name`, with the first free number if it is in use."""
    used = {entry.name.casefold() for entry in library.entries}
    candidates = (name, *(f"{name} {number}" for number in range(2, 1000)))
    return next((candidate for candidate in candidates if candidate.casefold() not in used), name)
