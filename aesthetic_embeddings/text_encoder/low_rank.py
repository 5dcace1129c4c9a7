"""Low-rank updates: a change of a matrix kept as its factors, as LoRA keeps one (Hu et al. 2021), but exact.

The gradient of a linear layer is `delta^T x`, of a rank no higher than the number of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """A matrix `[m, n]` of low rank, `s A^T B`, from A `[rank, m]` and B `[rank, n]`; never formed unless it must be.

    s is a number, or a tensor `[]`. What the matrix is multiplied by tells the dtype and the device of the result; A
    and B may be kept in another.
    """

    a: Tensor
    b: Tensor
    s: float | Tensor = 1.0

    def times(self, x: Tensor) -> Tensor:
        """`x (s A^T B)^T`"""
        return (x @ self.b.to(x).T) * self._scale(x) @ self.a.to(x)

    def times_transposed(self, delta: Tensor) -> Tensor:
        """`delta (s A^T B)`"""
        return (delta @ self.a.to(delta).T) * self._scale(delta) @ self.b.to(delta)

    def formed(self, like: Tensor) -> Tensor:
        return (self.a.to(like).T * self._scale(like)) @ self.b.to(like)

    def _scale(self, like: Tensor) -> float | Tensor:
        return self.s.to(like) if isinstance(self.s, Tensor) else self.s


class Rows:
    """Rows that are appended step by step, `capacity` at most."""

    def __init__(self, like: Tensor, capacity: int, width: int) -> None:
        self._buffer, self.filled = like.new_empty(capacity, width), 0

    def append(self, rows: Tensor) -> None:
        self._buffer[self.filled : self.filled + len(rows)] = rows
        self.filled += len(rows)

    def first(self, count: int) -> Tensor:
        return self._buffer[:count]
