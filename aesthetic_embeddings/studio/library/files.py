"""Files of aesthetics: saving, deleting, restoring, importing and exporting."""

from __future__ import annotations

import io
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
    """What brings a deleted aesthetic back."""

    name: str = ""
    files: tuple[tuple[Path, bytes], ...] = ()


def save(library: Library, e: AestheticEmbedding, preview: bytes | None, overwrite: bool = False) -> str:
    """Save an aesthetic with its preview, a PNG. Returns what to say of it, as HTML."""
    library.save(e, overwrite=overwrite)
    if preview:
        library.set_preview(e.name, preview)
    twin = _duplicate_of(library, e.name)
    place = f"It equals {twin}, and Compare lists it by that name." if twin else "Choose it under Compare."
    return status(f"Saved as {e.name}, from {e.images} pictures. {place}")


def delete(library: Library, name: str) -> Deleted:
    """Delete an aesthetic, and keep what brings it back."""
    paths = [entry.path for entry in library.entries if entry.name == name]
    files = {path.with_suffix(suffix) for path in paths for suffix in (*SUFFIXES, *SIDE_FILES)}
    kept = [(file, file.read_bytes()) for file in sorted(files) if file.is_file()]
    library.delete(name)
    return Deleted(name, tuple((file, data) for file, data in kept if not file.exists()))


def restore(library: Library, deleted: Deleted) -> None:
    """Write the files again. Raises AestheticError where others have their names by now."""
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
    """Import embedding files. Returns what became of each, as HTML. A name that is taken gets a number."""
    lines = []
    for file in files[:MAX_IMPORTS]:
        try:
            name = _free_name(library, file.stem)
            library.import_(file, name)
            twin = _duplicate_of(library, name)
            lines.append(status(f"Imported {name}." + (f" It equals {twin}." if twin else "")))
        except AestheticError as fault:
            lines.append(error(str(fault).replace(str(file), file.name)))
    if len(files) > MAX_IMPORTS:
        lines.append(error(f"Only the first {MAX_IMPORTS} of {len(files)} files were imported."))
    return "".join(lines)


def export(folder: Path, e: AestheticEmbedding, suffix: str) -> Path | None:
    """A file to download; None where the old extension's format cannot say which CLIP the vector belongs to.

    Equal aesthetics share a file, so there are never more than were shown.
    """
    path = folder / "exports" / e.content_hash[:16] / (e.name.split("/")[-1] + suffix)
    if suffix == SUFFIX:
        return e.save(path, overwrite=True)
    vector = next((x for x in e.vectors.values() if family_of_dimension(len(x))), None)
    if vector is None:
        return None
    data = io.BytesIO()
    torch.save(vector[None].clone(), data)
    write_atomically(path, data.getvalue())
    return path


def _duplicate_of(library: Library, name: str) -> str:
    return next((entry.duplicate_of for entry in library.entries if entry.name == name), "")


def _free_name(library: Library, name: str) -> str:
    """`name`, or with the first number that is free."""
    taken = {entry.name.casefold() for entry in library.entries}
    numbered = (name, *(f"{name} {i}" for i in range(2, 1000)))
    return next((each for each in numbered if each.casefold() not in taken), name)
