"""What is done of a long job, in a small file: which parts, and their sums. A killed job goes on from there."""

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

_SECONDS = 5.0  # between two writings


class Checkpoint:
    """Of one job on its parts: other sources, another encoder or filter are another job with a file of its own.

    Attributes:
        done: Whether each part is done.
        result: The sum of the results of all that are.
    """

    def __init__(self, job: Job, tasks: Sequence[Task]) -> None:
        sha = hashlib.sha256(repr(replace(job, batch_size=0, device="")).encode())
        for task in tasks:
            sha.update(repr(task).encode())
        self.path = cache_folder() / "unfinished" / f"{sha.hexdigest()[:32]}.safetensors"
        self.done, self.result = [False] * len(tasks), Result()
        self._written = time.monotonic()

    def read(self) -> bool:
        """Go on from the file; False where there is none that can be read."""
        try:
            tensors = safetensors.torch.load(self.path.read_bytes())
            about = json.loads(tensors.pop("about").numpy().tobytes())
            done = tensors["done"].bool().tolist()
            sides = [_sums(tensors, about, side) for side in ("of", "against")]
        except (OSError, ValueError, KeyError, safetensors.SafetensorError):
            return False
        if len(done) != len(self.done):
            return False
        self.done = done
        self.result = Result(sides[0], sides[1], about["family"], about["name"], about["clips"])
        return True

    def add(self, number: int, result: Result) -> None:
        """A part that is done, once. The file is written when some seconds have passed."""
        if self.done[number]:
            return
        self.result = self.result + result
        self.done[number] = True
        if time.monotonic() - self._written > _SECONDS:
            self.write()

    def write(self) -> None:
        result, tensors = self.result, {"done": torch.tensor(self.done, dtype=torch.uint8)}
        about: dict[str, Any] = {"family": result.family, "name": result.name, "clips": result.clips}
        for side in ("of", "against"):
            sums: Sums = getattr(result, side)
            tensors |= {f"{side}.total": sums.total, f"{side}.units": sums.units}
            about[side] = [sums.count, sums.skipped.reasons, sums.skipped.examples]
        tensors["about"] = torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)
        write_atomically(self.path, safetensors.torch.save(tensors))
        self._written = time.monotonic()

    def remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()


def _sums(tensors: dict[str, Tensor], about: dict[str, Any], side: str) -> Sums:
    count, reasons, examples = about[side]
    skipped = Skipped(reasons, tuple((file, reason) for file, reason in examples))
    return Sums(count, tensors[f"{side}.total"], tensors[f"{side}.units"], skipped)
