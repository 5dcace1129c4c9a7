"""The user's folders, walking through them, safe opening, and atomic writing and renaming."""

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
_AT_FDCWD = -100  # paths are relative to the working folder
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


def data_folder() -> Path:
    """The user's folder for their own data, in the system's usual place. It may not exist yet."""
    return _system_folder("LOCALAPPDATA", "XDG_DATA_HOME", "Library/Application Support", ".local/share") / _APP


def cache_folder() -> Path:
    """The user's folder for downloads. The environment variable `AESTHETIC_CACHE` overrides it."""
    if override := os.environ.get("AESTHETIC_CACHE"):
        return Path(override)
    folder = _system_folder("LOCALAPPDATA", "XDG_CACHE_HOME", "Library/Caches", ".cache") / _APP
    return folder / "cache" if sys.platform == "win32" else folder  # Windows has one folder for both


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, and follow links. Pipes, sockets and devices are refused without waiting.

    Raises FileError for these, and for files that cannot be opened.
    """
    try:
        _check_regular(path, os.stat(path).st_mode)  # checked first: opening a device can have effects
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            _check_regular(path, os.fstat(file).st_mode)  # again: the file may have been replaced
            return os.fdopen(file, "rb")
        except BaseException:
            os.close(file)
            raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise FileError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def write_atomically(path: Path, data: bytes, overwrite: bool = True) -> None:
    """Write a file atomically: `path` appears, or changes, only once all of `data` is on the disk.

    overwrite: whether to replace an existing file. If not, and several processes write at once, one of them succeeds.

    Raises FileExistsError if the file exists and may not be replaced, FileError if writing fails. `path` is then
    unchanged, and no other file is left behind.
    """
    temporary = temporary_name(path)  # in the same folder, hence on the same disk, so that os.replace is atomic
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path) if overwrite else move(temporary, path)
        except BaseException:  # also Ctrl-C
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except FileExistsError:
        raise
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}.") from error


def move(source: Path, target: Path) -> None:
    """Rename a file without overwriting. Raises FileExistsError if the target exists, OSError if renaming fails.

    If several processes move to one name, or move one file, exactly one succeeds.
    """
    same_file = source.name.casefold() == target.name.casefold() and source.parent == target.parent
    same_file = (
        same_file and target.exists() and os.path.samefile(source, target)
    )  # "dark" to "Dark", where case is ignored
    if same_file or sys.platform == "win32":  # on Windows, rename does not overwrite
        os.rename(source, target)
    elif not _rename_without_replacing(source, target):
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # an empty file reserves the name
        try:
            os.replace(source, target)
        except OSError:
            with contextlib.suppress(OSError):
                if target.stat().st_size == 0:
                    target.unlink()
            raise


def move_all(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move several files in this order, or none of them. Raises what `move` raises."""
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
    """A new temporary name in the folder of `path`. Files that a crash leaves under such names are deleted later."""
    return path.with_name(f".{uuid.uuid4().hex}.tmp")


def walk(folder: Path, packages: bool = True, seen: set[tuple[int, int]] | None = None) -> Iterator[Path]:
    """All files below `folder`, sorted, without those hidden by a leading dot.

    Links to folders are followed. Each folder is visited once, so that a link to a parent ends.
    packages: whether to enter sub-folders of Python code (those with an `__init__.py`).
    seen: the folders visited so far. Those below `folder` are added to it.
    """
    seen = set() if seen is None else seen
    pending = [folder]  # no recursion: folders can be thousands deep
    while pending:
        subfolders: list[Path] = []
        current = pending.pop()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:  # deleted, not readable, or its path is too long for the system
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = current / entry.name
            if not _is_folder(entry):
                yield path
            elif packages or not os.path.exists(path / "__init__.py"):
                subfolders.append(path)
        pending += reversed(subfolders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to too long a name
        return False


def _check_regular(path: str | os.PathLike[str], mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "pipe or a device"
        raise FileError(f"{path} cannot be read: it is a {kind}, not a file.")


def _rename_without_replacing(source: Path, target: Path) -> bool:
    """Rename in one system call that fails if `target` exists. Returns False if the system or disk has no such call."""
    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(source), os.fsencode(target)
    if hasattr(libc, "renameat2"):  # Linux
        failed = libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], 1)
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
    """Delete temporary files that a crash left in a folder, once they are too old to be still in use."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < time.time() - 3600:
                        os.unlink(entry.path)


def _system_folder(windows: str, linux: str, mac_folder: str, linux_folder: str) -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get(windows) or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / mac_folder
    return Path(os.environ.get(linux) or Path.home() / linux_folder)
