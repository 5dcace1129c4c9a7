"""What only Forge has, against the core: SD3 and Flux, LoRAs merged at each call, text encoders in fp8.

    python -m tests.hosts.forge --url ... --tokenizer FOLDER --embedding FILE sd3=FILE,T5 flux=FILE,CLIP,T5 online=FILE

The first FILE is a checkpoint that the host knows by its stem, the others are modules that it knows by their names.
A host that was started with --clip-in-fp32, --clip-in-fp8-e4m3fn or --clip-in-fp8-e5m2 is described by --stored.
`online=FILE` runs SD1 with "Diffusion in Low Bits" at fp8, where Forge applies LoRAs at each call.
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
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import aesthetic_embeddings as ae

from .client import Host, Picture
from .families import arguments_for
from .outside import Outside, Prompts
from .references import Parts, Reference, Refiner, Sd1, padded
from .sequences import Line, values
from .towers import CAT, LONG, PATCHED, Towers, first, near, negative

SETTINGS = ae.Settings(steps=4, update="normalized", epsilon=5e-5)  # Adam takes 8 GB more for bigG


def clip(file: Path, prefix: str, activation: str) -> Any:
    """A text encoder with its projection, as transformers runs it, from its own layout."""
    with safe_open(file, framework="pt") as tensors:
        names = [name for name in tensors.keys() if name.startswith(prefix)]  # noqa: SIM118
        weights = {name.removeprefix(prefix): tensors.get_tensor(name).float() for name in names}
    width = len(weights["text_projection.weight"])
    config = CLIPTextConfig(
        hidden_size=width,
        num_hidden_layers=1 + max(int(name.split(".")[3]) for name in weights if ".layers." in name),
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        projection_dim=width,
        hidden_act=activation,
    )
    model = CLIPTextModelWithProjection(config).eval()
    missing, _ = model.load_state_dict(weights, strict=False)
    assert not missing, missing
    return model


class Sd3(Reference):
    """CLIP-L and bigG side by side, filled up with zeros to T5's width; T5's rows follow, which nothing tunes."""

    keys = ("clip_l", "clip_g")

    def __init__(self, checkpoint: Path, tokenizer: Path) -> None:
        self.prompts = Prompts(tokenizer)
        root = "text_encoders.clip_{}.transformer."
        self.towers = {
            "lora_te1": clip(checkpoint, root.format("l"), "quick_gelu"),
            "lora_te2": clip(checkpoint, root.format("g"), "gelu"),
        }

    def ids(self, prompt: str) -> dict[str, Tensor]:
        ids = super().ids(prompt)
        return ids | {"lora_te2": padded(ids["lora_te2"])}

    def run(self, prefix: str, ids: Tensor) -> Any:
        return self.towers[prefix](ids, output_hidden_states=True)

    def encode(self, ids: dict[str, Tensor]) -> Parts:
        first, second = (self.run(prefix, ids[prefix]) for prefix in self.towers)
        hidden = torch.cat([first.hidden_states[-1], second.hidden_states[-1]], -1).flatten(0, 1)
        pooled = torch.cat([_unprojected(first, ids["lora_te1"]), second.text_embeds], -1)[0]
        return {"crossattn": torch.nn.functional.pad(hidden, (0, 4096 - hidden.shape[1])), "vector": pooled}


class Flux(Reference):
    """T5's rows are left alone; of CLIP-L only the pooled feature of the first chunk conditions the picture."""

    keys = ("clip_l",)

    def __init__(self, module: Path, tokenizer: Path) -> None:
        self.prompts = Prompts(tokenizer)
        self.towers = {"lora_te1": clip(module, "", "quick_gelu")}

    def run(self, prefix: str, ids: Tensor) -> Any:
        return self.towers[prefix](ids)

    def encode(self, ids: dict[str, Tensor]) -> Parts:
        return {"vector": _unprojected(self.run("lora_te1", ids["lora_te1"]), ids["lora_te1"])[0]}


def _unprojected(out: Any, ids: Tensor) -> Tensor:
    return out.last_hidden_state[torch.arange(len(ids)), ids.argmax(-1)]


class Flow(Host):
    """SD3 and Flux have no "Automatic" scheduler: their pictures would be NaN."""

    def txt2img(self, values: list[Any] | None = None, **request: Any) -> Picture:
        return super().txt2img(values, **{"scheduler": "Simple", **request})


class Forge:
    """The lines for one checkpoint."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.host, self.tolerance = Flow(arguments.url), arguments.tolerance
        self.tokenizer, self.addons, self.stored = arguments.tokenizer, arguments.addons, arguments.stored
        self.e, self.name = ae.load(arguments.embedding), arguments.embedding.stem
        self.alone = ae.load(arguments.embedding.with_name("sac_8plus.pt"))  # for CLIP ViT-L/14 alone

    def near(self, line: str, got: Parts, want: Parts, plain: Parts) -> Line:
        return near(line, got, want, plain, self.tolerance)

    def rounded(self, reference: Reference) -> None:
        """To the dtype in which the host stores text encoders, whose tuning is then exact."""
        for tower in reference.towers.values():
            for parameter in tower.parameters():
                parameter.data = parameter.data.to(getattr(torch, self.stored)).float()

    def common(self, reference: Reference) -> Iterator[Line]:
        self.rounded(reference)
        host = self.host
        plain, tuned = reference.conditioning(CAT), reference.conditioning(CAT, self.e, SETTINGS)
        before, picture = host.txt2img(), host.txt2img(values(self.name, SETTINGS))
        yield self.near("off", first(before), plain, plain)
        yield self.near("on", first(picture), tuned, plain)
        yield "another picture", picture.hash != before.hash
        yield "as many similarities as towers", picture.comments.count("→") == len(reference.towers)
        picture = host.txt2img(values(self.name, SETTINGS), prompt=LONG)
        long, want = reference.conditioning(LONG), reference.conditioning(LONG, self.e, SETTINGS)
        yield self.near("two chunks", first(picture), want, long)
        picture = host.txt2img(values("None", SETTINGS, negative=self.name), negative_prompt=CAT)
        yield self.near("negative prompt", negative(picture), tuned, plain)
        if self.addons:
            changes = self.changes(reference)
            yield from changes.networks()
            yield from changes.inversion()

    def changes(self, reference: Reference) -> Towers:
        return Towers(self.host, reference, self.e, self.name, self.addons, self.tolerance)

    def sd3(self, checkpoint: Path, *_: Path) -> Iterator[Line]:
        reference, host = Sd3(checkpoint, self.tokenizer), self.host
        yield from self.common(reference)
        plain = reference.conditioning(CAT)
        before, picture = host.txt2img(), host.txt2img(values(self.name, SETTINGS))
        yield "T5's part as it was", _rest(first(picture), first(before), len(plain["crossattn"]))
        one = reference.conditioning(CAT, self.alone, SETTINGS, only=["lora_te1"])
        picture = host.txt2img(values("sac_8plus", SETTINGS))
        yield self.near("a vector for the first tower alone", first(picture), one, plain)
        yield "the other is said to stay plain", "stays plain" in picture.comments
        arc = replace(SETTINGS, weight=0.5, blend="slerp")
        for t5 in (True, False):
            host.call("/sdapi/v1/options", {"sd3_enable_t5": t5})
            before, picture = host.txt2img(), host.txt2img(values(self.name, arc))
            got, line = first(picture), f"blended on an arc, T5 {'on' if t5 else 'off'}"
            tuned = reference.conditioning(CAT, self.e, SETTINGS)
            want = {name: ae.blended(x, tuned[name], arc) for name, x in plain.items()}
            want["vector"] = torch.lerp(plain["vector"], tuned["vector"], 0.5)
            yield self.near(line, got, want, plain)
            yield f"{line}: T5's part as it was", _rest(got, first(before), len(plain["crossattn"]))
        host.call("/sdapi/v1/options", {"sd3_enable_t5": True})
        picture = host.txt2img(values(self.name, SETTINGS, negative=self.name), negative_prompt="")
        yield "the empty negative prompt stays zero", not negative(picture)["crossattn"].any()

    def flux(self, checkpoint: Path, module: Path, *_: Path) -> Iterator[Line]:
        reference, host = Flux(module, self.tokenizer), self.host
        yield from self.common(reference)
        before, picture = first(host.txt2img()), first(host.txt2img(values(self.name, SETTINGS)))
        yield "T5 as it was", bool(torch.equal(picture["crossattn"], before["crossattn"]))
        yield "guidance as it was", bool(torch.equal(picture["guidance"], before["guidance"]))
        arc = first(host.txt2img(values(self.name, replace(SETTINGS, weight=0.5, blend="slerp"))))
        yield "blended on an arc, T5 as it was", bool(torch.equal(arc["crossattn"], before["crossattn"]))

    def refiner(self, checkpoint: Path) -> Iterator[Line]:
        """SDXL's, as a checkpoint like any other."""
        yield from self.common(Refiner(checkpoint, self.tokenizer))

    def sd1(self, checkpoint: Path) -> Iterator[Line]:
        yield from self.common(Sd1(Outside(checkpoint, self.tokenizer)))

    def online(self, checkpoint: Path) -> Iterator[Line]:
        """LoRAs that Forge does not merge: the weights do not show them, so the prompt stays plain, which is said."""
        changes = self.changes(Sd1(Outside(checkpoint, self.tokenizer)))
        off = changes.expected()
        with changes.network("LoRA") as (name, file):
            on, prompt = changes.merged("LoRA", file, 0.8), f"{CAT} <lora:{name}:0.8>"
            for low_bits, refused in {"float8-e4m3fn": False, "float8-e4m3fn (fp16 LoRA)": True}.items():
                self.choose(forge_unet_storage_dtype=low_bits)
                yield changes.near(f"{low_bits}: no LoRA", first(changes.picture()), off)
                without, picture = changes.picture(prompt, on=False), changes.picture(prompt)
                yield self.near(f"{low_bits}: LoRA, off", first(without), on[1], off[1])
                if refused:
                    yield f"{low_bits}: LoRA, plain", bool(torch.equal(first(picture)[""], first(without)[""]))
                    yield f"{low_bits}: LoRA, said", PATCHED in picture.comments
                else:
                    yield changes.near(f"{low_bits}: LoRA", first(picture), on)
                yield f"{low_bits}: the encoder's modules", picture.encoder == without.encoder
                yield changes.near(f"{low_bits}: LoRA off again", first(changes.picture()), off)
        self.choose(forge_unet_storage_dtype="Automatic")

    def choose(self, **options: Any) -> None:
        """The host reads how a model is loaded only when its checkpoint changes."""
        chosen = self.host.call("/sdapi/v1/options")["sd_model_checkpoint"]
        other = next(m["title"] for m in self.host.call("/sdapi/v1/sd-models") if m["model_name"] not in chosen)
        self.host.call("/sdapi/v1/options", {**options, "sd_model_checkpoint": other})
        self.host.call("/sdapi/v1/options", {"sd_model_checkpoint": chosen})


def _rest(got: Parts, before: Parts, rows: int) -> bool:
    return bool(torch.equal(got["crossattn"][rows:], before["crossattn"][rows:]))


def main() -> None:
    parser = arguments_for(__doc__, 5e-3)
    parser.add_argument("--stored", default="float16", help="the dtype in which the host stores text encoders")
    arguments = parser.parse_args()
    forge = Forge(arguments)
    options = forge.host.call("/sdapi/v1/options")
    failed = 0
    for given in arguments.checkpoints:
        kind, _, files = given.partition("=")
        checkpoint, *modules = [Path(file) for file in files.split(",")]
        choice = {"sd_model_checkpoint": checkpoint.stem, "forge_additional_modules": [file.name for file in modules]}
        forge.host.call("/sdapi/v1/options", choice)
        for line, good in getattr(forge, kind)(checkpoint, *modules):
            failed += not good
            print(f"{'ok ' if good else 'BAD'} {checkpoint.stem}: {line}", flush=True)
    forge.host.call("/sdapi/v1/options", {name: options[name] for name in choice})
    sys.exit(failed)


if __name__ == "__main__":
    main()
