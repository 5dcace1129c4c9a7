"""Each family's text encoders outside of any host, from the same checkpoint file: the conditioning that is expected."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

import aesthetic_embeddings as ae
from aesthetic_embeddings.text_encoder.towers import find_tower
from tools.open_clip_text import open_clip_transformer

from .outside import Outside, Prompts

Parts = dict[str, Tensor]  # of a conditioning: SDXL's has "crossattn" and "vector", others one without a name


class OpenClip:
    """The OpenCLIP tower of a checkpoint, as its makers' code runs it."""

    def __init__(self, checkpoint: Path, prefix: str) -> None:
        with safe_open(checkpoint, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            weights = {name.removeprefix(prefix): file.get_tensor(name).float() for name in names}
        self.length, self.width = weights["positional_embedding"].shape
        self.model = open_clip_transformer().TextTransformer(
            context_length=self.length,
            vocab_size=len(weights["token_embedding.weight"]),
            width=self.width,
            heads=self.width // 64,
            layers=1 + max(int(name.split(".")[2]) for name in weights if name.startswith("transformer.")),
            output_dim=weights["text_projection"].shape[1],
        )
        self.model.load_state_dict(weights, strict=False)
        self.model.eval()

    @torch.no_grad()
    def run(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The penultimate hidden states `[chunks, 77, width]`, and the pooled feature `[chunks, dim]`."""
        model = self.model
        x = penultimate = model.token_embedding(ids) + model.positional_embedding
        for block in model.transformer.resblocks:
            penultimate = x
            x = block(x, attn_mask=model.attn_mask)
        pooled = model.ln_final(x)[torch.arange(len(ids)), ids.argmax(-1)] @ model.text_projection
        return penultimate, pooled


def padded(ids: Tensor) -> Tensor:
    """OpenCLIP pads with 0 behind the first end of text."""
    behind = (ids == ids.max()).cumsum(1).cumsum(1) > 1
    return ids.masked_fill(behind, 0)


class Reference:
    """towers: by kohya's prefix; layers: those that networks are for; keys: under which each tower's vectors lie in the
    file of a textual inversion."""

    towers: dict[str, nn.Module]
    layers = slice(None)
    keys: tuple[str, ...] = ("",)
    prompts: Prompts

    def ids(self, prompt: str) -> dict[str, Tensor]:
        """By tower, `[chunks, 77]`; padded as CLIP ViT-L/14's are."""
        return {prefix: self.prompts.chunks(prompt) for prefix in self.towers}

    def run(self, prefix: str, ids: Tensor) -> Any:
        """The tower's own forward."""
        raise NotImplementedError

    def encode(self, ids: dict[str, Tensor]) -> Parts:
        raise NotImplementedError

    @torch.no_grad()
    def conditioning(
        self,
        prompt: str,
        e: ae.AestheticEmbedding | None = None,
        settings: ae.Settings | None = None,
        only: Collection[str] | None = None,
    ) -> Parts:
        """only: the prefixes of the towers that are tuned; all by default."""
        ids = self.ids(prompt)
        with ExitStack() as tuned:
            for prefix, tower in self.towers.items() if e is not None else ():
                if only is None or prefix in only:
                    run = lambda x, prefix=prefix: self.run(prefix, x)  # noqa: E731
                    tuned.enter_context(ae.personalized(tower, ids[prefix], e, settings, encode=run))
            return self.encode(ids)

    @contextmanager
    def inverted(self, file: Path) -> Iterator[str]:
        """While the block runs, the textual inversion stands where prompts have its name, which is yielded."""
        vectors, word = _vectors(file), file.stem
        first = vectors[self.keys[0]] if self.keys[0] in vectors else next(iter(vectors.values()))
        self.prompts.words[word] = list(range(49000, 49000 + len(first)))  # ids that no prompt of ours has
        with ExitStack() as hooks:
            for key, tower in zip(self.keys, self.towers.values(), strict=True):
                hook = _put(self.prompts.words[word], vectors.get(key, first))
                hooks.callback(find_tower(tower).embedding.register_forward_hook(hook).remove)
            yield word
        del self.prompts.words[word]

    def fits(self, file: Path) -> bool:
        """Whether a textual inversion is for this family."""
        vectors = _vectors(file)
        widths = [find_tower(tower).width for tower in self.towers.values()]
        return [x.shape[1] for x in vectors.values()] == widths


def _vectors(file: Path) -> Parts:
    if file.suffix == ".pt":
        return {"": torch.load(file)["string_to_param"]["*"].float()}
    with safe_open(file, framework="pt") as tensors:
        return {key: tensors.get_tensor(key).float() for key in sorted(tensors.keys(), reverse=True)}


def _put(ids: list[int], vectors: Tensor) -> Any:
    def put(_: Any, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        out = out.clone()
        for token, vector in zip(ids, vectors, strict=True):
            out[args[0] == token] = vector.to(out)
        return out

    return put


class Sd1(Reference):
    def __init__(self, outside: Outside) -> None:
        self.prompts, self.first = outside.prompts, outside.encoder
        self.towers = {"lora_te": self.first}

    def run(self, prefix: str, ids: Tensor) -> Any:
        return self.first(ids)

    def encode(self, ids: dict[str, Tensor]) -> Parts:
        return {"": self.run("", ids["lora_te"]).last_hidden_state.flatten(0, 1)}


class Sd2(Reference):
    layers = slice(-1)  # its trainers leave the last one out, which the picture does not need

    def __init__(self, checkpoint: Path, tokenizer: Path) -> None:
        self.prompts = Prompts(tokenizer)
        self.second = OpenClip(checkpoint, "cond_stage_model.model.")
        self.towers = {"lora_te": self.second.model}

    def ids(self, prompt: str) -> dict[str, Tensor]:
        return {prefix: padded(ids) for prefix, ids in super().ids(prompt).items()}

    def run(self, prefix: str, ids: Tensor) -> Any:
        return self.second.run(ids)

    def encode(self, ids: dict[str, Tensor]) -> Parts:
        return {"": self.second.model.ln_final(self.second.run(ids["lora_te"])[0]).flatten(0, 1)}


class Sdxl(Reference):
    keys = ("clip_l", "clip_g")

    def __init__(self, checkpoint: Path, tokenizer: Path) -> None:
        outside = Outside(checkpoint, tokenizer, "conditioner.embedders.0.transformer.text_model.")
        self.prompts, self.first = outside.prompts, outside.encoder
        self.second = OpenClip(checkpoint, "conditioner.embedders.1.model.")
        self.towers = {"lora_te1": self.first, "lora_te2": self.second.model}

    def ids(self, prompt: str) -> dict[str, Tensor]:
        ids = super().ids(prompt)
        return ids | {"lora_te2": padded(ids["lora_te2"])}

    def run(self, prefix: str, ids: Tensor) -> Any:
        return self.second.run(ids) if prefix == "lora_te2" else self.first(ids, output_hidden_states=True)

    def encode(self, ids: dict[str, Tensor]) -> Parts:
        first, (second, pooled) = (self.run(prefix, ids[prefix]) for prefix in self.towers)
        return {"crossattn": torch.cat([first.hidden_states[11], second], -1).flatten(0, 1), "vector": pooled[0]}


class Sd3(Sdxl):
    """Its two CLIPs, taken from a checkpoint of SDXL. T5's tokens are zeros, or are not there."""

    def encode(self, ids: dict[str, Tensor]) -> Parts:
        first, (second, pooled) = (self.run(prefix, ids[prefix]) for prefix in self.towers)
        both = torch.cat([first.hidden_states[11], second], -1).flatten(0, 1)
        crossattn = nn.functional.pad(both, (0, 4096 - both.shape[-1]))
        return {"crossattn": crossattn, "vector": torch.cat([first.pooler_output[0], pooled[0]])}


class Flux(Sd1):
    """Its CLIP, which gives the pooled feature alone."""

    def encode(self, ids: dict[str, Tensor]) -> Parts:
        return {"vector": self.run("", ids["lora_te"]).pooler_output[0]}


class Refiner(Sd2):
    """SDXL's: its second encoder alone, which no trainer of LoRAs has a name for."""

    keys = ("clip_g",)

    def __init__(self, checkpoint: Path, tokenizer: Path) -> None:
        self.prompts = Prompts(tokenizer)
        self.second = OpenClip(checkpoint, "conditioner.embedders.0.model.")
        self.towers = {"": self.second.model}

    def encode(self, ids: dict[str, Tensor]) -> Parts:
        crossattn, pooled = self.second.run(ids[""])
        return {"crossattn": crossattn.flatten(0, 1), "vector": pooled[0]}
