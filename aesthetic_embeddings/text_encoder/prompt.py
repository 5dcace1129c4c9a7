"""The part of a recorded prompt that the objective depends on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .record import Recording
from .towers import Tower, working_dtype


def detached_clone(x: Tensor, like: Tensor) -> Tensor:
    """A detached clone of `x`, in the dtype and on the device of `like`."""
    return x.detach().to(like.dtype).to(like.device).clone()  # in this order: not every device has fp64


class Prompt:
    """The chunks of a recorded prompt that hold text, each cut after its end-of-text token.

    inputs: `[chunks, length, width]`, the token embeddings.
    hidden: `[chunks, length, width]`, the final hidden states.
    ends: `[chunks]`, the end-of-text positions. flat_ends: the same in the concatenated chunks.
    used: `[chunks, length]`, True up to the end-of-text token.
    ids: `[n]`, the distinct tokens, sorted. rows: `[n, width]`, their rows of the embedding table.
    index: `[chunks, length]`, the index in `ids` of each position's token.
    constant: `[chunks, length]`, True at positions with a textual-inversion vector; `any_constant` if there is one.
    empty: True if no chunk holds text. All chunks are kept then, since an empty prompt has a similarity too.
    """

    def __init__(self, tower: Tower, record: Recording) -> None:
        ends = tower.end_of_text(record.ids)
        keep = ends > 1  # position 0 is the beginning-of-text token; without text the end follows at once
        self.empty = not bool(keep.any())
        if self.empty:
            keep = ~keep
        self.ends = ends[keep]
        self.length = length = int(self.ends.max()) + 1
        recorded = record.inputs[keep, :length]
        like = torch.empty((), dtype=working_dtype(tower), device=recorded.device)
        self.inputs, self.hidden = detached_clone(recorded, like), detached_clone(record.hidden[keep, :length], like)
        self.used = torch.arange(length, device=ends.device) <= self.ends[:, None]
        self.ids, self.index = torch.unique(record.ids[keep, :length], return_inverse=True)
        table = tower.table.read()
        rows = table[self.ids.to(table.device)].to(recorded.device)
        self.rows = detached_clone(rows, like)
        self.constant = (rows.to(recorded.dtype)[self.index] != recorded).any(-1)
        self.any_constant = bool(self.constant.any())
        self.flat_ends = torch.arange(len(self.ends), device=ends.device) * length + self.ends

    def pooled(self, hidden: Tensor) -> Tensor:
        """The hidden states at the end-of-text tokens, `[chunks, width]`.

        hidden: `[chunks, length, width]`, or `[chunks, 1, width]` at the end-of-text tokens alone.
        """
        if hidden.shape[1] == 1:
            return hidden[:, 0]
        return F.embedding(self.flat_ends, hidden.flatten(0, 1))

    def drift(self, hidden: Tensor) -> Tensor:
        """`||h - h_plain||^2 / ||h_plain||^2` over the positions up to the end-of-text tokens."""
        h, plain = hidden[self.used], self.hidden[self.used]
        return (h - plain).square().sum() / plain.square().sum()
