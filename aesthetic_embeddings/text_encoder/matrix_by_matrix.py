"""Weights that move one matrix at a time, for CPUs, where a step waits for memory.

A matrix moves during the backward pass, as soon as its gradient is known, and the gradient is freed: LOMO's fused
backward (Lv et al. 2023, arXiv 2306.09782). So the gradients of all matrices never exist at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..settings import Settings
from ..torch_states import gradients
from .low_rank import LowRank, Rows
from .matmul import outer, product
from .moving_weights import MovingWeights, moved_by
from .prompt import Prompt, detached_clone
from .replay import Change
from .towers import Affine, Layer, Slot, Tower
from .update_rules import Factor, Step, adam


class DenseMatrix:
    """A copy of a matrix `W` that moves: by a rule that is linear in the gradient, or by Adam with its two moments."""

    def __init__(self, slot: Slot, factor: Factor | None, like: Tensor) -> None:
        self.slot, self.factor, self.w = slot, factor, like.new_empty(slot.read().shape).copy_(slot.read())
        self.moments = [torch.zeros_like(self.w), torch.zeros_like(self.w)] if factor is None else []

    def times(self, x: Tensor) -> Tensor:
        """`x W^T`"""
        return product(x, self.w)

    def times_transposed(self, delta: Tensor) -> Tensor:
        """`delta W`"""
        return product(delta, self.w.T)

    def move(self, delta: Tensor, x: Tensor, step: Step) -> None:
        """Move along the gradient `delta^T x`."""
        c = None if self.factor is None else self.factor(step, lambda: gradient_norm(delta, x), self.w.numel())
        for rows, g in outer(delta, x):
            if c is None:
                m, v = self.moments
                adam([self.w[rows]], [g], [m[rows]], [v[rows]], step)
            else:
                self.w[rows].add_(g.mul_(c))

    def change(self) -> Tensor:
        """By how much the matrix has moved, computed in its place. The moments are freed."""
        self.moments.clear()
        return moved_by(self.w, self.slot.read())


class LowRankMatrix:
    """`W + s A^T B`: the stored matrix, which is not copied, and an update of low rank.

    inputs: the rows of B. Matrices with the same input share them.
    A and B are kept in half precision if W is stored so: their rounding loses far less of the update than merging it
    into W would. The scale s keeps A in range.
    """

    def __init__(self, slot: Slot, factor: Factor, scratch: Tensor, inputs: Rows, capacity: int) -> None:
        self.slot, self.factor, self.scratch, self.inputs = slot, factor, scratch, inputs
        self.deltas = Rows(kept_like(slot, scratch), capacity, len(slot.read()))
        self.scale: Tensor | None = None

    @property
    def w(self) -> Tensor:
        """In the working dtype. If it is stored in another, this is a copy, valid until the next matrix is read."""
        stored, scratch = self.slot.read(), self.scratch
        if (stored.dtype, stored.device) == (scratch.dtype, scratch.device):
            return stored
        return scratch[: stored.numel()].view(stored.shape).copy_(stored)

    def times(self, x: Tensor) -> Tensor:
        return product(x, self.w) + self.change().times(x)

    def times_transposed(self, delta: Tensor) -> Tensor:
        return product(delta, self.w.T) + self.change().times_transposed(delta)

    def move(self, delta: Tensor, x: Tensor, step: Step) -> None:
        c = self.factor(step, lambda: gradient_norm(delta, x), delta.shape[1] * x.shape[1])
        delta = delta * c
        if self.scale is None:
            largest = delta.abs().max()
            self.scale = torch.where(largest > 0, largest, 1.0)
        self.deltas.append(delta / self.scale)
        if self.inputs.filled < self.deltas.filled:
            self.inputs.append(x)

    def change(self) -> LowRank:
        rank = self.deltas.filled
        return LowRank(self.deltas.first(rank), self.inputs.first(rank), 1.0 if self.scale is None else self.scale)


Matrix: TypeAlias = "DenseMatrix | LowRankMatrix"


def kept_like(slot: Slot, working: Tensor) -> Tensor:
    """A tensor with the dtype and the device for the factors of an update."""
    stored = slot.read().dtype
    return working.new_empty(0, dtype=stored if stored in (torch.float16, torch.bfloat16) else working.dtype)


def gradient_norm(delta: Tensor, x: Tensor) -> Tensor:
    """`||delta^T x||_F`, from two Gram matrices of the prompt's length: `sum((delta delta^T) * (x x^T))`."""
    return torch.dot((delta @ delta.T).flatten(), (x @ x.T).flatten()).clamp_min(0.0).sqrt()


class _FusedBackward(torch.autograd.Function):
    """`x W^T`. Its backward moves W as soon as the gradient is known (LOMO)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Matrix, step: Step) -> Tensor:
        ctx.save_for_backward(x)
        ctx.matrix, ctx.step = matrix, step
        return matrix.times(x)

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor, None, None]:
        (x,), (delta,) = ctx.saved_tensors, deltas
        down = ctx.matrix.times_transposed(delta)  # through W as it was in the forward
        ctx.matrix.move(delta.flatten(0, -2), x.flatten(0, -2), ctx.step)
        return down, None, None


class _Recomputed(torch.autograd.Function):
    """A function of x that saves only x, and is computed again in the backward pass.

    torch.utils.checkpoint does the same, but its overhead is longer than a layer takes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.function = function
        return function(x)

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(ctx.function(x), x, deltas)[0], None


class MatrixByMatrix(MovingWeights):
    """Matrices move during the backward pass. Vectors and tables are leaves of autograd and move after it."""

    def __init__(self, tower: Tower, prompt: Prompt, settings: Settings) -> None:
        super().__init__(tower, prompt, settings)
        self.at = None if settings.preservation else prompt.ends
        self.matrices = dict(self._moving_matrices())
        self.vectors = {slot: detached_clone(slot.read(), self.like) for slot in self.vector_slots}
        self.rows, self.positions = prompt.rows, detached_clone(self.used_positions(), self.like)
        self.leaves = list(self.vectors.values()) if self.vectors_move else []
        self.leaves += [self.rows, self.positions] if self.tables_move else []
        for leaf in self.leaves:
            leaf.requires_grad_()
        self.moments = [torch.zeros_like(w) for w in self.leaves], [torch.zeros_like(w) for w in self.leaves]

    def _moving_matrices(self) -> Iterator[tuple[Slot, Matrix]]:
        scratch = self.like.new_empty(max(a.weight.read().numel() for layer in self.layers for a in layer.affines))
        for layer in self.layers:
            for affines, positions in self._by_input(layer):
                rank, shared = positions * self.settings.steps, None  # the rank of the whole update, at most
                for affine in affines:
                    slot = affine.weight
                    height, width = slot.read().shape
                    if self.rule.factor is None or rank * (height + width) > height * width:
                        yield slot, DenseMatrix(slot, self.rule.factor, self.like)
                    else:
                        shared = shared or Rows(kept_like(slot, scratch), rank, width)
                        yield slot, LowRankMatrix(slot, self.rule.factor, scratch, shared, rank)

    def _by_input(self, layer: Layer) -> list[tuple[list[Affine], int]]:
        """The layer's matrices, grouped by their input, with the number of positions of that input."""
        chunks, length = self.prompt.index.shape
        every = chunks * length
        if self.at is None or layer is not self.tower.layers[-1]:
            return [([layer.q, layer.k, layer.v], every), *(([a], every) for a in (layer.out, layer.fc1, layer.fc2))]
        return [([layer.k, layer.v], every), *(([a], chunks) for a in (layer.q, layer.out, layer.fc1, layer.fc2))]

    # ---- how the forward reads them

    def product(self, slot: Slot, x: Tensor) -> Tensor:
        y: Tensor = _FusedBackward.apply(x, self.matrices[slot], self.step)  # type: ignore[no-untyped-call]
        return y

    def activated(self, activation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        y: Tensor = _Recomputed.apply(x, activation)  # type: ignore[no-untyped-call]
        return y

    # ---- how they move

    def ascend(self, objective: Tensor) -> None:
        _, *gs = torch.autograd.grad(objective, [self.x, *self.leaves])  # the matrices move in here
        factor = self.rule.factor
        with gradients(False):
            if factor is None:
                adam(self.leaves, gs, *self.moments, self.step)
            else:
                for w, g in zip(self.leaves, gs, strict=True):
                    w.add_(g * factor(self.step, g.norm, g.numel()))
        self.set_step(self.step.k + 1)

    def changes(self) -> dict[Slot, Change]:
        changes: dict[Slot, Change] = {slot: matrix.change() for slot, matrix in self.matrices.items()}
        if self.vectors_move:
            changes |= {slot: moved_by(w, slot.read()) for slot, w in self.vectors.items()}
        return changes
