"""The one forward of a CLIP text tower (Radford et al. 2021, section 2.4: a causal pre-norm transformer), ours.

It is what tuning differentiates, on weights that are read where their owner keeps them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .matmul import product
from .towers import Affine, Layer, Norm, Slot, Tower


class Weights:
    """How the forward reads a tower: as it is stored, in one dtype. Subclasses read tuned values, or moving ones."""

    def __init__(self, like: Tensor) -> None:
        self.like = like

    def read(self, slot: Slot) -> Tensor:
        return slot.read().to(device=self.like.device, dtype=self.like.dtype)

    def vector(self, slot: Slot) -> Tensor:
        return self.read(slot)

    def product(self, slot: Slot, x: Tensor) -> Tensor:
        return product(x, self.read(slot))

    def affine(self, affine: Affine, x: Tensor) -> Tensor:
        y = self.product(affine.weight, x)
        return y if affine.bias is None else y + self.vector(affine.bias)

    def qkv(self, layer: Layer, asking: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The queries of the positions `asking`, and keys and values of the positions `h`."""
        return self.affine(layer.q, asking), self.affine(layer.k, h), self.affine(layer.v, h)

    def activated(self, activation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return activation(x)

    def norm(self, norm: Norm, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.vector(norm.weight), self.vector(norm.bias), norm.eps)


def first_layer_input(tower: Tower, inputs: Tensor) -> Tensor:
    """Token embeddings `[batch, length, width]` plus the positions': what the first layer sees."""
    return inputs + Weights(inputs).read(tower.positions)[: inputs.shape[1]]


def hidden_states(
    tower: Tower, x: Tensor, weights: Weights, first: int = 0, last: int | None = None, at: Tensor | None = None
) -> Tensor:
    """Run layers `first` to `last` on `x` `[batch, length, width]`; after the very last one also the final norm.

    `x` is the sum of token and position embeddings for `first = 0`, else the output of layer `first - 1`. Attention is
    causal, so position i depends on none after it: a prompt may be cut behind its end-of-text token.

    at: `[batch]`, the one position of each text that is asked for; the result is `[batch, 1, width]`. The other
    positions leave the last layer as its keys and values.
    """
    for layer in tower.layers[first:last]:
        h = weights.norm(layer.norm1, x)
        asking, mask = h, None
        if at is not None and layer is tower.layers[-1]:
            here = torch.arange(len(x), device=x.device), at
            x, asking = x[here][:, None], h[here][:, None]
            mask = (torch.arange(h.shape[1], device=x.device) <= at[:, None])[:, None, None]
        x = x + attention(layer, tower.heads, weights, asking, h, mask)
        h = weights.norm(layer.norm2, x)
        x = x + weights.affine(layer.fc2, weights.activated(tower.activation, weights.affine(layer.fc1, h)))
    return x if last is not None else weights.norm(tower.final_norm, x)


def attention(
    layer: Layer, heads: int, weights: Weights, asking: Tensor, h: Tensor, mask: Tensor | None = None
) -> Tensor:
    """What the positions `asking` get from the positions `h`, both `[batch, length, width]`; causal without `mask`."""
    q, k, v = (_split(part, heads) for part in weights.qkv(layer, asking, h))
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return weights.affine(layer.out, attended.transpose(1, 2).flatten(2))


def _split(x: Tensor, heads: int) -> Tensor:
    """`[batch, length, width]` to `[batch, heads, length, width / heads]`."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)
