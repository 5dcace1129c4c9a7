"""Processes that save, rename and delete at once, or are killed in the middle of it."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from aesthetic_embeddings.aesthetics.embedding import AestheticEmbedding, load
from aesthetic_embeddings.aesthetics.library import Library
from aesthetic_embeddings.errors import AestheticError

FORK = hasattr(os, "fork")
FAMILY = "clip-vit-l-14"


def embedding(name: str, seed: int) -> AestheticEmbedding:
    return AestheticEmbedding({FAMILY: torch.randn(768, generator=torch.Generator().manual_seed(seed))}, name)


def at_once(*actions: Callable[[], object]) -> list[bool]:
    """Do these in a process each, at the same moment; whether each said that it worked."""
    context: Any = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(len(actions)), context.Array("b", len(actions))

    def run(number: int, action: Callable[[], object]) -> None:
        barrier.wait(30)
        try:
            action()
            results[number] = 1
        except AestheticError:
            results[number] = 2

    processes = [context.Process(target=run, args=each) for each in enumerate(actions)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    outcomes = list(results)
    assert 0 not in outcomes, "a process ended with neither a result nor an error for people"
    return [outcome == 1 for outcome in outcomes]


def contents(folder: Path) -> list[str]:
    """The content hashes of all embeddings of a folder. Raises where one is not whole."""
    return sorted(load(file).content_hash for file in folder.rglob("*.safetensors"))


def race_of_saves(folder: Path, processes: int = 2) -> None:
    """Each saves another embedding by the same name: exactly one says that it did, and its is there."""
    each = [embedding("dusk", seed) for seed in range(processes)]
    saved = at_once(*(lambda e=e: Library([folder]).save(e) for e in each))
    assert saved.count(True) == 1, saved
    assert contents(folder) == [each[saved.index(True)].content_hash]


def race_of_renames_to_one_name(folder: Path) -> None:
    """Two embeddings get one name: one does, and none is lost."""
    library = Library([folder])
    for seed, name in enumerate(("a", "b")):
        library.save(embedding(name, seed))
        library.set_preview(name, name.encode())
    before = contents(folder)
    renamed = at_once(*(lambda name=name: Library([folder]).rename(name, "dusk") for name in ("a", "b")))
    assert renamed.count(True) == 1, renamed
    assert contents(folder) == before
    won, lost = ("a", "b") if renamed[0] else ("b", "a")
    assert (folder / "dusk.preview.png").read_bytes() == won.encode()
    assert (folder / f"{lost}.preview.png").read_bytes() == lost.encode()


def race_of_renames_of_one_file(folder: Path) -> None:
    """One embedding gets two names: it has one of them, and one said so."""
    Library([folder]).save(embedding("dusk", 1))
    before = contents(folder)
    renamed = at_once(*(lambda name=name: Library([folder]).rename("dusk", name) for name in ("a", "b")))
    assert renamed.count(True) == 1, renamed
    assert contents(folder) == before
    assert [file.stem for file in folder.glob("*.safetensors")] == [("a", "b")[renamed.index(True)]]


def race_of_rename_and_save(folder: Path) -> None:
    """One gets the name that another is saved by: exactly one has it, and none is lost that was there."""
    Library([folder]).save(embedding("a", 1))
    (before,) = contents(folder)
    done = at_once(lambda: Library([folder]).rename("a", "dusk"), lambda: Library([folder]).save(embedding("dusk", 2)))
    assert done.count(True) == 1, done
    assert before in contents(folder)
    assert len(contents(folder)) == 1 + done[1]


def race_of_rename_and_delete(folder: Path) -> None:
    """Either it is gone or it has the new name, as was said."""
    Library([folder]).save(embedding("a", 1))
    done = at_once(lambda: Library([folder]).rename("a", "dusk"), lambda: Library([folder]).delete("a"))
    assert done.count(True) == 1, done
    assert (folder / "dusk.safetensors").exists() == done[0]


RACES = (
    race_of_saves,
    race_of_renames_to_one_name,
    race_of_renames_of_one_file,
    race_of_rename_and_save,
    race_of_rename_and_delete,
)


def kill(folder: Path, seed: int) -> None:
    """Kill a process that saves, renames and deletes as fast as it can: each file is whole, none is lost."""
    rng = random.Random(seed)
    library = Library([folder])
    library.save(embedding("kept", 0))
    library.set_preview("kept", b"picture")
    kept = library.get("kept").content_hash
    pid = os.fork()
    if pid == 0:
        try:
            _work_for_ever(folder, rng)
        finally:
            os._exit(1)
    time.sleep(rng.uniform(0.0, 0.06))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert kept in contents(folder)  # under the old name or the new one
    assert not [entry for entry in Library([folder]).entries if entry.embedding is None]
    pictures = [file.read_bytes() for file in folder.rglob("*.preview.png")]
    assert pictures == [b"picture"]
    allowed = ("*.safetensors", "*.preview.png", ".*.tmp")
    assert {*folder.rglob("*")} - {file for each in allowed for file in folder.rglob(each)} <= {folder / "sub"}


def _work_for_ever(folder: Path, rng: random.Random) -> None:
    library, name = Library([folder]), "kept"
    while True:
        library.save(embedding("other", rng.randrange(5)), overwrite=True)
        new = rng.choice([n for n in ("kept", "b", "sub/c") if n != name])
        library.rename(name, new)
        name = new
        library.delete("other")
