"""Low-rank updates: the change of a matrix is kept as two factors, as in LoRA (Hu et al. 2021), but exact.

The gradient of a linear layer is `delta^T x`, whose rank is at most the number of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """The matrix `s A^T B`, `[m, n]`, for A `[rank, m]`, B `[rank, n]`, and s a number or a tensor `[]`.

    Products have the dtype and the device of the other operand; A and B may be kept in another.
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
        """The whole matrix, in the dtype and on the device of `like`."""
        return (self.a.to(like).T * self._scale(like)) @ self.b.to(like)

    def _scale(self, like: Tensor) -> float | Tensor:
        return self.s.to(like) if isinstance(self.s, Tensor) else self.s


class Rows:
    """A growing matrix: rows are appended at each step, at most `capacity` of them."""

    def __init__(self, like: Tensor, capacity: int, width: int) -> None:
        self._buffer, self.filled = like.new_empty(capacity, width), 0

    def append(self, rows: Tensor) -> None:
        self._buffer[self.filled : self.filled + len(rows)] = rows
        self.filled += len(rows)

    def first(self, count: int) -> Tensor:
        return self._buffer[:count]
