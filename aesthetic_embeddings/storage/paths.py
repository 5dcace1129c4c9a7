"""Where the user's files live, how they are found, and how one is written: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from ..errors import FileError

_APP = "aesthetic-gradients"


def data_folder() -> Path:
    """The user's folder for what they made themselves; the system's usual place, not yet created."""
    return _place("LOCALAPPDATA", "XDG_DATA_HOME", "Library/Application Support", ".local/share") / _APP


def cache_folder() -> Path:
    """The user's folder for what can be fetched again; `AESTHETIC_CACHE` in the environment overrides it."""
    if chosen := os.environ.get("AESTHETIC_CACHE"):
        return Path(chosen)
    place = _place("LOCALAPPDATA", "XDG_CACHE_HOME", "Library/Caches", ".cache") / _APP
    return place / "cache" if sys.platform == "win32" else place  # Windows has one place for both


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` as the file `path`, replacing what is there only once all of it is on the disk.

    Raises FileError where that fails; `path` is then as it was, and no other file is left behind.
    """
    beside = path.with_name(f".{uuid.uuid4().hex}.tmp")  # same folder, hence same disk: os.replace is one step
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(beside, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:  # Ctrl-C too leaves no half file
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}.") from error


def walk(folder: Path, packages: bool = True) -> Iterator[Path]:
    """Every file below `folder` in alphabetical order, except what is hidden by a leading dot.

    Links to folders are followed, and each folder is visited once, so that a link to its own parent ends.
    packages: whether sub-folders of Python code (those with an `__init__.py`) are entered.
    """
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in seen else []
        if not packages:
            folders[:] = [name for name in folders if not Path(root, name, "__init__.py").exists()]
        if real not in seen:
            yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))
        seen.add(real)


def _place(windows: str, linux: str, mac_folder: str, linux_folder: str) -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get(windows) or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / mac_folder
    return Path(os.environ.get(linux) or Path.home() / linux_folder)
