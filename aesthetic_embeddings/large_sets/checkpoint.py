"""A small file with the progress of a long job: which parts are done, and their sums. A killed job can resume."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..aesthetics.sums import Skipped, Sums
from ..storage.paths import cache_folder, write_atomically
from .worker import Job, Result, Task

_WRITE_INTERVAL = 5.0  # seconds between two writes


class Checkpoint:
    """The progress of one job. A job with other sources, another encoder or another filter has its own file.

    Attributes:
        done: Whether each part is done.
        result: The sum of the results of all parts that are done.
    """

    def __init__(self, job: Job, tasks: Sequence[Task]) -> None:
        digest = hashlib.sha256(repr(replace(job, batch_size=0, device="")).encode())
        for task in tasks:
            digest.update(repr(task).encode())
        self.path = cache_folder() / "unfinished" / f"{digest.hexdigest()[:32]}.safetensors"
        self.done, self.result = [False] * len(tasks), Result()
        self._written = time.monotonic()

    def read(self) -> bool:
        """Load the progress from the file. Returns whether that was possible."""
        try:
            tensors = safetensors.torch.load(self.path.read_bytes())
            metadata = json.loads(tensors.pop("about").numpy().tobytes())
            done = tensors["done"].bool().tolist()
            sides = [_sums(tensors, metadata, side) for side in ("of", "against")]
        except (OSError, ValueError, KeyError, safetensors.SafetensorError):
            return False
        if len(done) != len(self.done):
            return False
        self.done = done
        self.result = Result(sides[0], sides[1], metadata["family"], metadata["name"], metadata["clips"])
        return True

    def add(self, number: int, result: Result) -> None:
        """Add the result of a part, unless it is done already. Writes the file every few seconds."""
        if self.done[number]:
            return
        self.result = self.result + result
        self.done[number] = True
        if time.monotonic() - self._written > _WRITE_INTERVAL:
            self.write()

    def write(self) -> None:
        result, tensors = self.result, {"done": torch.tensor(self.done, dtype=torch.uint8)}
        metadata: dict[str, Any] = {"family": result.family, "name": result.name, "clips": result.clips}
        for side in ("of", "against"):
            sums: Sums = getattr(result, side)
            tensors |= {f"{side}.total": sums.total, f"{side}.units": sums.units}
            metadata[side] = [sums.count, sums.skipped.reasons, sums.skipped.examples]
        tensors["about"] = torch.frombuffer(bytearray(json.dumps(metadata).encode()), dtype=torch.uint8)
        write_atomically(self.path, safetensors.torch.save(tensors))
        self._written = time.monotonic()

    def remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()


def _sums(tensors: dict[str, Tensor], metadata: dict[str, Any], side: str) -> Sums:
    count, reasons, examples = metadata[side]
    skipped = Skipped(reasons, tuple((file, reason) for file, reason in examples))
    return Sums(count, tensors[f"{side}.total"], tensors[f"{side}.units"], skipped)
