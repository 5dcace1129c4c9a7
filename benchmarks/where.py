"""Where the time of one prompt goes: `python -m benchmarks.where`.

Kernels are timed one by one. The rest is the time of a run without that, less theirs: small operations, autograd,
Python, and giving memory back.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .cases import Case, encoders, ours, prompt
from .floor import floor, machine
from .speed import CASES

KERNELS = {
    "mkldnn._linear_pointwise": "products",
    "aten.mm": "factors",
    "aten._fused_adam_": "Adam",
    "aten.addmm": "owner",
    "aten.zero_": "fresh memory",
    "aten.zeros_like": "fresh memory",
    "aten.clone": "fresh memory",
    "aten.copy_": "fresh memory",
}
COLUMNS = ("products", "gradients", "factors", "Adam", "fresh memory", "owner")


class Timed(TorchDispatchMode):
    """Seconds by kind of kernel; products over `rank` positions are gradients."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.seconds = rank, Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.perf_counter()
        out = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        kind = KERNELS.get(str(func.overloadpacket), "")
        self.seconds["gradients" if kind == "products" and args[0].shape[-1] == self.rank else kind] += seconds
        return out


def seconds_of(case: Case) -> tuple[float, Counter[str]]:
    """Of one run, and of its kernels."""
    those, ids = encoders(case), prompt(case)
    ours(case, those, ids)  # what is made once, such as oneDNN's kernels
    start = time.perf_counter()
    ours(case, those, ids)
    whole = time.perf_counter() - start
    with Timed(sum(n + 2 for n in case.tokens)) as timed:
        ours(case, those, ids)
    return whole, timed.seconds


def main() -> None:
    here = machine()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; seconds. Products: of the layers' matrices,")
    print("forward and backward; owner: its linear layers, when it is recorded and with the tuned weights.\n")
    print(f"| case | {' | '.join(COLUMNS)} | rest | all | floor: bytes | floor: operations |")
    print("| --- |" + " --- |" * (len(COLUMNS) + 4))
    for case in CASES:
        if not case.sdxl:
            torch.manual_seed(0)
            whole, found = seconds_of(case)
            parts = [found[name] for name in COLUMNS]
            numbers = [*parts, whole - sum(parts), whole, *floor(case, here)]
            print(f"| {case} | " + " | ".join(f"{n:.2f}" for n in numbers) + " |", flush=True)


if __name__ == "__main__":
    main()
