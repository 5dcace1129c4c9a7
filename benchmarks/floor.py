"""The floor: a lower bound on the time on this machine, from its memory bandwidth and its floating-point rate.

It counts the matrices of the tower's layers, which dominate. `P` is their number of weights, `T` the number of
positions up to the end of the text, and `R` the number of positions that the host runs the encoder on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from aesthetic_embeddings.text_encoder.matmul import product

from .cases import LENGTH, Case

TOWERS = {"CLIP ViT-L/14": (768, 12), "OpenCLIP ViT-bigG/14": (1280, 32)}  # width, layers


@dataclass(frozen=True)
class Machine:
    bandwidth: float  # bytes per second that `x += 1` reads and writes; copies are slower
    rate: float  # floating-point operations per second of a large fp32 matrix product


def measure_machine() -> Machine:
    large, x, y = torch.zeros(2**27), torch.randn(4096, 4096), torch.randn(4096, 4096)
    with torch.no_grad():
        return Machine(
            2 * large.nbytes / best_time(lambda: large.add_(1)), 2 * 4096**3 / best_time(lambda: product(x, y))
        )


def best_time(run: Callable[[], object], times: int = 10) -> float:
    seconds = []
    for _ in range(times + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def lower_bound(case: Case, machine: Machine) -> tuple[float, float]:
    """Lower bounds in seconds for this case: for moving its bytes, and for its operations."""
    towers = TOWERS.values() if case.sdxl else [(case.width, 12)]
    counts = [_count(case, width, layers) for width, layers in towers]
    byte_count, operations = (sum(column) for column in zip(*counts, strict=True))
    return byte_count / machine.bandwidth, operations / machine.rate


def _count(case: Case, width: int, layers: int) -> tuple[float, float]:
    """Bytes and operations of one tower.

    Four plain passes (to record, to check, for the last similarity, and the host's with the tuned weights) read every
    weight once. A step reads them forward and backward. If whole matrices are kept, it also computes their gradient,
    which a cache can hold, and updates: Adam reads and writes the weight and two moments, the other rules the weight.
    These were copied and cleared before. If the update is kept as factors, step k reads those of the steps before it.
    """
    matrices = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
    P = layers * sum(h * w for h, w in matrices)
    T = sum(n + 2 for n in case.tokens)
    R = LENGTH * len(case.tokens)
    stored = 2 if case.stored == "float16" else 4
    sides = layers * sum(h + w for h, w in matrices)
    factored = case.update != "adam" and T * case.steps * 2 * width <= width * width
    byte_count, operations = 4 * stored * P, 2 * P * (3 * T + R)
    for step in range(case.steps):
        operations += 2 * 2 * P * T
        if factored:
            byte_count += 2 * stored * (P + step * T * sides)
            operations += 2 * 2 * T * step * T * sides
        else:
            byte_count += 2 * 4 * P + 2 * 4 * P * (3 if case.update == "adam" else 1)
            operations += 2 * P * T
    if not factored:
        byte_count += P * (stored + 4) + (2 * 4 * P if case.update == "adam" else 0)
    return byte_count, operations
