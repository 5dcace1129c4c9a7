"""Weights that move all at once, for graphics cards, where memory is fast and every call costs.

All moving weights lie in one vector, so that a step of the update rule takes a handful of calls. The leaves of autograd
are views of that vector. A layer's q, k and v lie side by side in it, as one leaf and one product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..settings import Settings
from ..torch_states import gradients
from .moving_weights import MovingWeights, moved_by
from .prompt import Prompt
from .replay import Change
from .towers import Affine, Layer, Slot, Tower
from .update_rules import UPDATE_RULES, adam


class AllAtOnce(MovingWeights):
    """theta: the vector of all moving weights; weights: its views, by slot. The view at q's slot holds q, k and v."""

    def __init__(self, tower: Tower, prompt: Prompt, settings: Settings) -> None:
        super().__init__(tower, prompt, settings)
        affines = [group for layer in self.layers for group in _products(layer)]
        norms = [norm for layer in self.layers for norm in (layer.norm1, layer.norm2)] + [tower.final_norm]
        matrices = [[affine.weight for affine in group] for group in affines]
        biases = [[affine.bias for affine in group if affine.bias is not None] for group in affines]
        vectors = list(filter(None, biases)) + [[slot] for norm in norms for slot in (norm.weight, norm.bias)]
        moving, constant = (matrices + vectors, []) if self.vectors_move else (matrices, vectors)
        tables = [[prompt.rows], [self.used_positions()]] if self.tables_move else []

        groups = [[slot.read() for slot in group] for group in moving] + tables
        self.theta, self.leaves = _packed(groups, self.like)
        for leaf in self.leaves:
            leaf.requires_grad_()
        self.moments: list[Tensor] = []  # made at Adam's first step
        self.slots = [slot for group in moving for slot in group]
        self.sizes = [w.numel() for group in groups for w in group]
        self.sizes_on_device = torch.tensor(self.sizes).to(self.theta.device)
        self.block = math.gcd(*self.sizes)  # for matrices alone it is `width^2`
        self.blocks = self.sizes_on_device // max(self.block, 1)

        _, constants = _packed([[slot.read() for slot in group] for group in constant], self.like)
        read = [*self.leaves[: len(moving)], *constants]
        self.weights = {group[0]: w for group, w in zip(moving + constant, read, strict=True)}
        if self.tables_move:
            self.rows, self.positions = self.leaves[-2:]

    @staticmethod
    def has_room(tower: Tower, like: Tensor, settings: Settings) -> bool:
        """Whether the device has memory for the weights in the dtype of `like`, two gradients, and Adam's moments."""
        device: Any = getattr(torch, like.device.type, None)
        if not hasattr(device, "mem_get_info"):
            return True  # unknown; if memory runs out, the host tunes on the CPU
        free, _ = device.mem_get_info(like.device)
        if hasattr(device, "memory_reserved"):  # what torch holds and does not use
            free += device.memory_reserved(like.device) - device.memory_allocated(like.device)
        numbers = sum(affine.weight.read().numel() for layer in tower.layers for affine in layer.affines)
        copies = 3 if UPDATE_RULES[settings.update].factor else 5
        return bool(free > copies * numbers * like.element_size())

    # ---- how the forward reads them

    def vector(self, slot: Slot) -> Tensor:
        return self.weights[slot]

    def affine(self, affine: Affine, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[affine.weight], None if affine.bias is None else self.weights[affine.bias])

    def qkv(self, layer: Layer, x_q: Tensor, x_kv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.affine(layer.q, x_kv).chunk(3, -1)  # `at` is None here, so x_q is x_kv
        return q, k, v

    # ---- how they move

    def ascend(self, objective: Tensor) -> None:
        gs = torch.autograd.grad(objective, self.leaves)
        with gradients(False):
            g = torch.cat([part.flatten() for part in gs])
            if self.rule.factor is None:
                if not self.moments:
                    self.moments += [torch.zeros_like(self.theta), torch.zeros_like(self.theta)]
                m, v = self.moments
                adam([self.theta], [g], [m], [v], self.step)
            else:
                c = self.rule.factor(self.step, lambda: self._norms(g), self.sizes_on_device)
                if isinstance(c, Tensor) and c.dim():  # once a block: once a weight, it would take more memory than g
                    c = c.repeat_interleave(self.blocks, output_size=len(g) // self.block)[:, None]
                self.theta += g.view(-1, self.block).mul_(c).flatten()
        self.set_step(self.step.k + 1)

    def _norms(self, g: Tensor) -> Tensor:
        return torch.stack(torch._foreach_norm(g.split(self.sizes)))

    def changes(self) -> dict[Slot, Change]:
        self.moments.clear()
        moved = zip(self.slots, self.theta.split(self.sizes), strict=False)  # the tables come last, and are left out
        return {slot: moved_by(w.view(slot.read().shape), slot.read()) for slot, w in moved}


def _products(layer: Layer) -> list[list[Affine]]:
    """The layer's matrices, those with the same input together: they take one product."""
    return [[layer.q, layer.k, layer.v], [layer.out], [layer.fc1], [layer.fc2]]


def _packed(groups: Sequence[Sequence[Tensor]], like: Tensor) -> tuple[Tensor, list[Tensor]]:
    """All weights in one vector, and a view of it for each group, with the group's weights stacked."""
    if not groups:
        return like.new_empty(0), []
    vector = torch.cat([w.to(like).flatten() for group in groups for w in group])
    parts = vector.split([sum(w.numel() for w in group) for group in groups])
    return vector, [part.view(-1, *group[0].shape[1:]).detach() for part, group in zip(parts, groups, strict=True)]
