"""Where the user's files live, how they are found, and how one is written: whole, or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import stat
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ..errors import FileError

_APP = "aesthetic-gradients"
_HERE = -100  # AT_FDCWD: paths are relative to the working folder
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


def data_folder() -> Path:
    """The user's folder for what they made themselves; the system's usual place, not yet created."""
    return _place("LOCALAPPDATA", "XDG_DATA_HOME", "Library/Application Support", ".local/share") / _APP


def cache_folder() -> Path:
    """The user's folder for what can be fetched again; `AESTHETIC_CACHE` in the environment overrides it."""
    if chosen := os.environ.get("AESTHETIC_CACHE"):
        return Path(chosen)
    place = _place("LOCALAPPDATA", "XDG_CACHE_HOME", "Library/Caches", ".cache") / _APP
    return place / "cache" if sys.platform == "win32" else place  # Windows has one place for both


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; links are followed. Pipes, sockets and devices are refused, never waited for.

    Raises FileError for these, and for what cannot be opened.
    """
    try:
        _check_regular(path, os.stat(path).st_mode)  # before it is opened: opening a device may do something
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            _check_regular(path, os.fstat(file).st_mode)  # again: it may be another by now
            return os.fdopen(file, "rb")
        except BaseException:
            os.close(file)
            raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise FileError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def write_atomically(path: Path, data: bytes, overwrite: bool = True) -> None:
    """Write `data` as the file `path`, which appears, or changes, only once all of it is on the disk.

    overwrite: whether a file that is there is replaced. If not, one of several processes that write at once succeeds.

    Raises FileExistsError where there is a file and it may not be replaced, FileError where writing fails; `path` is
    then as it was, and no other file is left behind.
    """
    beside = temporary_name(path)  # same folder, hence same disk: os.replace is one step
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        try:
            with open(beside, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path) if overwrite else move(beside, path)
        except BaseException:  # Ctrl-C too leaves no half file
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    except FileExistsError:
        raise
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}.") from error


def move(source: Path, target: Path) -> None:
    """Rename a file to a name that no file has. Raises FileExistsError where one has it, OSError where it fails.

    Of several processes that move to one name, or move one file, one succeeds, and nothing is ever overwritten.
    """
    same = source.name.casefold() == target.name.casefold() and source.parent == target.parent
    same = same and target.exists() and os.path.samefile(source, target)  # "dark" to "Dark", where case is ignored
    if same or sys.platform == "win32":  # whose rename does not overwrite
        os.rename(source, target)
    elif not _rename_without_replacing(source, target):
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # takes the name, by an empty file
        try:
            os.replace(source, target)
        except OSError:
            with contextlib.suppress(OSError):
                if target.stat().st_size == 0:
                    target.unlink()
            raise


def move_all(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move several files, in this order, or none. Raises what `move` raises."""
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            move(source, target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            with contextlib.suppress(OSError):
                move(target, source)
        raise


def temporary_name(path: Path) -> Path:
    """A new name in the folder of `path`. What is left under such names, by a crash, is swept after an hour."""
    return path.with_name(f".{uuid.uuid4().hex}.tmp")


def walk(folder: Path, packages: bool = True, seen: set[tuple[int, int]] | None = None) -> Iterator[Path]:
    """Every file below `folder` in alphabetical order, except what is hidden by a leading dot.

    Links to folders are followed, and each folder is visited once, so that a link to its own parent ends.
    packages: whether sub-folders of Python code (those with an `__init__.py`) are entered.
    seen: the folders that were visited already; it grows by those below `folder`.
    """
    seen = set() if seen is None else seen
    waiting = [folder]  # no recursion, as folders can be thousands deep
    while waiting:
        inner: list[Path] = []
        here = waiting.pop()
        try:
            about = os.stat(here)
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:  # it is gone, may not be read, or its path is too long for the system
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = here / entry.name
            if not entry.is_dir():
                yield path
            elif packages or not (path / "__init__.py").exists():
                inner.append(path)
        waiting += reversed(inner)


def _check_regular(path: str | os.PathLike[str], mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "pipe or a device"
        raise FileError(f"{path} cannot be read: it is a {kind}, not a file.")


def _rename_without_replacing(source: Path, target: Path) -> bool:
    """Rename in one step of the system, unless `target` is there; False where this system or disk has no such step."""
    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(source), os.fsencode(target)
    if hasattr(libc, "renameat2"):  # Linux
        failed = libc.renameat2(_HERE, paths[0], _HERE, paths[1], 1)
    elif hasattr(libc, "renamex_np"):  # macOS
        failed = libc.renamex_np(*paths, 4)
    else:
        return False
    code = ctypes.get_errno() if failed else 0
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    if code:
        raise OSError(code, os.strerror(code), str(source), None, str(target))
    return True


def _sweep(folder: Path) -> None:
    """Delete what a crash has left in a folder, once it is so old that nobody can still be writing it."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < time.time() - 3600:
                        os.unlink(entry.path)


def _place(windows: str, linux: str, mac_folder: str, linux_folder: str) -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get(windows) or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / mac_folder
    return Path(os.environ.get(linux) or Path.home() / linux_folder)
