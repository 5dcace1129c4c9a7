"""How fast this machine could be at best: bytes over the bandwidth of its memory, operations over its rate.

Counted for the matrices of the tower's layers, which are nearly all of it. `P` is their number of weights, `T` the
number of positions up to the end of the text, `R` that of positions which the encoder's owner runs through.
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
    bandwidth: float  # bytes per second, read and written by `x += 1`; a copy has less of it here
    rate: float  # floating-point operations per second, of a product of two large matrices in fp32


def machine() -> Machine:
    large, x, y = torch.zeros(2**27), torch.randn(4096, 4096), torch.randn(4096, 4096)
    with torch.no_grad():
        return Machine(2 * large.nbytes / best(lambda: large.add_(1)), 2 * 4096**3 / best(lambda: product(x, y)))


def best(run: Callable[[], object], times: int = 10) -> float:
    seconds = []
    for _ in range(times + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def floor(case: Case, machine: Machine) -> tuple[float, float]:
    """Seconds that no implementation of this case can beat here: moving its bytes, and doing its operations."""
    towers = TOWERS.values() if case.sdxl else [(case.width, 12)]
    counts = [_counted(case, width, layers) for width, layers in towers]
    moved, done = (sum(column) for column in zip(*counts, strict=True))
    return moved / machine.bandwidth, done / machine.rate


def _counted(case: Case, width: int, layers: int) -> tuple[float, float]:
    """Bytes and operations of one tower.

    Four plain passes (to record, to check, for the last similarity, and the owner's with the tuned weights) read every
    weight once. A step reads them forward and backward. Where matrices are kept whole it also makes their gradient,
    which a cache can hold, and updates: Adam reads and writes weight and two moments, the other rules the weight; these
    were first copied and cleared. Where the update is kept as factors, step k reads those of the steps before it.
    """
    matrices = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
    P = layers * sum(h * w for h, w in matrices)
    T = sum(n + 2 for n in case.tokens)
    R = LENGTH * len(case.tokens)
    stored = 2 if case.stored == "float16" else 4
    sides = layers * sum(h + w for h, w in matrices)
    factored = case.update != "adam" and T * case.steps * 2 * width <= width * width
    moved, done = 4 * stored * P, 2 * P * (3 * T + R)
    for k in range(case.steps):
        done += 2 * 2 * P * T
        if factored:
            moved += 2 * stored * (P + k * T * sides)
            done += 2 * 2 * T * k * T * sides
        else:
            moved += 2 * 4 * P + 2 * 4 * P * (3 if case.update == "adam" else 1)
            done += 2 * P * T
    if not factored:
        moved += P * (stored + 4) + (2 * 4 * P if case.update == "adam" else 0)
    return moved, done
