"""`x W^T`, by the fastest routine on this machine.

For fp32 on a CPU torch calls MKL, which reaches half of the speed of AMD's processors. oneDNN, which torch ships too,
reaches all of it, and reads a transposed matrix in place. (Zen 5, one core, a matrix of
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
    if ours and x.numel() and not torch.is_grad_enabled():  # it has no backward
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
        return y
    return x @ w.T


def outer(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """`A^T B` for A `[r, m]` and B `[r, n]`, in blocks of rows: yields each block's slice and values.

    A small r makes calls dearer than the arithmetic, so there is one block. For a large r, blocks that fit the CPU's
    cache are faster.
    """
    height, width = a.shape[1], b.shape[1]
    step = height if len(a) < 64 else max(1, 2**18 // width)
    for rows in (slice(at, at + step) for at in range(0, height, step)):
        yield rows, product(a.T[rows].contiguous(), b.T)
