"""The one forward of a CLIP text tower (Radford et al. 2021, section 2.4: a causal pre-norm transformer), ours.

Tuning differentiates it. It reads the weights where the host keeps them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .matmul import product
from .towers import Affine, Layer, Norm, Slot, Tower


class Weights:
    """How the forward reads a tower: the stored weights, in one dtype. Subclasses read tuned or moving weights."""

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

    def qkv(self, layer: Layer, x_q: Tensor, x_kv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the positions `x_q`, keys and values of the positions `x_kv`, all `[batch, length, width]`."""
        return self.affine(layer.q, x_q), self.affine(layer.k, x_kv), self.affine(layer.v, x_kv)

    def activated(self, activation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return activation(x)

    def norm(self, norm: Norm, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.vector(norm.weight), self.vector(norm.bias), norm.eps)


def first_layer_input(tower: Tower, inputs: Tensor) -> Tensor:
    """Token embeddings `[batch, length, width]` plus position embeddings."""
    return inputs + Weights(inputs).read(tower.positions)[: inputs.shape[1]]


def hidden_states(
    tower: Tower, x: Tensor, weights: Weights, first: int = 0, last: int | None = None, at: Tensor | None = None
) -> Tensor:
    """Run the layers `[first:last]` on `x` `[batch, length, width]`, and the final norm if `last` is None.

    `x` is the sum of token and position embeddings if `first` is 0, else the output of layer `first - 1`. Attention is
    causal, so no position depends on a later one, and a prompt may be cut after its end-of-text token.

    at: `[batch]`, the one position of each text to compute; the result is `[batch, 1, width]`. The last layer then
    needs only keys and values of the other positions.
    """
    for layer in tower.layers[first:last]:
        h = weights.norm(layer.norm1, x)
        x_q, mask = h, None
        if at is not None and layer is tower.layers[-1]:
            here = torch.arange(len(x), device=x.device), at
            x, x_q = x[here][:, None], h[here][:, None]
            mask = (torch.arange(h.shape[1], device=x.device) <= at[:, None])[:, None, None]
        x = x + attention(layer, tower.heads, weights, x_q, h, mask)
        h = weights.norm(layer.norm2, x)
        x = x + weights.affine(layer.fc2, weights.activated(tower.activation, weights.affine(layer.fc1, h)))
    return x if last is not None else weights.norm(tower.final_norm, x)


def attention(
    layer: Layer, heads: int, weights: Weights, x_q: Tensor, x_kv: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Multi-head attention of the positions `x_q` to `x_kv`, both `[batch, length, width]`; causal without `mask`."""
    q, k, v = (_split(part, heads) for part in weights.qkv(layer, x_q, x_kv))
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return weights.affine(layer.out, attended.transpose(1, 2).flatten(2))


def _split(x: Tensor, heads: int) -> Tensor:
    """`[batch, length, width]` to `[batch, heads, length, width / heads]`."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)
