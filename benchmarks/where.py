"""Shows where the time of one prompt goes: `python -m benchmarks.where`.

Kernels are timed one by one. The rest is the time of an undisturbed run minus theirs: small operations, autograd,
Python, and freeing memory.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .cases import Case, build_encoders, our_loop, prompt
from .floor import lower_bound, measure_machine
from .speed import CASES

KERNELS = {
    "mkldnn._linear_pointwise": "products",
    "aten.mm": "factors",
    "aten._fused_adam_": "Adam",
    "aten.addmm": "host",
    "aten.zero_": "fresh memory",
    "aten.zeros_like": "fresh memory",
    "aten.clone": "fresh memory",
    "aten.copy_": "fresh memory",
}
COLUMNS = ("products", "gradients", "factors", "Adam", "fresh memory", "host")


class Timed(TorchDispatchMode):
    """Counts seconds by kind of kernel. Products over `rank` positions are gradients."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.seconds = rank, Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        kernel = KERNELS.get(str(func.overloadpacket), "")
        self.seconds["gradients" if kernel == "products" and args[0].shape[-1] == self.rank else kernel] += seconds
        return result


def seconds_of(case: Case) -> tuple[float, Counter[str]]:
    """The seconds of one run, and of its kernels."""
    encoders, ids = build_encoders(case), prompt(case)
    our_loop(case, encoders, ids)  # warm up, for example oneDNN's kernels
    start = time.perf_counter()
    our_loop(case, encoders, ids)
    total = time.perf_counter() - start
    with Timed(sum(n + 2 for n in case.tokens)) as timed:
        our_loop(case, encoders, ids)
    return total, timed.seconds


def main() -> None:
    machine = measure_machine()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; seconds. Products: of the layers' matrices,")
    print("forward and backward; host: its linear layers, when it is recorded and with the tuned weights.\n")
    print(f"| case | {' | '.join(COLUMNS)} | rest | all | floor: bytes | floor: operations |")
    print("| --- |" + " --- |" * (len(COLUMNS) + 4))
    for case in CASES:
        if not case.sdxl:
            torch.manual_seed(0)
            total, by_kernel = seconds_of(case)
            parts = [by_kernel[name] for name in COLUMNS]
            numbers = [*parts, total - sum(parts), total, *lower_bound(case, machine)]
            print(f"| {case} | " + " | ".join(f"{n:.2f}" for n in numbers) + " |", flush=True)


if __name__ == "__main__":
    main()
