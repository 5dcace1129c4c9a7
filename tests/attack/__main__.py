"""Run the attack, and say what came of it."""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from aesthetic_embeddings.aesthetics import pictures as reading
from aesthetic_embeddings.aesthetics.embedding import load
from aesthetic_embeddings.errors import FileError

from . import embeddings, encoder, pictures, processes
from .measure import Tally

CHUNK = 500
SECONDS, FILE_BYTES, PICTURE_BYTES = 0.5, 100_000_000, 1_000_000_000  # what docs/security.md promises


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="mutated embedding files")
    parser.add_argument("--pictures", type=int, default=100, help="mutated pictures")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--races", type=int, default=10, help="of each kind")
    parser.add_argument("--faults", type=int, default=100, help="at operations of torch")
    parser.add_argument("--interrupts", type=int, default=100, help="at lines of ours")
    parser.add_argument("--threads", type=int, default=100, help="plain runs beside threads that tune")
    parser.add_argument("--seed", type=int, default=0, help="number of the first mutant")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(arguments.seed, arguments.seed + arguments.files)
    tallies = {
        "embedding files by hand": in_a_process(functools.partial(load_all, by_hand=True)),
        "embedding files, mutated": sum(
            (in_a_process(functools.partial(load_all, seeds[at : at + CHUNK])) for at in range(0, len(seeds), CHUNK)),
            Tally(),
        ),
        "large pictures": in_a_process(functools.partial(read_all, by_hand=True)),
        "pictures, mutated": sum(
            (
                in_a_process(functools.partial(read_all, range(arguments.seed + at, arguments.seed + at + n)))
                for at, n in _chunks(arguments.pictures, 100)
            ),
            Tally(),
        ),
    }
    for name, tally in tallies.items():
        print(f"{name}: {tally}", flush=True)
        for fault in tally.faults[:20]:
            print(f"  FAULT {fault}")
    faults = sum(len(tally.faults) for tally in tallies.values())
    if processes.FORK:
        faults += _in_folders("races", processes.RACES, arguments.races)
        faults += _in_folders("kills", (processes.kill,), arguments.kills, seeded=True)
    faults += _on_encoders("faults at operations of torch", encoder.faults_at_operations, arguments.faults)
    faults += _on_encoders("interrupts at lines", encoder.interrupts_at_lines, arguments.interrupts)
    faults += _on_encoders("plain runs beside threads that tune", _plain_runs, arguments.threads)
    for name in ("embedding files by hand", "embedding files, mutated"):
        faults += tallies[name].slowest[0] > SECONDS or tallies[name].largest[0] > FILE_BYTES
    for name in ("large pictures", "pictures, mutated"):
        faults += tallies[name].largest[0] > PICTURE_BYTES
    sys.exit(f"{faults} faults" if faults else 0)


def load_all(seeds: range = range(0), by_hand: bool = False) -> Tally:
    files = embeddings.worst() if by_hand else map(embeddings.mutated, seeds)
    return _call_on_files(files, ".pt", load, FileError)


def read_all(seeds: range = range(0), by_hand: bool = False) -> Tally:
    files = pictures.large() if by_hand else map(pictures.mutated, seeds)
    return _call_on_files(files, ".png", _prepared, RefusedError)


class RefusedError(Exception):
    """A picture was skipped, with a reason."""


def _prepared(path: Path) -> None:
    """As `create` reads a picture, in its threads, but without an encoder."""
    for _, result in reading.prefetched(lambda image: image.resize((224, 224)), iter([(path, path)]), 1, 1):
        if isinstance(result, str):
            raise RefusedError(result)


def _call_on_files(
    files: Iterator[tuple[str, bytes]], suffix: str, function: Callable[[Path], object], refusal: type[Exception]
) -> Tally:
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file" + suffix)
        for name, data in files:
            path.write_bytes(data)
            del data
            tally.call(name, lambda: function(path), refusal)
    return tally


def in_a_process(work: Callable[[], Tally], seconds: float = 600) -> Tally:
    """Its tally; a crash of the process, or none in this time, is a fault too."""
    context: Any = multiprocessing.get_context("fork" if processes.FORK else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, work))
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(seconds) else Tally(faults=[f"{work}: no answer in {seconds} s"])
    except EOFError:
        return Tally(faults=[f"{work}: the process ended with {process.exitcode}"])
    finally:
        process.kill()
        process.join()


def _send(sender: Any, work: Callable[[], Tally]) -> None:
    gc.freeze()  # else the collection of what this process inherits is counted as a file's
    sender.send(work())


def _in_folders(name: str, actions: tuple[Callable[..., None], ...], count: int, seeded: bool = False) -> int:
    faults, start = 0, time.monotonic()
    for action in actions:
        for number in range(count):
            folder = Path(tempfile.mkdtemp())
            try:
                action(folder, number) if seeded else action(folder)
            except AssertionError as error:
                faults += 1
                print(f"  FAULT {action.__name__} {number}: {error!s:.300}")
            finally:
                shutil.rmtree(folder)
    print(f"{name}: {count * len(actions)} trials, {faults} faults, {time.monotonic() - start:.0f} s", flush=True)
    return faults


def _on_encoders(name: str, attack: Callable[[str, str, str], int], count: int) -> int:
    """Attack one variant after the other until there were so many trials; returns how many variants had a fault."""
    trials, variants, faults, start = 0, itertools.cycle(encoder.ALL_VARIANTS), 0, time.process_time()
    while trials < count and faults < 5:
        variant = next(variants)
        try:
            trials += attack(*variant)
        except AssertionError as error:
            faults += 1
            print(f"  FAULT {', '.join(variant)}: {error!s:.300}")
    print(f"{name}: {trials} trials, {faults} faults, {time.process_time() - start:.0f} s", flush=True)
    return faults


def _plain_runs(kind: str, update: str, _: str) -> int:
    return encoder.threads(kind, update)[0]


def _chunks(total: int, size: int) -> Iterator[tuple[int, int]]:
    for at in range(0, total, size):
        yield at, min(size, total - at)


if __name__ == "__main__":
    main()
