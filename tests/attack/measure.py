"""Processor time and memory of one call, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """seconds: of processor time. bytes: of resident memory over what there was before; 0 where it cannot be told."""

    seconds: float = 0.0
    bytes: int = 0


@contextmanager
def cost() -> Iterator[Cost]:
    """The cost of a block. On Linux the peak of memory is the kernel's own count, elsewhere it is not measured."""
    found, before = Cost(), _reset_peak()
    start = time.process_time()
    try:
        yield found
    finally:
        found.seconds = time.process_time() - start
        found.bytes = max(0, _status("VmHWM") - before) if before else 0


@dataclass
class Tally:
    """What came out of many calls. faults: what should never happen, each with the name of its input."""

    calls: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")
    longest_text: int = 0
    faults: list[str] = field(default_factory=list)

    def call(self, name: str, function: Callable[[], object], expected: type[Exception]) -> None:
        """Call it; anything else than a result or the expected error is a fault."""
        self.calls += 1
        with cost() as found:
            try:
                function()
                self.accepted += 1
            except expected as error:
                self.refused += 1
                self.longest_text = max(self.longest_text, len(str(error)))
            except BaseException as error:
                self.faults.append(f"{name}: {type(error).__name__}: {error!s:.200}")
        self.slowest = max(self.slowest, (found.seconds, name))
        self.largest = max(self.largest, (found.bytes, name))

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.calls + other.calls,
            self.accepted + other.accepted,
            self.refused + other.refused,
            max(self.slowest, other.slowest),
            max(self.largest, other.largest),
            max(self.longest_text, other.longest_text),
            self.faults + other.faults,
        )

    def __str__(self) -> str:
        return (
            f"{self.calls} calls: {self.accepted} accepted, {self.refused} refused, {len(self.faults)} faults; slowest "
            f"{self.slowest[0]:.3f} s of processor time ({self.slowest[1]}), largest {self.largest[0] / 1e6:.1f} MB "
            f"({self.largest[1]}), longest error text {self.longest_text} characters"
        )


def _reset_peak() -> int:
    """Resident bytes now, from where the peak is counted; 0 where it cannot be."""
    try:
        _RESET.write_text("5")
        return _status("VmRSS")
    except OSError:
        return 0


def _status(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024
