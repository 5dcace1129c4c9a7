"""One CLIP text tower, whoever built it: where its weights live, and a forward of our own that reads them there.

transformers keeps q, k and v apart and open_clip keeps them in one matrix; hosts wrap embeddings and cast weights at
call time. All of that ends here: a `Tower` names each weight by the place (`Slot`) where its owner keeps it, and
`hidden_states` is the one forward (Radford et al. 2021, section 2.4: a causal pre-norm transformer) that tuning
differentiates. Nothing is copied until somebody reads a slot, so weights that a host replaces are seen as they are now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import EncoderError
from .matmul import product


@dataclass(frozen=True, eq=False)
class Slot:
    """A parameter, or some of its rows, at the place where its owner keeps it.

    `used_from` and `used_until` bracket its use: the owner's own call, unless the parameter is read outside any call of
    its owner (open_clip's position embeddings are: from the token embedding's call to the first block's).
    """

    owner: nn.Module
    name: str
    rows: slice | None = None
    used_from: nn.Module | None = None
    used_until: nn.Module | None = None

    @property
    def parameter(self) -> Tensor:
        """The whole stored parameter. Raises EncoderError where its values cannot be read as they are."""
        value = self.owner._parameters.get(self.name)
        if value is None:
            kind = type(self.owner).__name__
            raise EncoderError(
                f"The text encoder's {kind} does not hold its {self.name} as a plain parameter: an adapter such as a "
                "LoRA, a quantised layer or a parametrisation does. Merge or unload that, then try again."
            )
        if value.device.type == "meta" or value.dtype not in READABLE:
            state = "offloaded" if value.device.type == "meta" else "quantised"
            raise EncoderError(
                f"The text encoder's weights are {state}, so they cannot be tuned. Load it in fp32, fp16 or bf16."
            )
        return value

    @property
    def is_its_owners_product(self) -> bool:
        """Of an affine map's weight: whether its owner is a module whose call computes that map."""
        return self.rows is None and self.used_from is None

    def read(self) -> Tensor:
        """The stored values of these rows: a view, in the stored dtype, without gradient."""
        stored = self.parameter.detach()
        return stored if self.rows is None else stored[self.rows]


#: Only for storage: nothing computes in these. Their owner casts them at each call, to the dtype of its input.
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
READABLE = (torch.float64, torch.float32, torch.float16, torch.bfloat16, *FP8)


@dataclass(frozen=True, eq=False)
class Affine:
    """`x W^T + b`."""

    weight: Slot
    bias: Slot | None


@dataclass(frozen=True, eq=False)
class Norm:
    """Layer norm over the last dimension."""

    weight: Slot
    bias: Slot
    eps: float


@dataclass(frozen=True, eq=False)
class Layer:
    norm1: Norm
    q: Affine
    k: Affine
    v: Affine
    out: Affine
    norm2: Norm
    fc1: Affine
    fc2: Affine

    @property
    def affines(self) -> tuple[Affine, ...]:
        return self.q, self.k, self.v, self.out, self.fc1, self.fc2

    @property
    def vectors(self) -> list[Slot]:
        """Biases and norms: everything in the layer that is not a matrix."""
        norms = [s for n in (self.norm1, self.norm2) for s in (n.weight, n.bias)]
        return norms + [a.bias for a in self.affines if a.bias is not None]


@dataclass(frozen=True, eq=False)
class Tower:
    """A text tower. `width` is that of its hidden states; `projection` is `[dim, width]`, or None where it has none."""

    encode: Callable[[Tensor], Any]  # runs the owner's own forward on token ids `[batch, length]`
    takes_any_length: bool  # whether that may be shorter than CLIP's 77
    embedding: nn.Module  # token ids to input embeddings, textual inversion included
    table: Slot  # the rows below it
    positions: Slot
    layers: tuple[Layer, ...]
    final_norm: Norm
    final_module: nn.Module
    heads: int
    activation: Callable[[Tensor], Tensor]
    end_of_text: Callable[[Tensor], Tensor]  # ids `[batch, length]` -> the position that is pooled `[batch]`
    projection: Tensor | None

    @property
    def width(self) -> int:
        return self.table.parameter.shape[1]


class Weights:
    """How the forward reads slots: as they are, in one dtype. Tuning overrides some of it."""

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

    def activated(self, activation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return activation(x)

    def norm(self, norm: Norm, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.vector(norm.weight), self.vector(norm.bias), norm.eps)


def hidden_states(
    tower: Tower, x: Tensor, weights: Weights, first: int = 0, last: int | None = None, only: Tensor | None = None
) -> Tensor:
    """Run layers `first` to `last` on `x` `[batch, length, width]`; after the very last one also the final norm.

    `x` is the sum of token and position embeddings for `first = 0`, else the output of layer `first - 1`. Attention is
    causal, so position i depends on none after it: a prompt may be cut behind its end-of-text token.

    only: `[batch]`, the position of each text that is asked for; the result is `[batch, 1, width]`. The other positions
    leave the last layer as its keys and values.
    """
    for layer in tower.layers[first:last]:
        h = weights.norm(layer.norm1, x)
        asking, mask = h, None
        if only is not None and layer is tower.layers[-1]:
            here = torch.arange(len(x), device=x.device), only
            x, asking = x[here][:, None], h[here][:, None]
            mask = (torch.arange(h.shape[1], device=x.device) <= only[:, None])[:, None, None]
        q, k, v = (
            _split(weights.affine(a, inputs), tower.heads)
            for a, inputs in ((layer.q, asking), (layer.k, h), (layer.v, h))
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + weights.affine(layer.out, attended.transpose(1, 2).flatten(2))
        h = weights.norm(layer.norm2, x)
        x = x + weights.affine(layer.fc2, weights.activated(tower.activation, weights.affine(layer.fc1, h)))
    return x if last is not None else weights.norm(tower.final_norm, x)


def _split(x: Tensor, heads: int) -> Tensor:
    """`[batch, length, width]` to `[batch, heads, length, width / heads]`."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


# ---------------------------------------------------------------- finding the tower


def find_tower(text_encoder: nn.Module) -> Tower:
    """The text tower inside a model of transformers or open_clip, or inside a host's wrapper of one.

    Raises EncoderError where there is none, or where a layer is not built as CLIP's are.
    """
    for module in text_encoder.modules():
        for looks_like, build in ((_is_transformers, _transformers_tower), (_is_open_clip, _open_clip_tower)):
            if looks_like(module):
                try:
                    return build(text_encoder, module)
                except AttributeError as error:
                    raise EncoderError(
                        f"{type(text_encoder).__name__} holds a text tower that is not built as CLIP's ({error}); "
                        "it cannot be personalised."
                    ) from error
    raise EncoderError(
        f"{type(text_encoder).__name__} holds no CLIP text tower. Pass a CLIPTextModel, CLIPTextModelWithProjection, "
        "CLIPModel, or an open_clip model."
    )


def _has(module: nn.Module, *names: str) -> bool:
    return all(hasattr(module, name) for name in names)


def _is_transformers(module: nn.Module) -> bool:
    # 4.x nests these in CLIPTextTransformer; from 5 on CLIPTextModel holds them itself
    return _has(module, "embeddings", "encoder", "final_layer_norm") and hasattr(module.embeddings, "token_embedding")


def _is_open_clip(module: nn.Module) -> bool:
    return _has(module, "token_embedding", "positional_embedding", "transformer", "ln_final")


def _affine(module: nn.Module) -> Affine:
    return Affine(Slot(module, "weight"), Slot(module, "bias") if module.bias is not None else None)


def _norm(module: Any) -> Norm:
    return Norm(Slot(module, "weight"), Slot(module, "bias"), module.eps)


def _table(embedding: Any) -> Slot:
    while hasattr(embedding, "wrapped"):  # hosts wrap it to put textual-inversion vectors in
        embedding = embedding.wrapped
    return Slot(embedding, "weight")


def _either(module: nn.Module, name: str, comfys: str) -> Any:
    """An attribute by transformers' name, or by ComfyUI's."""
    return getattr(module, name if hasattr(module, name) else comfys)


def _activation(module: Any) -> Callable[[Tensor], Tensor]:
    # `forward`, not the call: other people's hooks are for the owner's forwards
    return module.forward if isinstance(module, nn.Module) else module


def _transformers_tower(model: nn.Module, tower: Any) -> Tower:
    layers = tuple(
        Layer(
            norm1=_norm(layer.layer_norm1),
            q=_affine(layer.self_attn.q_proj),
            k=_affine(layer.self_attn.k_proj),
            v=_affine(layer.self_attn.v_proj),
            out=_affine(layer.self_attn.out_proj),
            norm2=_norm(layer.layer_norm2),
            fc1=_affine(layer.mlp.fc1),
            fc2=_affine(layer.mlp.fc2),
        )
        for layer in tower.encoder.layers
    )
    embedding = tower.embeddings.token_embedding
    table = _table(embedding)
    positions = Slot(tower.embeddings.position_embedding, "weight")
    if hasattr(tower.encoder.layers[0].self_attn, "heads"):  # ComfyUI's, which reads them without calling their module
        positions = replace(positions, used_from=tower, used_until=tower)
    eos = getattr(tower, "eos_token_id", 2)  # transformers before 4.31 knows the legacy rule only
    return Tower(
        encode=tower if hasattr(model, "vision_model") else model,
        # unless something of a host's is in between
        takes_any_length=tower in (model, getattr(model, "text_model", None)) and table.owner is embedding,
        embedding=embedding,
        table=table,
        positions=positions,
        layers=layers,
        final_norm=_norm(tower.final_layer_norm),
        final_module=tower.final_layer_norm,
        heads=_either(tower.encoder.layers[0].self_attn, "num_heads", "heads"),
        activation=_activation(_either(tower.encoder.layers[0].mlp, "activation_fn", "activation")),
        end_of_text=_highest_id if eos == 2 else lambda ids: (ids == eos).int().argmax(-1),
        projection=_linear_projection(model),
    )


def _open_clip_tower(model: nn.Module, tower: Any) -> Tower:
    blocks = list(tower.transformer.resblocks)
    return Tower(
        encode=getattr(tower, "encode_text", tower),
        takes_any_length=False,  # open_clip's CLIP adds all of its positions
        embedding=tower.token_embedding,
        table=_table(tower.token_embedding),
        positions=Slot(tower, "positional_embedding", used_from=tower.token_embedding, used_until=blocks[0]),
        layers=tuple(_open_clip_layer(block) for block in blocks),
        final_norm=_norm(tower.ln_final),
        final_module=tower.ln_final,
        heads=blocks[0].attn.num_heads,
        activation=_activation(blocks[0].mlp.gelu),  # so named also where it is another one
        end_of_text=_highest_id,
        projection=_open_clip_projection(tower),
    )


def _open_clip_layer(block: Any) -> Layer:
    attn, width = block.attn, block.attn.embed_dim

    def third(i: int) -> Affine:
        rows = slice(i * width, (i + 1) * width)
        return Affine(Slot(attn, "in_proj_weight", rows), Slot(attn, "in_proj_bias", rows))

    # nn.MultiheadAttention reads its out_proj without calling it, so attn's call brackets that use
    out = Affine(*(Slot(attn.out_proj, name, used_from=attn, used_until=attn) for name in ("weight", "bias")))
    return Layer(
        norm1=_norm(block.ln_1),
        q=third(0),
        k=third(1),
        v=third(2),
        out=out,
        norm2=_norm(block.ln_2),
        fc1=_affine(block.mlp.c_fc),
        fc2=_affine(block.mlp.c_proj),
    )


def _highest_id(ids: Tensor) -> Tensor:
    """The end-of-text token has the highest id of CLIP's vocabulary, which open_clip and old transformers rely on."""
    return ids.int().argmax(-1)


def _linear_projection(model: nn.Module) -> Tensor | None:
    weights = (getattr(getattr(m, "text_projection", None), "weight", None) for m in model.modules())
    return next((w for w in weights if isinstance(w, Tensor) and not _identity(w)), None)


def _identity(w: Tensor) -> bool:
    """Whether `w` stands for no projection: ComfyUI puts an identity where there is none, and saves that."""
    return w.device.type != "meta" and w.shape[0] == w.shape[1] and bool((w.diagonal() == 1).all())


def _open_clip_projection(tower: Any) -> Tensor | None:
    projection = getattr(tower, "text_projection", None)
    if isinstance(projection, nn.Linear):
        return projection.weight
    return None if projection is None else projection.T  # open_clip computes `x @ P`: [width, dim]
