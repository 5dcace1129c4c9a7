"""The weights while one prompt is tuned: those that may move, by the slots they come from.

How they are kept and moved is told by two subclasses, which find the same up to rounding. matrix_by_matrix.py touches
as little memory as it can, which is what a step waits for on a processor; all_at_once.py makes as few calls as it can.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..settings import Settings
from ..torch_states import gradients
from .forward import Weights, hidden_states
from .prompt import Prompt
from .replay import Change, Tuned
from .towers import Slot, Tower
from .update_rules import UPDATE_RULES, Step


class MovingWeights(Weights):
    """theta'.

    layers: the tower's layers that move, all but the first `first`; entry: what these are given where nothing moves
    below them; vectors: biases and norms; rows, positions: of the two embedding tables, what the prompt uses.
    at: where the objective reads the hidden states, or None where it is given all of them.
    """

    vectors: dict[Slot, Tensor]
    rows: Tensor
    positions: Tensor
    at: Tensor | None = None

    def __init__(self, tower: Tower, prompt: Prompt, settings: Settings) -> None:
        super().__init__(like=prompt.inputs)
        self.tower, self.prompt, self.settings = tower, prompt, settings
        self.rule = UPDATE_RULES[settings.update]
        all_move = settings.last_layers == 0
        self.first = 0 if all_move else max(0, len(tower.layers) - settings.last_layers)
        self.layers = tower.layers[self.first :]
        norm = tower.final_norm
        self.vector_slots = [slot for layer in self.layers for slot in layer.vectors] + [norm.weight, norm.bias]
        self.vectors_move = not self.rule.matrices_only
        self.tables_move = self.vectors_move and all_move
        with gradients(False):
            below = prompt.inputs + self.used_positions().to(self.like)
            self.entry = hidden_states(tower, below, Weights(self.like), 0, self.first)
        self.counts = torch.arange(1.0, settings.steps + 1, device=self.like.device)
        self.set_step(1)

    def used_positions(self) -> Tensor:
        """The stored position embeddings up to the end of the prompt, `[length, width]`."""
        return self.tower.positions.read()[: self.prompt.length]

    def set_step(self, k: int) -> None:
        n = self.settings.steps
        self.next = Step(k, n, self.settings.epsilon, self.counts[min(k, n) - 1])

    def vector(self, slot: Slot) -> Tensor:
        return self.vectors[slot]

    def hidden_states(self) -> Tensor:
        """`[chunks, length, width]`, or `[chunks, 1, width]` where only the end-of-text tokens' are asked for."""
        self.x = self.entry.detach().requires_grad_()
        if self.tables_move:
            tokens = F.embedding(self.prompt.which, self.rows)
            if self.prompt.any_constant:
                tokens = torch.where(self.prompt.constant[..., None], self.prompt.inputs, tokens)
            self.x = tokens + self.positions
        return hidden_states(self.tower, self.x, self, self.first, at=self.at)

    @abstractmethod
    def ascend(self, objective: Tensor) -> None:
        """One step of the update rule along the gradient of `objective`."""

    @abstractmethod
    def changes(self) -> Mapping[Slot, Change]:
        """What every moved matrix and vector has moved by; the weights are let go for it."""

    def tuned(self, similarities: tuple[float, ...]) -> Tuned:
        """The tower with what has moved. Nothing moves here afterwards."""
        tower, prompt = self.tower, self.prompt
        with gradients(False):
            changes = self.changes()
            if not self.tables_move:
                return Tuned(tower, similarities, changes)
            positions = moved_by(self.positions, self.used_positions())
            # rows under textual-inversion vectors, or behind the end, did not move
            moved = torch.unique(prompt.which[prompt.used & ~prompt.constant])
            rows = prompt.ids[moved], self.rows.detach()[moved]
            return Tuned(tower, similarities, changes, positions, rows)


def moved_by(w: Tensor, stored: Tensor) -> Tensor:
    """`w - stored`, in the place of w."""
    return w.detach().sub_(stored.to(w))
