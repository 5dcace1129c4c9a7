"""One view of every CLIP text tower, whichever library built it.

transformers keeps q, k and v apart, and open_clip keeps them in one matrix. Hosts wrap embeddings and cast weights at
call time. No other module has to know: a `Tower` names each weight by its `Slot`, the place where a module keeps it. A
slot is read at each use, so weights that a host has replaced are seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EncoderError


@dataclass(frozen=True, eq=False)
class Slot:
    """A parameter, or some of its rows, at the place where a module keeps it."""

    module: nn.Module
    name: str
    rows: slice | None = None

    @property
    def parameter(self) -> Tensor:
        """The whole stored parameter. Raises EncoderError if its values cannot be read."""
        value = _with_values(self.module, self.name, self.module._parameters.get(self.name))
        if value is None:
            kind = type(self.module).__name__
            raise EncoderError(
                f"The text encoder's {kind} does not hold its {self.name} as a plain parameter: an adapter such as a "
                "LoRA, a quantized layer or a parametrization does. Merge or unload that, then try again."
            )
        if value.device.type == "meta" or value.dtype not in READABLE:
            state = "not in memory" if value.device.type == "meta" else "quantized"
            raise EncoderError(
                f"The text encoder's weights are {state}, so they cannot be tuned. Load it in fp32, fp16 or bf16."
            )
        return value

    def read(self) -> Tensor:
        """A view of the stored values of these rows, in the stored dtype, without gradient."""
        stored = self.parameter.detach()
        return stored if self.rows is None else stored[self.rows]


def _with_values(module: Any, name: str, parameter: Tensor | None) -> Tensor | None:
    """The module's parameter of this name, or what accelerate keeps of it between two calls if it offloads it.

    Accelerate then leaves a parameter on the device `meta`, without values. Its hook on the module has them.
    """
    if parameter is not None and parameter.device.type == "meta":
        hook = getattr(module, "_hf_hook", None)
        for each in getattr(hook, "hooks", [hook]):  # one hook may hold several
            if getattr(each, "weights_map", None) is not None:
                parameter = each.weights_map[name]
    return parameter


#: For storage only. Modules cast these at each call to the dtype of their input.
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
    attention: nn.Module | None = None  # the one module that holds q, k, v and out, if it does not call them

    @property
    def affines(self) -> tuple[Affine, ...]:
        return self.q, self.k, self.v, self.out, self.fc1, self.fc2

    @property
    def vectors(self) -> list[Slot]:
        """Biases and norms: all parameters that are not matrices."""
        norms = [s for n in (self.norm1, self.norm2) for s in (n.weight, n.bias)]
        return norms + [a.bias for a in self.affines if a.bias is not None]


@dataclass(frozen=True, eq=False)
class Tower:
    """A text tower. `width`: of the hidden states. `projection`: `[dim, width]`, None if the tower has none."""

    encode: Callable[[Tensor], Any]  # the model's own forward on token ids `[batch, length]`
    takes_any_length: bool  # whether `encode` takes fewer than CLIP's 77 tokens
    embedding: nn.Module  # token ids to input embeddings, textual inversion included
    table: Slot  # the rows of that embedding
    positions: Slot
    layers: tuple[Layer, ...]
    final_norm: Norm
    heads: int
    activation: Callable[[Tensor], Tensor]
    end_of_text: Callable[[Tensor], Tensor]  # ids `[batch, length]` -> the position that is pooled `[batch]`
    projection: Tensor | None

    @property
    def width(self) -> int:
        return self.table.parameter.shape[1]


def working_dtype(tower: Tower) -> torch.dtype:
    """The dtype of the tuning: fp64 for fp64, and fp32 for everything coarser."""
    return torch.float64 if tower.table.parameter.dtype == torch.float64 else torch.float32


# ---------------------------------------------------------------- finding the tower


def find_tower(text_encoder: nn.Module) -> Tower:
    """The text tower inside a model of transformers or open_clip, or inside a host's wrapper of one.

    Raises EncoderError if there is none, or if it is not built as CLIP's towers are.
    """
    for module in text_encoder.modules():
        for looks_like, build in ((_is_transformers, _transformers_tower), (_is_open_clip, _open_clip_tower)):
            if looks_like(module):
                try:
                    return build(text_encoder, module)
                except AttributeError as error:
                    raise EncoderError(
                        f"{type(text_encoder).__name__} holds a text tower that is not built as CLIP's ({error}), "
                        "so it cannot be personalized."
                    ) from error
    raise EncoderError(
        f"{type(text_encoder).__name__} holds no CLIP text tower. Pass a CLIPTextModel, CLIPTextModelWithProjection, "
        "CLIPModel, or an open_clip model."
    )


def _has(module: nn.Module, *names: str) -> bool:
    return all(hasattr(module, name) for name in names)


def _is_transformers(module: nn.Module) -> bool:
    # 4.x nests these in CLIPTextTransformer; CLIPTextModel itself holds them from 5 on
    return _has(module, "embeddings", "encoder", "final_layer_norm") and hasattr(module.embeddings, "token_embedding")


def _is_open_clip(module: nn.Module) -> bool:
    return _has(module, "token_embedding", "positional_embedding", "transformer", "ln_final")


def _affine(module: nn.Module) -> Affine:
    return Affine(Slot(module, "weight"), Slot(module, "bias") if module.bias is not None else None)


def _norm(module: Any) -> Norm:
    return Norm(Slot(module, "weight"), Slot(module, "bias"), module.eps)


def _table(embedding: Any) -> Slot:
    while hasattr(embedding, "wrapped"):  # hosts wrap it to insert textual-inversion vectors
        embedding = embedding.wrapped
    return Slot(embedding, "weight")


def _either(module: nn.Module, name: str, comfys: str) -> Any:
    """An attribute with transformers' name for it, or ComfyUI's."""
    return getattr(module, name if hasattr(module, name) else comfys)


def _activation(module: Any) -> Callable[[Tensor], Tensor]:
    # `forward` and not the call, which would run other people's hooks
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
    eos = getattr(tower, "eos_token_id", 2)  # transformers before 4.31 has only the legacy rule
    return Tower(
        encode=tower if hasattr(model, "vision_model") else model,
        # unless a host has wrapped it
        takes_any_length=tower in (model, getattr(model, "text_model", None)) and table.module is embedding,
        embedding=embedding,
        table=table,
        positions=Slot(tower.embeddings.position_embedding, "weight"),
        layers=layers,
        final_norm=_norm(tower.final_layer_norm),
        heads=_either(tower.encoder.layers[0].self_attn, "num_heads", "heads"),
        activation=_activation(_either(tower.encoder.layers[0].mlp, "activation_fn", "activation")),
        end_of_text=_highest_id if eos == 2 else lambda ids: (ids == eos).int().argmax(-1),
        projection=_projection(model.modules()),
    )


def _open_clip_tower(model: nn.Module, tower: Any) -> Tower:
    blocks = list(tower.transformer.resblocks)
    return Tower(
        encode=getattr(tower, "encode_text", tower),
        takes_any_length=False,  # open_clip's CLIP adds all of its position embeddings
        embedding=tower.token_embedding,
        table=_table(tower.token_embedding),
        positions=Slot(tower, "positional_embedding"),
        layers=tuple(_open_clip_layer(block) for block in blocks),
        final_norm=_norm(tower.ln_final),
        heads=blocks[0].attn.num_heads,
        activation=_activation(blocks[0].mlp.gelu),  # its name even if it is another activation
        end_of_text=_highest_id,
        projection=_projection([tower]),
    )


def _open_clip_layer(block: Any) -> Layer:
    attn, width = block.attn, block.attn.embed_dim

    def third(i: int) -> Affine:
        rows = slice(i * width, (i + 1) * width)
        return Affine(Slot(attn, "in_proj_weight", rows), Slot(attn, "in_proj_bias", rows))

    return Layer(
        norm1=_norm(block.ln_1),
        q=third(0),
        k=third(1),
        v=third(2),
        out=_affine(attn.out_proj),  # nn.MultiheadAttention reads its weights and does not call it
        norm2=_norm(block.ln_2),
        fc1=_affine(block.mlp.c_fc),
        fc2=_affine(block.mlp.c_proj),
        attention=attn,
    )


def _highest_id(ids: Tensor) -> Tensor:
    """The end-of-text token has the highest id of CLIP's vocabulary. open_clip and old transformers rely on it."""
    return ids.int().argmax(-1)


def _projection(holders: Iterable[nn.Module]) -> Tensor | None:
    """The first usable one: a Linear's weight, or a parameter `[width, dim]`, as `pooled @ parameter` takes it.

    open_clip has either. A parameter beside a tower of transformers is what reForge and Forge Classic have.
    """
    for holder in holders:
        held = getattr(holder, "text_projection", None)
        weight = _with_values(held, "weight", getattr(held, "weight", None))
        matrix = held.T if isinstance(held, Tensor) and held.dim() == 2 else weight
        if isinstance(matrix, Tensor) and is_projection(matrix):
            return matrix
    return None


def is_projection(w: Tensor) -> bool:
    """Whether `w` can be a text projection `[dim, width]`.

    If the checkpoint has none, some hosts leave it empty or uninitialized, and ComfyUI saves the identity.
    """
    if w.dim() != 2 or w.device.type == "meta" or not w.numel():
        return False
    norms = w.detach().float().norm(dim=1)
    identity = w.shape[0] == w.shape[1] and bool((w.diagonal() == 1).all())
    return not identity and bool(torch.isfinite(norms).all()) and bool((norms > 0).all())


def without_clip_l_projection(tower: Tower) -> Tower:
    """The tower without the text projection of CLIP ViT-L/14, which SD1's and SDXL's checkpoints do not have.

    Hosts that derive from ComfyUI have uninitialized memory in its place, which may look like a matrix.
    """
    return replace(tower, projection=None) if tower.width == 768 else tower
