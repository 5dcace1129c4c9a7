"""What the nodes use of ComfyUI, as seen in the real one: the shape of a CLIP, and modules that answer.

Its encoders embed chunk by chunk, splice vectors of textual inversion in outside of any module, add position embeddings
without calling their module, compute in fp32 whatever they store, and append an empty chunk where tokens are weighted.
"""

from __future__ import annotations

import copy
import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BOS, EOS, WORDS = 97, 98, 99
LENGTH, DIM = 16, 32


class InterruptProcessingException(Exception):
    pass


class CastingLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x), None if self.bias is None else self.bias.to(x))


class CastingNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x), self.bias.to(x), self.eps)


class CastingEmbedding(nn.Embedding):
    def forward(self, ids: Tensor, out_dtype: torch.dtype) -> Tensor:
        return F.embedding(ids, self.weight).to(out_dtype)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (CastingLinear(width, width) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = CastingLinear(width, 4 * width), CastingLinear(4 * width, width)
        self.activation = F.gelu

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = CastingNorm(width), CastingNorm(width)
        self.self_attn, self.mlp = Attention(width, heads), Mlp(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class TextTransformer(nn.Module):
    eos_token_id = EOS

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embeddings, self.encoder = nn.Module(), nn.Module()
        self.embeddings.token_embedding = CastingEmbedding(WORDS, width)
        self.embeddings.position_embedding = CastingEmbedding(LENGTH, width)
        self.encoder.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.final_layer_norm = CastingNorm(width)

    def forward(self, embeddings: Tensor, ends: list[int], layer: int | None) -> tuple[Tensor, Tensor | None, Tensor]:
        x = embeddings + self.embeddings.position_embedding.weight.to(embeddings)  # without a call of its module
        mask = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)
        early = None
        for i, each in enumerate(self.encoder.layers):
            x = each(x, mask)
            if layer is not None and i == len(self.encoder.layers) + layer:
                early = x.clone()
        x = self.final_layer_norm(x)
        return x, None if early is None else self.final_layer_norm(early), x[range(len(x)), ends]


class TextModel(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.text_model = TextTransformer(width, layers, heads)
        self.text_projection = CastingLinear(width, width, bias=False)

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.embeddings.token_embedding

    def forward(self, *args: Any) -> tuple[Tensor, Tensor | None, Tensor]:
        hidden, early, pooled = self.text_model(*args)
        return hidden, early, self.text_projection(pooled)


class Encoder(nn.Module):
    """An SDClipModel."""

    def __init__(self, width: int, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.transformer, self.layer = TextModel(width, layers, heads).eval().requires_grad_(False), None

    def process_tokens(self, tokens: list[list[Any]], device: Any) -> tuple[Tensor, Tensor, list[int], list[Any]]:
        rows, ends = [], []
        for chunk in tokens:
            ids = [token for token in chunk if isinstance(token, int)]
            x = self.transformer.get_input_embeddings()(torch.tensor([ids]), out_dtype=torch.float32)
            for at, token in enumerate(chunk):
                if isinstance(token, Tensor):
                    x = torch.cat([x[:, :at], token.float()[None, None], x[:, at:]], 1)
            rows.append(x)
            ends.append(next(i for i, token in enumerate(chunk) if not isinstance(token, Tensor) and token == EOS))
        return torch.cat(rows), torch.ones(len(tokens), LENGTH), ends, []

    def forward(self, tokens: list[list[Any]]) -> tuple[Tensor, Tensor]:
        embeddings, _, ends, _ = self.process_tokens(tokens, "cpu")
        hidden, early, pooled = self.transformer(embeddings, ends, self.layer)
        return (hidden if early is None else early).clone(), pooled.clone()

    def encode_token_weights(self, pairs: list[list[tuple[Any, float]]]) -> tuple[Tensor, Tensor]:
        weighted = any(weight != 1.0 for chunk in pairs for _, weight in chunk)
        empty = [[BOS] + [EOS] * (LENGTH - 1)] if weighted else []
        out, pooled = self([[token for token, _ in chunk] for chunk in pairs] + empty)
        for i, chunk in enumerate(pairs):
            for j, (_, weight) in enumerate(chunk):
                if weight != 1.0:
                    out[i, j] = (out[i, j] - out[-1, j]) * weight + out[-1, j]
        return out[: len(pairs)].flatten(0, 1)[None], pooled[:1]


class Sd1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.clip_l = Encoder(32)

    def encode_token_weights(self, tokens: dict[str, Any]) -> tuple[Tensor, Tensor]:
        return self.clip_l.encode_token_weights(tokens["l"])


class Sdxl(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.clip_l, self.clip_g = Encoder(32), Encoder(48)
        self.clip_l.layer = self.clip_g.layer = -2

    def encode_token_weights(self, tokens: dict[str, Any]) -> tuple[Tensor, Tensor]:
        second, pooled = self.clip_g.encode_token_weights(tokens["g"])
        return torch.cat([self.clip_l.encode_token_weights(tokens["l"])[0], second], -1), pooled


class Clip:
    """comfy.sd.CLIP. words: what textual inversion puts in for a word."""

    def __init__(self, model: nn.Module) -> None:
        self.cond_stage_model, self.layer, self.words = model, None, {}

    def clone(self) -> Clip:
        return copy.copy(self)

    def tokenize(self, text: str) -> dict[str, list[list[tuple[Any, float]]]]:
        """Words are numbers; `5*1.3` is one with a weight. As many chunks as it takes."""
        tokens: list[tuple[Any, float]] = []
        for word in text.split():
            name, _, weight = word.partition("*")
            tokens.append((self.words[name] if name in self.words else int(name), float(weight or 1)))
        rows = [tokens[i : i + LENGTH - 2] for i in range(0, max(1, len(tokens)), LENGTH - 2)]
        chunks = [[(BOS, 1.0), *row, *[(EOS, 1.0)] * (LENGTH - 1 - len(row))] for row in rows]
        return {"l": chunks, "g": chunks}

    def encode_from_tokens_scheduled(self, tokens: Any) -> list[Any]:
        conditioning, pooled = self.cond_stage_model.encode_token_weights(tokens)
        return [[conditioning, {"pooled_output": pooled}]]


class ClipVision:
    def __init__(self, dim: int = 768) -> None:
        self.matrix = torch.randn(3, dim)

    def encode_image(self, image: Tensor) -> dict[str, Tensor]:
        return {"image_embeds": image.mean((1, 2)) @ self.matrix}


class Host:
    """interrupted: whether the user has cancelled; bars: the progress of every bar."""

    def __init__(self) -> None:
        self.interrupted, self.bars = False, []


@contextmanager
def comfy_at(folder: Path) -> Iterator[Host]:
    """While the block runs, the modules of a ComfyUI in `folder` can be imported."""
    host = Host()
    fakes = dict(_modules(host, folder))
    _forget_nodes()
    sys.modules.update(fakes)
    try:
        yield host
    finally:
        for name in fakes:
            del sys.modules[name]
        _forget_nodes()


def _forget_nodes() -> None:
    """They are bound to the ComfyUI that they were imported in."""
    package = importlib.import_module("aesthetic_embeddings.comfy")
    for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
        del sys.modules[name]
        vars(package).pop(name.rpartition(".")[2], None)


def _modules(host: Host, folder: Path) -> Iterator[tuple[str, Any]]:
    comfy, utils, management, paths = (
        types.ModuleType(name) for name in ("comfy", "comfy.utils", "comfy.model_management", "folder_paths")
    )
    known: dict[str, list[str]] = {"text_encoders": [str(folder / "models/text_encoders")]}

    def throw_exception_if_processing_interrupted() -> None:
        if host.interrupted:
            raise InterruptProcessingException

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total, self.done = total, 0
            host.bars.append(self)

        def update(self, value: int) -> None:
            self.done += value

    utils.ProgressBar = ProgressBar  # type: ignore[attr-defined]
    management.throw_exception_if_processing_interrupted = throw_exception_if_processing_interrupted  # type: ignore
    management.soft_empty_cache = lambda: None  # type: ignore[attr-defined]
    comfy.utils, comfy.model_management = utils, management  # type: ignore[attr-defined]
    paths.models_dir, paths.base_path = str(folder / "models"), str(folder)  # type: ignore[attr-defined]
    paths.add_model_folder_path = lambda name, path: known.setdefault(name, []).append(path)  # type: ignore
    paths.get_folder_paths = lambda name: known[name]  # type: ignore[attr-defined]
    paths.get_filename_list = lambda name: [p.name for f in known[name] for p in Path(f).glob("*")]  # type: ignore
    paths.get_full_path = lambda name, file: str(Path(known[name][0]) / file)  # type: ignore[attr-defined]
    yield from {
        "comfy": comfy,
        "comfy.utils": utils,
        "comfy.model_management": management,
        "folder_paths": paths,
    }.items()
