"""What of a recorded prompt the objective depends on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .record import Recording
from .towers import Tower, working_dtype


def detached_clone(x: Tensor, like: Tensor) -> Tensor:
    """A detached clone of `x`, which autograd accepts, in the dtype and on the device of `like`."""
    return x.detach().to(like.dtype).to(like.device).clone()  # in this order: not every device knows fp64


class Prompt:
    """The chunks of a recorded prompt that hold text, each up to its end-of-text token.

    inputs, hidden: `[chunks, length, width]`, recorded token embeddings and final hidden states; ends: `[chunks]`, the
    end-of-text positions; used: `[chunks, length]`, True up to them; ids: the distinct tokens, sorted `[n]`;
    which: `[chunks, length]`, each position's index in ids; rows: `[n, width]`, theirs in the embedding table;
    constant: `[chunks, length]`, True where a textual-inversion vector stands in for the row, if `any_constant`;
    flat_ends: `[chunks]`, the end-of-text positions where chunk follows chunk.
    """

    def __init__(self, tower: Tower, record: Recording) -> None:
        ends = tower.end_of_text(record.ids)
        keep = ends > 1  # position 0 is the beginning-of-text token; where the end follows at once, there is no text
        self.empty = not bool(keep.any())
        if self.empty:
            keep = ~keep  # it still has a similarity
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
        self.any_constant = bool(self.constant.any())
        self.flat_ends = torch.arange(len(self.ends), device=ends.device) * length + self.ends

    def pooled(self, hidden: Tensor) -> Tensor:
        """The hidden states at the end-of-text tokens, `[chunks, width]`, of all positions' or of theirs alone."""
        if hidden.shape[1] == 1:
            return hidden[:, 0]
        return F.embedding(self.flat_ends, hidden.flatten(0, 1))

    def drift(self, hidden: Tensor) -> Tensor:
        """`||h - h_plain||^2 / ||h_plain||^2` over the hidden states up to the end-of-text tokens."""
        h, plain = hidden[self.used], self.hidden[self.used]
        return (h - plain).square().sum() / plain.square().sum()
