"""What changes an SD1 text encoder: a LoRA, a textual inversion. On, against the core with the same change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import aesthetic_embeddings as ae

from .client import Host
from .outside import Outside
from .sequences import Line, values

CAT = "a photo of a cat"


def towers(
    host: Host, outside: Outside, e: ae.AestheticEmbedding, name: str, addons: Path, tolerance: float
) -> Iterator[Line]:
    """`addons`: the host's folder, with models/Lora/{lora-te,lora-unet}.safetensors and embeddings/ti-style.pt."""
    settings = ae.Settings(steps=4)

    def near(line: str, got: Tensor, plain: Tensor, want: Tensor) -> Line:
        error = (got - want).norm() / (want - plain).norm()
        return f"{line} ({error:.1e})", bool(error <= tolerance)

    def first(prompt: str, on: bool = True) -> Tensor:
        return host.txt2img(values(name, settings) if on else None, prompt=prompt).samplings[0]["c"][0][0][0]

    before = first(CAT, on=False)
    with outside.lora(addons / "models/Lora/lora-te.safetensors", 0.8):
        plain, want = outside.conditioning(CAT), outside.conditioning(CAT, e, settings)
    with outside.lora(addons / "models/Lora/lora-te.safetensors", 0.4):
        plain4, want4 = outside.conditioning(CAT), outside.conditioning(CAT, e, settings)
    yield near("LoRA on the text encoder", first(f"{CAT} <lora:lora-te:0.8>"), plain, want)
    yield near("LoRA, another strength", first(f"{CAT} <lora:lora-te:0.4>"), plain4, want4)
    yield near("LoRA off again", first(CAT), outside.conditioning(CAT), outside.conditioning(CAT, e, settings))
    yield near("LoRA on again", first(f"{CAT} <lora:lora-te:0.8>"), plain, want)
    yield "LoRA gone: the plain conditioning of before", bool(torch.equal(first(CAT, on=False), before))
    unet = first(f"{CAT} <lora:lora-unet:0.8>")
    yield near("LoRA on the UNet alone", unet, outside.conditioning(CAT), outside.conditioning(CAT, e, settings))

    with outside.inverted("a photo in ", addons / "embeddings/ti-style.pt") as ids:
        plain, want = outside.conditioning(ids), outside.conditioning(ids, e, settings)
    yield near("textual inversion", first("a photo in ti-style"), plain, want)
    negative = host.txt2img(values(name, settings, negative=name), negative_prompt="a photo in ti-style")
    yield near("textual inversion in the negative prompt", negative.samplings[0]["uc"][0][0], plain, want)
