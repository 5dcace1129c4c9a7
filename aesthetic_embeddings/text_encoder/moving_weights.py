"""The weights that move while one prompt is tuned.

Two subclasses store and move them. Their results agree up to rounding. matrix_by_matrix.py touches as little memory as
possible, since a step on a CPU waits for memory. all_at_once.py makes as few calls as possible, since a step on a
graphics card waits for calls.
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
    """theta' of equation 2.

    layers: the layers that move: all but the first `first`.
    x: the input of these layers, `[chunks, length, width]`; fixed_x: the same if nothing below them moves.
    vectors: biases and norms, by slot.
    rows, positions: the used rows of the token and of the position embedding table.
    at: `[chunks]`, the positions at which the objective reads the hidden states; None if it reads all.
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
            first_input = prompt.inputs + self.used_positions().to(self.like)
            self.fixed_x = hidden_states(tower, first_input, Weights(self.like), 0, self.first)
        self.counts = torch.arange(1.0, settings.steps + 1, device=self.like.device)
        self.set_step(1)

    def used_positions(self) -> Tensor:
        """The stored position embeddings up to the end of the prompt, `[length, width]`."""
        return self.tower.positions.read()[: self.prompt.length]

    def set_step(self, k: int) -> None:
        n = self.settings.steps
        self.step = Step(k, n, self.settings.epsilon, self.counts[min(k, n) - 1])

    def vector(self, slot: Slot) -> Tensor:
        return self.vectors[slot]

    def hidden_states(self) -> Tensor:
        """`[chunks, length, width]`, or `[chunks, 1, width]` at the positions `at`."""
        self.x = self.fixed_x.detach().requires_grad_()
        if self.tables_move:
            tokens = F.embedding(self.prompt.index, self.rows)
            if self.prompt.any_constant:
                tokens = torch.where(self.prompt.constant[..., None], self.prompt.inputs, tokens)
            self.x = tokens + self.positions
        return hidden_states(self.tower, self.x, self, self.first, at=self.at)

    @abstractmethod
    def ascend(self, objective: Tensor) -> None:
        """Take one step of the update rule along the gradient of `objective`."""

    @abstractmethod
    def changes(self) -> Mapping[Slot, Change]:
        """By how much every matrix and vector has moved. The weights are gone afterwards: their memory is reused."""

    def tuned(self, similarities: tuple[float, ...]) -> Tuned:
        """The tuned tower. Nothing can move afterwards."""
        tower, prompt = self.tower, self.prompt
        with gradients(False):
            changes = self.changes()
            if not self.tables_move:
                return Tuned(tower, similarities, changes)
            positions = moved_by(self.positions, self.used_positions())
            # rows of positions with a textual-inversion vector, or after the end of the text, did not move
            moved = torch.unique(prompt.index[prompt.used & ~prompt.constant])
            rows = prompt.ids[moved], self.rows.detach()[moved]
            return Tuned(tower, similarities, changes, positions, rows)


def moved_by(w: Tensor, stored: Tensor) -> Tensor:
    """`w - stored`, computed in place of w."""
    return w.detach().sub_(stored.to(w))
