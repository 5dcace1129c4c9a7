"""Applies tuned weights to a tower while the host encodes again.

No parameter is replaced. A hook corrects a module's output to that of its tuned weights. It computes in the precision
of the tuning, even if the module stores or computes in less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..torch_states import no_autocast
from .forward import Weights, attention
from .hooks import Hook, hooked
from .low_rank import LowRank
from .matmul import product
from .towers import Affine, Layer, Norm, Slot, Tower, working_dtype

#: The difference of a tuned parameter and the stored one.
Change: TypeAlias = "Tensor | LowRank"


@dataclass(frozen=True)
class Tuned:
    """A tower tuned for one prompt.

    Attributes:
        tower: The tower, with its weights as they are stored.
        similarities: `steps + 1` cosines of prompt and aesthetic: before tuning, then after each step.
        changes: Slot -> difference of the tuned and the stored weights.
        positions: `[length, width]`, the same for the first position embeddings.
        rows: Sorted token ids `[n]`, and their tuned rows of the embedding table, `[n, width]`.
    """

    tower: Tower
    similarities: tuple[float, ...]
    changes: Mapping[Slot, Change] = field(default_factory=dict)
    positions: Tensor | None = None
    rows: tuple[Tensor, Tensor] | None = None

    def applied(self) -> AbstractContextManager[None]:
        """A block inside which the host computes with the tuned weights, in this thread."""
        return hooked(self._hooks())

    def _hooks(self) -> Iterator[tuple[nn.Module, Hook]]:
        if self.rows is not None:
            yield self.tower.table.module, _rows(*self.rows)
        if self.positions is not None:
            yield self.tower.embedding, _positions(self.positions)
        for module, output in _outputs(self.tower, self.changes):
            yield module, self._hook(output)

    def _hook(self, output: Output) -> Hook:
        dtype = working_dtype(self.tower)

        def corrected(x: Tensor, out: Any) -> Any:
            # nn.MultiheadAttention returns its attention weights as well
            plain, *rest = out if isinstance(out, tuple) else (out,)
            with no_autocast(plain.device.type):
                weights = _TunedWeights(self.changes, like=plain.new_empty(0, dtype=dtype))
                tuned = output(weights, x.to(weights.like), plain).to(plain)
            return (tuned, *rest) if isinstance(out, tuple) else tuned

        return corrected


class _TunedWeights(Weights):
    """How the forward reads stored weights with their changes added."""

    def __init__(self, changes: Mapping[Slot, Change], like: Tensor) -> None:
        super().__init__(like)
        self.changes = changes

    def vector(self, slot: Slot) -> Tensor:
        return self.read(slot) + self.added(slot)

    def product(self, slot: Slot, x: Tensor) -> Tensor:
        return super().product(slot, x) + self.added(slot, x)

    def added(self, slot: Slot | None, x: Tensor | None = None) -> Tensor | float:
        """What the change of a slot adds to the vector there, or to the product of x with the matrix there."""
        change = None if slot is None else self.changes.get(slot)
        if change is None:
            return 0.0
        if x is None:
            assert isinstance(change, Tensor)
            return change.to(self.like)
        return change.times(x) if isinstance(change, LowRank) else product(x, change.to(x))


#: A module's output with tuned weights, from these weights, its input, and its plain output.
Output: TypeAlias = Callable[[_TunedWeights, Tensor, Tensor], Tensor]


def _outputs(tower: Tower, changes: Mapping[Slot, Change]) -> Iterator[tuple[nn.Module, Output]]:
    """Every module of the tower that computes with a changed slot, and its tuned output."""

    def changed(*parts: Affine | Norm) -> bool:
        return any(part.weight in changes or part.bias in changes for part in parts)

    for layer in tower.layers:
        attended = [layer.q, layer.k, layer.v, layer.out]
        if layer.attention is None:
            yield from ((a.weight.module, _affine(a)) for a in attended if changed(a))
        elif changed(*attended):
            yield layer.attention, _attention(layer, tower.heads)
        yield from ((a.weight.module, _affine(a)) for a in (layer.fc1, layer.fc2) if changed(a))
        yield from ((norm.weight.module, _norm(norm)) for norm in (layer.norm1, layer.norm2) if changed(norm))
    if changed(tower.final_norm):
        yield tower.final_norm.weight.module, _norm(tower.final_norm)


def _affine(affine: Affine) -> Output:
    return lambda weights, x, out: out.to(x) + weights.added(affine.weight, x) + weights.added(affine.bias)


def _norm(norm: Norm) -> Output:
    return lambda weights, x, out: weights.norm(norm, x)


def _attention(layer: Layer, heads: int) -> Output:
    """For nn.MultiheadAttention, which does not call its matrices as modules."""

    def attended(weights: _TunedWeights, x: Tensor, out: Tensor) -> Tensor:
        if getattr(layer.attention, "batch_first", False):
            return attention(layer, heads, weights, x, x)
        x = x.transpose(0, 1)
        return attention(layer, heads, weights, x, x).transpose(0, 1)

    return attended


def _rows(row_ids: Tensor, rows: Tensor) -> Hook:
    """For the embedding table: the tuned rows in place of the stored ones."""

    def tuned_rows(ids: Tensor, out: Tensor) -> Tensor:
        ids = ids.to(row_ids.device).contiguous()  # else searchsorted warns
        at = torch.searchsorted(row_ids, ids).clamp(max=len(row_ids) - 1)
        return torch.where((row_ids[at] == ids)[..., None].to(out.device), rows[at].to(out), out)

    return tuned_rows


def _positions(positions: Tensor) -> Hook:
    """For the token embedding: the host adds the stored position embeddings to its output, this adds their changes."""

    def add(_: Tensor, out: Tensor) -> Tensor:
        sums, length = out.to(positions.dtype, copy=True), min(out.shape[-2], len(positions))
        sums[..., :length, :] += positions[:length].to(sums.device)
        return sums.to(out.dtype)

    return add
