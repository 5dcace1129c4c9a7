"""`x W^T`, by the fastest product that this machine has.

For fp32 on a CPU torch asks MKL, which runs AMD's processors at half of what they can do. oneDNN, which torch brings as
well and torch.compile takes, does not, and it reads a transposed matrix as it lies. (Zen 5, one core, a matrix of
3072 x 768: 10 rows in 0.7 ms against 1.2, 77 rows in 1.9 against 3.9.)
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

import torch
from torch import Tensor

_HAS_ONEDNN = (
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


def product(x: Tensor, w: Tensor) -> Tensor:
    """`x W^T` for x `[..., n]` and W `[m, n]`, of any strides."""
    ours = _HAS_ONEDNN and x.dtype == w.dtype == torch.float32 and x.device.type == w.device.type == "cpu"
    if ours and x.numel() and not torch.is_grad_enabled():  # it knows no gradient
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
        return y
    return x @ w.T


def outer(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """`A^T B` for A `[r, m]` and B `[r, n]`, some of its rows at a time: which, and what they hold.

    Where r is small, calls cost more than they compute, and all rows come at once; where it is large, what is made of
    parts that the CPU's cache holds is made faster.
    """
    height, width = a.shape[1], b.shape[1]
    step = height if len(a) < 64 else max(1, 2**18 // width)
    for rows in (slice(at, at + step) for at in range(0, height, step)):
        yield rows, product(a.T[rows].contiguous(), b.T)
