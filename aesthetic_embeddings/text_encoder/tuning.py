"""Aesthetic gradients (Gallego 2022, arXiv 2209.12330), equation 2: a few steps of state on the text tower's weights.

    c = CLIP_txt(y),   theta <- theta + eps * grad_theta  cos(c, e)

for one prompt y and a fixed unit vector e. What is left out below is left out exactly:

- attention is causal and the feature c is read at the end-of-text token, so positions behind it get no gradient, and
  those before it leave the last layer as its keys and values alone;
- rows of the embedding tables that the prompt does not use get no gradient either, and neither rule moves a weight
  whose gradients were all zero;
- a matrix's gradient is `delta^T x`, of a rank no higher than the number of tokens, so where the update is linear in it
  the update is kept as its factors, and the tuned matrix is never formed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim.adam import adam as torch_adam

from ..aesthetics.vectors import unit
from ..errors import EncoderError
from ..settings import Settings
from ..torch_states import no_autocast_or_inference
from .matmul import Factors, outer, product
from .recording import Recording, first_layer_input, working_dtype
from .replay import Value, tuned_weights_applied
from .towers import Layer, Slot, Tower, Weights, hidden_states

# ---------------------------------------------------------------- the update rules
# `g` is the gradient of the objective, which is climbed; k = 1 ... n counts the steps.


#: The fused kernel is there for the CPU from torch 2.4 on.
FUSED = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4)


def adam(ws: list[Tensor], gs: list[Tensor], ms: list[Tensor], vs: list[Tensor], eps: float, k: int) -> None:
    """One step of Adam (Kingma & Ba 2015, algorithm 1) for each w, in place, as torch.optim takes it in the published
    code.

    m += (1 - beta1) (g - m),   v += (1 - beta2) (g^2 - v)
    w += eps * m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k)) + 1e-8)
    """
    device = ws[0].device
    torch_adam(
        *(ws, gs, ms, vs, []),
        [torch.tensor(float(k - 1), device=device) for _ in ws],
        fused=FUSED and device.type in ("cpu", "cuda"),  # one pass over memory
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=eps,
        weight_decay=0.0,
        eps=1e-8,
        maximize=True,
    )


def linear_step(settings: Settings, delta: Tensor, x: Tensor, k: int) -> float:
    """The factor c of `w += c * g` for a matrix with `g = delta^T x`, under the two rules that are linear in g.

    gradient:    w += eps * g                                                   (the paper's equation 2)
    normalized:  w += eps * (1 - (k-1)/n) * sqrt(numel(w)) * g / ||g||_F        (no step where g = 0)

    The first normalized step has the root-mean-square size of Adam's; the decay ends the oscillation that a constant
    size shows. `||delta^T x||_F^2 = sum((delta delta^T) * (x x^T))` needs no matrix of w's size.
    """
    if settings.update == "gradient":
        return settings.epsilon
    norm = math.sqrt(max(0.0, float(torch.dot((delta @ delta.T).flatten(), (x @ x.T).flatten()))))
    decay = 1 - (k - 1) / settings.steps
    return settings.epsilon * decay * (delta.shape[1] * x.shape[1]) ** 0.5 / norm if norm > 0 else 0.0


# ---------------------------------------------------------------- matrices that move


class DenseMatrix:
    """`W`, a copy that moves; for Adam with its two moments."""

    def __init__(self, stored: Tensor, settings: Settings, like: Tensor) -> None:
        self.w, self.settings = like.new_empty(stored.shape).copy_(stored), settings
        if settings.update == "adam":
            self.m, self.v = torch.zeros_like(self.w), torch.zeros_like(self.w)

    def times(self, x: Tensor) -> Tensor:
        """`x W^T`"""
        return product(x, self.w)

    def times_transposed(self, delta: Tensor) -> Tensor:
        """`delta W`"""
        return product(delta, self.w.T)

    def step(self, delta: Tensor, x: Tensor, k: int) -> None:
        """Take step k along the gradient `delta^T x`."""
        uses_adam = self.settings.update == "adam"
        factor = self.settings.epsilon if uses_adam else linear_step(self.settings, delta, x, k)
        for rows, g in outer(delta, x):
            if uses_adam:
                adam([self.w[rows]], [g], [self.m[rows]], [self.v[rows]], factor, k)
            else:
                self.w[rows].add_(g, alpha=factor)

    def outcome(self) -> Callable[[], Tensor]:
        return self.w.detach  # and let the moments go


class Rows:
    """Rows that are appended step by step, `capacity` at most."""

    def __init__(self, like: Tensor, capacity: int, width: int) -> None:
        self._buffer, self.filled = like.new_empty(capacity, width), 0

    def append(self, rows: Tensor) -> None:
        self._buffer[self.filled : self.filled + len(rows)] = rows
        self.filled += len(rows)

    def first(self, count: int) -> Tensor:
        return self._buffer[:count]


class FactoredMatrix:
    """`W + s A^T B`: the stored matrix, read where it lies, and an update kept as its factors.

    inputs: the rows of B, which matrices with the same input share. Where W is stored in half precision so are A and
    B, whose rounding takes far less from the update than merging it into W would. The scale s keeps A in range.
    """

    def __init__(self, slot: Slot, settings: Settings, scratch: Tensor, inputs: Rows, capacity: int) -> None:
        self.slot, self.settings, self.scratch, self.inputs = slot, settings, scratch, inputs
        self.deltas, self.scale = Rows(kept_like(slot, scratch), capacity, len(slot.read())), 1.0

    @property
    def w(self) -> Tensor:
        """In the working dtype: where it is stored in another, a cast copy that lasts until the next matrix is read."""
        stored, scratch = self.slot.read(), self.scratch
        if (stored.dtype, stored.device) == (scratch.dtype, scratch.device):
            return stored
        return scratch[: stored.numel()].view(stored.shape).copy_(stored)

    @property
    def update(self) -> Factors:
        rank = self.deltas.filled
        return Factors(self.deltas.first(rank), self.inputs.first(rank), self.scale)

    def times(self, x: Tensor) -> Tensor:
        return product(x, self.w) + self.update.times(x)

    def times_transposed(self, delta: Tensor) -> Tensor:
        return product(delta, self.w.T) + self.update.times_transposed(delta)

    def step(self, delta: Tensor, x: Tensor, k: int) -> None:
        step = linear_step(self.settings, delta, x, k)
        if k == 1:
            self.scale = step * float(delta.abs().max()) or 1.0
        self.deltas.append(delta * (step / self.scale))
        if self.inputs.filled < self.deltas.filled:
            self.inputs.append(x)

    def outcome(self) -> Factors:
        return self.update


def kept_like(slot: Slot, working: Tensor) -> Tensor:
    """A tensor of the dtype and on the device that the factors of an update are kept in."""
    stored = slot.read().dtype
    return working.new_empty(0, dtype=stored if stored in (torch.float16, torch.bfloat16) else working.dtype)


Matrix: TypeAlias = "DenseMatrix | FactoredMatrix"


class _Product(torch.autograd.Function):
    """`x W^T`, whose backward moves W by the gradient as soon as that is known, and then forgets it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Matrix, k: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.matrix, ctx.k = matrix, k
        return matrix.times(x)

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor, None, None]:
        (x,), (delta,) = ctx.saved_tensors, deltas
        down = ctx.matrix.times_transposed(delta)  # through W as it was in the forward
        ctx.matrix.step(delta.flatten(0, -2), x.flatten(0, -2), ctx.k)
        return down, None, None


class _Recomputed(torch.autograd.Function):
    """A function of x that keeps x alone, and is computed again in the backward pass. (torch.utils.checkpoint takes
    longer than a layer.)"""

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


# ---------------------------------------------------------------- tuning


@dataclass(frozen=True)
class Outcome:
    """What tuning moved: see `replay.tuned_weights_applied`."""

    values: Mapping[Slot, Value] = field(default_factory=dict)
    row_ids: Tensor | None = None
    rows: Tensor | None = None


@dataclass(frozen=True)
class Tuned:
    """A tower tuned for one prompt, and `steps + 1` similarities: before, after each step."""

    tower: Tower
    similarities: tuple[float, ...]
    outcome: Outcome = Outcome()

    def applied(self) -> AbstractContextManager[None]:
        """A block inside which the tower's owner computes with the tuned weights."""
        return tuned_weights_applied(self.tower, self.outcome.values, self.outcome.row_ids, self.outcome.rows)


def tune(
    tower: Tower,
    record: Recording,
    e: Tensor,
    projection: Tensor,
    settings: Settings,
    on_step: Callable[[int, float], None] | None = None,
) -> Tuned:
    """Ascend the objective for one prompt; the tower itself is only read.

    record: the tower's call on the prompt, `[chunks, length]`; the objective is the mean over those that hold text.
    e: `[dim]`, the aesthetic; only its direction counts. projection: `[dim, width]`.
    on_step: called with the number of steps done and the similarity then; what it raises ends the tuning.
    An empty prompt is left alone, as published. Raises EncoderError where e or the projection do not fit the tower.
    """
    if projection.shape != (e.numel(), tower.width):
        raise EncoderError(
            f"An aesthetic of {e.numel()} numbers and a projection of {tuple(projection.shape)} do not fit a "
            f"text encoder {tower.width} wide. Use an aesthetic that was made for this model's CLIP."
        )
    report = on_step or (lambda k, similarity: None)
    with no_autocast_or_inference(record.inputs.device.type):
        prompt = Prompt(tower, record)
        e, projection = (
            detached_clone(unit(e.flatten().cpu().double()), prompt.inputs),
            detached_clone(projection, prompt.inputs),
        )
        if settings.changes_nothing or prompt.empty:
            similarity = float(prompt.similarity(prompt.pooled(prompt.hidden), projection, e))
            return Tuned(tower, (similarity,) * (settings.steps + 1))
        state = TuningState(tower, prompt, e, projection, settings)
        similarities = []
        for k in range(settings.steps + 1):
            similarities.append(state.step(k + 1) if k < settings.steps else state.similarity())
            report(k, similarities[-1])
        return Tuned(tower, tuple(similarities), state.outcome())


def text_feature(tower: Tower, record: Recording, projection: Tensor) -> Tensor:
    """The direction of a recorded text, `[dim]`: the mean over its chunks of `c / ||c||`."""
    with no_autocast_or_inference(record.inputs.device.type), torch.no_grad():
        prompt = Prompt(tower, record)
        return unit(prompt.pooled(prompt.hidden) @ detached_clone(projection, prompt.inputs).T).mean(0)


def detached_clone(x: Tensor, like: Tensor) -> Tensor:
    """A detached clone of `x`, which autograd accepts, in the dtype and on the device of `like`."""
    return x.detach().to(like.dtype).to(like.device).clone()  # in this order: not every device knows fp64


class Prompt:
    """What of a recorded prompt the objective depends on: the chunks that hold text, each up to its end-of-text token.

    inputs, hidden: `[chunks, length, width]`, recorded token embeddings and final hidden states; ends: `[chunks]`, the
    end-of-text positions; used: `[chunks, length]`, True up to them; ids: the distinct tokens, sorted `[n]`;
    which: `[chunks, length]`, each position's index in ids; rows: `[n, width]`, theirs in the embedding table;
    constant: `[chunks, length]`, True where a textual-inversion vector stands in for the row.
    """

    def __init__(self, tower: Tower, record: Recording) -> None:
        ends = tower.end_of_text(record.ids)
        keep = ends > 1  # position 0 is the beginning-of-text token; where the end follows at once, there is no text
        self.empty = not bool(keep.any())
        keep |= self.empty  # an empty prompt still has a similarity
        self.ends = ends[keep]
        self.length = length = int(self.ends.max()) + 1
        recorded = record.inputs[keep, :length]
        like = torch.empty((), dtype=working_dtype(tower), device=recorded.device)
        self.inputs, self.hidden = detached_clone(recorded, like), detached_clone(record.hidden[keep, :length], like)
        self.used = torch.arange(length, device=ends.device) <= self.ends[:, None]
        self.ids, self.which = torch.unique(record.ids[keep, :length], return_inverse=True)
        table = tower.table.read()
        rows = table[self.ids.to(table.device)].to(recorded.device)
        self.rows = detached_clone(rows, like)
        self.constant = (rows.to(recorded.dtype)[self.which] != recorded).any(-1)

    def pooled(self, hidden: Tensor) -> Tensor:
        """The hidden states at the end-of-text tokens, `[chunks, width]`."""
        return hidden[torch.arange(len(hidden), device=hidden.device), self.ends]

    def similarity(self, pooled: Tensor, projection: Tensor, e: Tensor) -> Tensor:
        """`c . e / ||c||` with `c` the projected text feature, mean over the chunks; the paper's equation 1."""
        c = pooled @ projection.T
        return (c @ e / c.norm(dim=-1)).mean()


class TuningState(Weights):
    """The state of tuning one prompt: every weight that may move, by the slot it came from."""

    def __init__(self, tower: Tower, prompt: Prompt, e: Tensor, projection: Tensor, settings: Settings) -> None:
        super().__init__(like=prompt.inputs)
        self.tower, self.prompt, self.settings = tower, prompt, settings
        self.e, self.projection = e, projection
        self.k = 0
        self.only = None if settings.preservation else prompt.ends  # where the objective reads the hidden states
        layers, whole = len(tower.layers), settings.last_layers == 0
        self.first = 0 if whole else max(0, layers - settings.last_layers)
        moving = tower.layers[self.first :]

        self.matrices = dict(self._matrices(moving))
        norm = tower.final_norm
        slots = [slot for layer in moving for slot in layer.vectors] + [norm.weight, norm.bias]
        self.vectors = {slot: detached_clone(slot.read(), self.like) for slot in slots}
        self.rows, self.positions = prompt.rows, detached_clone(tower.positions.read()[: prompt.length], self.like)

        # `normalized` moves matrices alone: the padding shares tables and norms, and the subject goes with them
        self.leaves = [] if settings.update == "normalized" else list(self.vectors.values())
        self.tables_move = bool(self.leaves) and whole
        self.leaves += [self.rows, self.positions] if self.tables_move else []
        for leaf in self.leaves:
            leaf.requires_grad_()
        self.moments = [torch.zeros_like(w) for w in self.leaves], [torch.zeros_like(w) for w in self.leaves]

        with torch.no_grad():
            self.entry = hidden_states(
                tower, first_layer_input(tower, prompt.inputs), Weights(self.like), 0, self.first
            )

    def _matrices(self, layers: Sequence[Layer]) -> Iterator[tuple[Slot, Matrix]]:
        scratch = self.like.new_empty(max(a.weight.read().numel() for layer in layers for a in layer.affines))
        chunks, length = self.prompt.which.shape
        for layer in layers:
            inputs: dict[tuple[object, int], Rows] = {}
            for affine in layer.affines:
                slot, of_all = affine.weight, self.only is None or layer is not self.tower.layers[-1]
                of_all = of_all or affine in (layer.k, layer.v)
                rank = chunks * (length if of_all else 1) * self.settings.steps  # of the whole update, at most
                height, width = slot.read().shape
                if self.settings.update == "adam" or rank * (height + width) > height * width:
                    yield slot, DenseMatrix(slot.read(), self.settings, self.like)
                else:
                    source = layer.norm1 if affine in (layer.q, layer.k, layer.v) else affine
                    shared = inputs.setdefault((source, rank), Rows(kept_like(slot, scratch), rank, width))
                    yield slot, FactoredMatrix(slot, self.settings, scratch, shared, rank)

    # how `hidden_states` reads the weights

    def vector(self, slot: Slot) -> Tensor:
        return self.vectors[slot]

    def product(self, slot: Slot, x: Tensor) -> Tensor:
        return _Product.apply(x, self.matrices[slot], self.k)

    def activated(self, activation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return _Recomputed.apply(x, activation)

    # the objective

    def _input(self) -> Tensor:
        """What the first moving layer sees, `[chunks, length, width]`."""
        if not self.tables_move:
            return self.entry.detach().requires_grad_()
        prompt = self.prompt
        return torch.where(prompt.constant[..., None], prompt.inputs, self.rows[prompt.which]) + self.positions

    def _objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The similarity `cos(c, e)`, mean over the chunks, and what is climbed: that, less the preservation term

        `preservation * ||h - h_plain||^2 / ||h_plain||^2` over the hidden states up to the end-of-text tokens.
        """
        hidden = hidden_states(self.tower, x, self, self.first, only=self.only)
        pooled = hidden[:, 0] if self.only is not None else self.prompt.pooled(hidden)
        similarity = self.prompt.similarity(pooled, self.projection, self.e)
        if self.only is not None:
            return similarity, similarity
        h, plain = hidden[self.prompt.used], self.prompt.hidden[self.prompt.used]
        drift = (h - plain).square().sum() / plain.square().sum()
        return similarity, similarity - self.settings.preservation * drift

    @torch.no_grad()
    def similarity(self) -> float:
        return float(self._objective(self._input())[0])

    def step(self, k: int) -> float:
        """Take step `k` (from 1) and return the similarity before it. Matrices move during the backward pass."""
        self.k = k
        with torch.enable_grad():
            x = self._input()
            similarity, objective = self._objective(x)
            _, *gradients = torch.autograd.grad(objective, [x, *self.leaves])
        with torch.no_grad():
            if self.leaves and self.settings.update == "adam":
                adam(self.leaves, gradients, *self.moments, self.settings.epsilon, k)
            elif self.leaves:  # equation 2
                torch._foreach_add_(self.leaves, gradients, alpha=self.settings.epsilon)
        return float(similarity.detach())

    def outcome(self) -> Outcome:
        values: dict[Slot, Value] = {slot: matrix.outcome() for slot, matrix in self.matrices.items()}
        if self.leaves:
            values |= {slot: vector.detach for slot, vector in self.vectors.items()}
        if not self.tables_move:
            return Outcome(values)
        tuned, stored = self.positions.detach(), self.tower.positions
        values[stored] = lambda: torch.cat([tuned, stored.read()[len(tuned) :].to(tuned)])
        # rows under textual-inversion vectors, or behind the end, did not move
        moved = torch.unique(self.prompt.which[self.prompt.used & ~self.prompt.constant])
        return Outcome(values, self.prompt.ids[moved], self.rows.detach()[moved])
