"""Small random text towers of every real kind, each with one way to be run: what the tests borrow and give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tools.open_clip_text import open_clip_transformer

BOS, EOS, LENGTH, WIDTH, DIM, LAYERS = 97, 98, 77, 32, 24, 3
TEXT = {
    "vocab_size": 99,
    "hidden_size": WIDTH,
    "intermediate_size": 4 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": LENGTH,
    "projection_dim": DIM,
    "bos_token_id": BOS,
    "pad_token_id": EOS,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
    "projection_dim": DIM,
}


class CastingLinear(nn.Module):
    """A Linear that casts its stored weights to the input's dtype at each call, as Forge's do; no nn.Linear."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x), None if self.bias is None else self.bias.to(x))


@dataclass
class Encoder:
    """model: what a user passes. run(model, ids) -> (last, penultimate) hidden states `[batch, length, width]`."""

    model: nn.Module
    projection: Tensor | None = None  # `[dim, width]`, where the model has none

    @property
    def text(self) -> Any:
        """The module inside that only computes text: what the reference tunes."""
        return getattr(self.model, "text_model", self.model)

    def text_projection(self) -> Tensor:
        if self.projection is not None:
            return self.projection
        own = self.model.text_projection
        return own.weight if isinstance(own, nn.Module) else own.T

    def run(self, model: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
        out = getattr(model, "text_model", model)(ids, output_hidden_states=True)
        return out.last_hidden_state, out.hidden_states[-2]


class OpenClipEncoder(Encoder):
    def run(self, model: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Piece by piece, as latent-diffusion's FrozenOpenCLIPEmbedder drives it: `model` itself is never called."""
        x = model.token_embedding(ids) + model.positional_embedding
        batch_first = getattr(model.transformer, "batch_first", False)
        x = x if batch_first else x.transpose(0, 1)
        mask = model.attn_mask.to(x.dtype)
        for block in model.transformer.resblocks:
            penultimate = x
            x = block(x, attn_mask=mask)
        x, penultimate = (x, penultimate) if batch_first else (x.transpose(0, 1), penultimate.transpose(0, 1))
        return model.ln_final(x), penultimate


class WithVectors(nn.Module):
    """A token embedding with textual-inversion vectors put in, as the hosts wrap it."""

    def __init__(self, wrapped: nn.Module, where: Tensor, vectors: Tensor) -> None:
        super().__init__()
        self.wrapped, self.where, self.vectors = wrapped, where, vectors

    def forward(self, ids: Tensor) -> Tensor:
        return torch.where(self.where[..., None], self.vectors, self.wrapped(ids))


def put_vectors_in(enc: Encoder, where: Tensor, vectors: Tensor) -> None:
    for module in list(enc.model.modules()):
        if isinstance(getattr(module, "token_embedding", None), nn.Embedding):
            module.token_embedding = WithVectors(module.token_embedding, where, vectors)


KINDS = ("text", "projection", "clip", "open_clip", "casting")


def encoder(kind: str, dtype: torch.dtype = torch.float64, activation: str = "quick_gelu", eos: int = EOS) -> Encoder:
    torch.manual_seed(1)
    config = CLIPTextConfig(**TEXT, hidden_act=activation, eos_token_id=eos)
    made: Encoder
    if kind == "open_clip":
        made = OpenClipEncoder(open_clip_text(activation))
    elif kind == "clip":
        text = {**TEXT, "hidden_act": activation, "eos_token_id": eos}
        made = Encoder(CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=DIM)))
    elif kind == "projection":
        made = Encoder(CLIPTextModelWithProjection(config))
    else:
        made = Encoder(CLIPTextModel(config), torch.randn(DIM, WIDTH, dtype=torch.float64))
    randomize(made.model)
    if kind == "casting":
        for module in list(made.model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):
                    setattr(module, name, CastingLinear(child))
    made.model.to(dtype).eval()
    return made


def randomize(model: nn.Module) -> None:
    """Weights large enough that attention saturates and activations bend; norms stay near one."""
    with torch.no_grad():
        for module in model.modules():
            for name, p in module.named_parameters(recurse=False):
                around_one = isinstance(module, nn.LayerNorm) and name == "weight"
                p.copy_(torch.randn_like(p) * 0.15 + float(around_one))


def open_clip_text(activation: str) -> nn.Module:
    transformer = open_clip_transformer()
    layer = transformer.QuickGELU if activation == "quick_gelu" else nn.GELU
    return transformer.TextTransformer(
        context_length=LENGTH,
        vocab_size=99,
        width=WIDTH,
        heads=4,
        layers=LAYERS,
        output_dim=DIM,
        act_layer=layer,
    )


def prompt(*lengths: int, pad: int = EOS, length: int = LENGTH, seed: int = 2) -> Tensor:
    """Token ids `[chunks, length]` with that many words in each chunk; one word comes twice."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((len(lengths), length), pad)
    for row, n in zip(ids, lengths, strict=True):
        row[0] = BOS
        row[1 : n + 1] = torch.randint(1, 90, (n,), generator=generator)
        if n > 2:
            row[n] = row[1]
        row[n + 1] = EOS
    return ids
