"""The attack of tests/attack, small. At size: `python -m tests.attack --files 122000 --pictures 1500 ...`."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from aesthetic_embeddings.aesthetics import pictures as reading
from aesthetic_embeddings.aesthetics.embedding import load
from aesthetic_embeddings.aesthetics.library import Library
from aesthetic_embeddings.errors import AestheticError, FileError

from ..attack import processes
from ..attack.__main__ import FILE_BYTES, PICTURE_BYTES, SECONDS, in_a_process, load_all, read_all

needs_fork = pytest.mark.skipif(not processes.FORK, reason="Windows starts each process anew, which takes too long")


def test_no_file_takes_long_or_much_memory_to_load() -> None:
    tally = in_a_process(partial(load_all, by_hand=True))
    print(tally)
    assert not tally.faults
    assert tally.slowest[0] <= SECONDS
    assert tally.largest[0] <= FILE_BYTES
    assert tally.longest_text <= 1000


def test_no_mutated_file_does_harm() -> None:
    tally = in_a_process(partial(load_all, range(10**6, 10**6 + 400)))
    print(tally)
    assert not tally.faults
    assert tally.slowest[0] <= SECONDS
    assert tally.largest[0] <= FILE_BYTES
    assert tally.longest_text <= 1000
    assert tally.accepted > 20
    assert tally.refused > 200


def test_no_mutated_picture_does_harm() -> None:
    tally = in_a_process(partial(read_all, range(10**6, 10**6 + 60)))
    print(tally)
    assert not tally.faults
    assert tally.largest[0] <= PICTURE_BYTES
    assert tally.accepted > 5
    assert tally.refused > 20


@needs_fork
@pytest.mark.parametrize("race", processes.RACES)
def test_exactly_one_of_several_processes_succeeds(race: Callable[[Path], None], tmp_path: Path) -> None:
    for number in range(3):
        (folder := tmp_path / str(number)).mkdir()
        race(folder)


@needs_fork
def test_four_processes_save_one_name(tmp_path: Path) -> None:
    processes.race_of_saves(tmp_path, 4)


@needs_fork
def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    for number in range(5):
        (folder := tmp_path / str(number)).mkdir()
        processes.kill(folder, number)


# ---- what is not a file ---------------------------------------------------------------------------------------------


def in_time(action: Callable[[], object]) -> str:
    """The error that it raises, within a few seconds: a thread that waits for a pipe would wait for ever."""
    said: list[str] = []

    def run() -> None:
        try:
            action()
        except AestheticError as error:
            said.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits"
    return said[0] if said else ""


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, Path]:
    """A pipe, a socket, a device, and links to them, all named as embeddings and pictures are."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such files")
    places = {}
    for suffix in (".safetensors", ".pt", ".png"):
        os.mkfifo(pipe := tmp_path / f"pipe{suffix}")
        (link := tmp_path / f"link{suffix}").symlink_to(pipe)
        (device := tmp_path / f"device{suffix}").symlink_to("/dev/zero")
        places |= {f"pipe{suffix}": pipe, f"link{suffix}": link, f"device{suffix}": device}
        with socket.socket(socket.AF_UNIX) as server:
            here = os.getcwd()
            try:
                os.chdir(tmp_path)  # the names of sockets are short
                server.bind(f"socket{suffix}")
            finally:
                os.chdir(here)
        places[f"socket{suffix}"] = tmp_path / f"socket{suffix}"
    return places


def test_pipes_sockets_and_devices_are_refused_without_waiting(odd: dict[str, Path], tmp_path: Path) -> None:
    for path in odd.values():
        assert "it is a pipe or a device, not a file" in in_time(lambda path=path: load(path))
    assert in_time(lambda: Library([tmp_path])) == ""
    faults = [entry.fault for entry in Library([tmp_path]).entries]
    assert len(faults) == 8
    assert all("not a file" in fault for fault in faults)


def test_pipes_sockets_and_devices_are_refused_as_pictures(odd: dict[str, Path], tmp_path: Path) -> None:
    found: list[object] = []

    def read() -> None:
        pictures, _ = reading.listed(tmp_path)
        found.extend(result for _, result in reading.prefetched(lambda image: image, ((p, p) for p in pictures), 4, 4))

    assert in_time(read) == ""
    assert len(found) >= 4
    assert all("not a file" in str(result) for result in found)


def test_a_growing_file_is_read_only_to_the_limit(tmp_path: Path) -> None:
    with open(tmp_path / "large.pt", "wb") as file:
        file.truncate(2**40)  # a terabyte of nothing
    with pytest.raises(FileError, match=r"too large.*\(1048576 MB\)"):
        load(tmp_path / "large.pt")
