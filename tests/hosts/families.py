"""SDXL and SD2 in a real host, against the core on the same checkpoint's towers.

    python -m tests.hosts.families --url ... --tokenizer FOLDER --embedding FILE sdxl=FILE sd2=FILE ...

Each FILE is a checkpoint that the host knows by its stem; the embedding has a vector for each of their families.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

import aesthetic_embeddings as ae

from ..core.encoders import _open_clip_transformer
from .client import Host
from .outside import Outside
from .sequences import Line, values

CAT, SETTINGS = "a photo of a cat", ae.Settings(steps=4)


class OpenClip:
    """The OpenCLIP tower of a checkpoint, as its makers' code runs it."""

    def __init__(self, checkpoint: Path, prefix: str) -> None:
        with safe_open(checkpoint, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            weights = {name.removeprefix(prefix): file.get_tensor(name).float() for name in names}
        self.length, self.width = weights["positional_embedding"].shape
        self.model = _open_clip_transformer().TextTransformer(
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


def sdxl(
    host: Host, checkpoint: Path, tokenizer: Path, e: ae.AestheticEmbedding, name: str, tolerance: float
) -> Iterator[Line]:
    first = Outside(checkpoint, tokenizer, "conditioner.embedders.0.transformer.text_model.")
    second = OpenClip(checkpoint, "conditioner.embedders.1.model.")
    ids = first.chunks(CAT)

    @torch.no_grad()
    def encode() -> tuple[Tensor, Tensor]:
        of_first: Any = first.encoder(ids, output_hidden_states=True)
        penultimate, pooled = second.run(padded(ids))
        return torch.cat([of_first.hidden_states[11], penultimate], -1)[0], pooled[0]

    plain = encode()
    with (
        ae.personalized(first.encoder, ids, e, SETTINGS),
        ae.personalized(second.model, padded(ids), e, SETTINGS, encode=second.run),
    ):
        both = encode()
    with ae.personalized(first.encoder, ids, e, SETTINGS):
        one = encode()

    def compare(line: str, got: dict[str, Tensor], want: tuple[Tensor, Tensor]) -> Iterator[Line]:
        parts = {"crossattn": got["crossattn"], "vector": got["vector"][: len(want[1])]}
        for (part, ours), x, p in zip(parts.items(), want, plain, strict=True):
            change = (x - p).norm()
            error = float((ours - x).norm() / (change if change > 0 else p.norm()))
            yield f"{line}, {part} ({error:.1e})", error < tolerance

    picture = host.txt2img(values(name, SETTINGS))
    yield from compare("SDXL, both towers", picture.samplings[0]["c"][0][0][0], both)
    yield "SDXL: as many similarities as towers", picture.comments.count("→") == 2
    arc = replace(SETTINGS, weight=0.5, blend="slerp")
    got = host.txt2img(values(name, arc)).samplings[0]["c"][0][0][0]["vector"]
    size = host.txt2img().samplings[0]["c"][0][0][0]["vector"][len(plain[1]) :]
    yield "SDXL, blended on an arc: the picture's size stays", bool(torch.equal(got[len(plain[1]) :], size))
    picture = host.txt2img(values("sac_8plus", SETTINGS))
    yield from compare("SDXL, a vector for the first tower alone", picture.samplings[0]["c"][0][0][0], one)
    yield "SDXL: the other is said to be left alone", "is left alone" in picture.comments
    picture = host.txt2img(values(name, SETTINGS, negative=name), negative_prompt="")
    negative = picture.samplings[0]["uc"][0][0]
    yield "SDXL: the empty negative prompt stays zero", not negative["crossattn"].any()


def sd2(
    host: Host, checkpoint: Path, tokenizer: Path, e: ae.AestheticEmbedding, name: str, tolerance: float
) -> Iterator[Line]:
    """A1111 keeps the tower's last layer, which the picture does not need; Forge does not, and says so."""
    tower = OpenClip(checkpoint, "cond_stage_model.model.")
    ids = padded(_chunks(tokenizer))

    def encode() -> Tensor:
        with torch.no_grad():
            return tower.model.ln_final(tower.run(ids)[0])[0]

    plain = encode()
    with ae.personalized(tower.model, ids, e, SETTINGS, encode=tower.run):
        want = encode()
    picture = host.txt2img(values(name, SETTINGS))
    got = picture.samplings[0]["c"][0][0][0]
    if "without its last layer" in picture.comments:
        yield "SD2: refused, and plain", float((got - plain).norm() / plain.norm()) < tolerance
        return
    error = float((got - want).norm() / (want - plain).norm())
    yield f"SD2 ({error:.1e})", error < tolerance


def _chunks(tokenizer: Path) -> Tensor:
    from transformers import CLIPTokenizer

    known = CLIPTokenizer.from_pretrained(tokenizer)
    ids = known(CAT)["input_ids"]
    return torch.tensor([ids + [known.eos_token_id] * (77 - len(ids))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--embedding", type=Path, required=True)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    host, e = Host(arguments.url), ae.load(arguments.embedding)
    before = host.call("/sdapi/v1/options")["sd_model_checkpoint"]
    failed = 0
    for given in arguments.checkpoints:
        kind, _, file = given.partition("=")
        host.call("/sdapi/v1/options", {"sd_model_checkpoint": Path(file).stem})
        plain = host.txt2img().hash
        lines = {"sdxl": sdxl, "sd2": sd2}[kind]
        name, tolerance = arguments.embedding.stem, arguments.tolerance
        for line, good in lines(host, Path(file), arguments.tokenizer, e, name, tolerance):
            failed += not good
            print(f"{'ok ' if good else 'BAD'} {Path(file).stem}: {line}", flush=True)
        print(f"{'ok ' if host.txt2img().hash == plain else 'BAD'} {Path(file).stem}: off is plain", flush=True)
    host.call("/sdapi/v1/options", {"sd_model_checkpoint": before})
    sys.exit(failed)


if __name__ == "__main__":
    main()
