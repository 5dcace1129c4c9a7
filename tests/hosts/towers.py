"""What changes a text encoder: LoRA and LyCORIS's kinds, textual inversion. Against the core with the same change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import aesthetic_embeddings as ae

from .client import Host, Picture
from .networks import KINDS, merged, write
from .references import Parts, Reference
from .sequences import Line, values

CAT, SETTINGS = "a photo of a cat", ae.Settings(steps=4)
LONG = " ".join(["a photo of a cat on a green sofa by the sea at dawn"] * 6)  # 78 tokens: two chunks
PATCHED = "does not compute what its weights say"
#: Forge, and Forge Classic DoRA too, take such a file for one of another model, and leave it out.
NOT_EVERYWHERE = {"norm", "IA3", "OFT", "DoRA"}


def parts(cond: Tensor | Parts) -> Parts:
    return cond if isinstance(cond, dict) else {"": cond}


def first(picture: Picture, at: int = 0) -> Parts:
    return parts(picture.samplings[at]["c"][0][0][0])


def negative(picture: Picture) -> Parts:
    return parts(picture.samplings[0]["uc"][0][0])


def near(line: str, got: Parts, want: Parts, plain: Parts, tolerance: float) -> Line:
    """The worst part's error, relative to what tuning changes, or to the plain one where it changes nothing."""
    errors = []
    for name, x in want.items():
        ours = got[name][: len(x)]  # SDXL's vector holds the picture's size too
        scale = (x - plain[name]).norm()
        errors.append(float((ours - x).norm() / (scale if scale > 0 else x.norm())))
    return f"{line} ({max(errors):.1e})", max(errors) <= tolerance


class Towers:
    """The lines for one checkpoint. folder: the host's, with models/Lora and embeddings."""

    def __init__(
        self, host: Host, reference: Reference, e: ae.AestheticEmbedding, name: str, folder: Path, tolerance: float
    ) -> None:
        self.host, self.reference, self.e, self.name, self.tolerance = host, reference, e, name, tolerance
        self.loras = folder / "models/Lora"
        self.inversions = folder / "embeddings", folder / "models/embeddings"  # the second: Neo

    def picture(self, prompt: str = CAT, on: bool = True, **request: Any) -> Picture:
        return self.host.txt2img(values(self.name, SETTINGS) if on else None, prompt=prompt, steps=1, **request)

    def expected(self, prompt: str = CAT) -> tuple[Parts, Parts]:
        """Personalized, and plain."""
        return self.reference.conditioning(prompt, self.e, SETTINGS), self.reference.conditioning(prompt)

    def near(self, line: str, got: Parts, want: tuple[Parts, Parts]) -> Line:
        return near(line, got, *want, self.tolerance)

    @contextmanager
    def network(self, kind: str) -> Iterator[tuple[str, Path]]:
        """A file of this kind in the host's folder, and its name: one per family, as Forge reads a name but once."""
        family = type(self.reference).__name__.lower()
        file = self.loras / f"network-{family}-{kind.lower()}.safetensors"
        write(kind, self.reference.towers, file, self.reference.layers)
        try:
            yield file.stem, file
        finally:
            file.unlink()

    def networks(self) -> Iterator[Line]:
        """Every kind, at two strengths; on and off between pictures, and within a job."""
        before, off = self.picture(on=False), self.expected()
        for kind in KINDS:
            with self.network(kind) as (name, file):
                plain = first(self.picture(f"{CAT} <lora:{name}:0.8>", on=False))
                if kind in NOT_EVERYWHERE and _equal(plain, first(before)):
                    strong = weak = off
                else:
                    strong, weak = (self.merged(kind, file, strength) for strength in (0.8, 0.4))
                    if kind == "OFT" and not near("", plain, strong[1], off[1], self.tolerance)[1]:
                        # Neo and reForge have it from ComfyUI, which multiplies by the strength twice
                        strong, weak = (self.merged(kind, file, strength**2) for strength in (0.8, 0.4))
                yield self.near(kind, first(self.picture(f"{CAT} <lora:{name}:0.8>")), strong)
                yield self.near(f"{kind}, another strength", first(self.picture(f"{CAT} <lora:{name}:0.4>")), weak)
                if kind == "LoRA":
                    yield from self.within_a_job(name, strong, off)
                    yield from self.functional(name, strong, off)
                    yield from self.bookkeeping(name)
                if _equal(strong[1], off[1]):
                    yield f"{kind}: nothing of it is for this model", _equal(plain, first(before))
                else:
                    yield near(f"{kind}, without the aesthetic", plain, strong[1], off[1], self.tolerance)
                yield self.near(f"{kind} off again", first(self.picture()), off)
        if (self.loras / "lora-unet.safetensors").exists():
            yield self.near("LoRA on the UNet alone", first(self.picture(f"{CAT} <lora:lora-unet:0.8>")), off)
        yield "networks gone: the plain conditioning of before", _equal(first(self.picture(on=False)), first(before))

    def merged(self, kind: str, file: Path, strength: float) -> tuple[Parts, Parts]:
        with merged(kind, self.reference.towers, file, strength):
            return self.expected()

    def within_a_job(self, name: str, strong: tuple[Parts, Parts], off: tuple[Parts, Parts]) -> Iterator[Line]:
        """Hosts apply the network of a batch's first prompt to all of it: prompts in batches of one."""
        matrix = {"script_name": "prompt matrix", "script_args": [True, False, "positive", "space", 0]}
        mixed = self.picture(f"{CAT}|<lora:{name}:0.8>", **matrix)
        yield self.near("prompts of one job, the one without LoRA", first(mixed), off)
        yield self.near("prompts of one job, the one with LoRA", first(mixed, 1), strong)

    def functional(self, name: str, strong: tuple[Parts, Parts], off: tuple[Parts, Parts]) -> Iterator[Line]:
        """A1111's option to apply networks at call time, and never to the weights."""
        if "lora_functional" not in self.host.call("/sdapi/v1/options"):
            return
        prompt = f"{CAT} <lora:{name}:0.8>"
        in_weights = self.picture(prompt, on=False).encoder
        self.picture(on=False)  # else the host's cache has the next one, which does not depend on the option
        self.host.call("/sdapi/v1/options", {"lora_functional": True})
        try:
            plain, picture = self.picture(prompt, on=False), self.picture(prompt)
            if plain.encoder == in_weights:  # reForge lists the option, and merges all the same
                yield self.near("LoRA at call time is in the weights here", first(picture), strong)
            else:
                yield "LoRA at call time: plain", plain.hash == picture.hash and _equal(first(plain), first(picture))
                yield f"LoRA at call time: {picture.comments!r}", PATCHED in picture.comments
            yield self.near("LoRA at call time, off", first(self.picture()), off)
        finally:
            self.host.call("/sdapi/v1/options", {"lora_functional": False})
        yield self.near("LoRA in the weights again", first(self.picture(prompt)), strong)

    def bookkeeping(self, name: str) -> Iterator[Line]:
        """What the host notes on the encoder's modules, and their weights: as without the aesthetic."""
        prompts = ["a photo of a dog", f"{CAT} <lora:{name}:0.8>", CAT, f"{CAT} <lora:{name}:0.4>", CAT]
        off, on = ([self.picture(prompt, on=on).encoder for prompt in prompts] for on in (False, True))
        for prompt, without, ours in zip(prompts, off, on, strict=True):
            yield f"the encoder's modules after {prompt!r}", without == ours

    def inversion(self) -> Iterator[Line]:
        """In the prompt, in the negative prompt, in the second chunk."""
        fitting = [
            file
            for file in sorted(f for folder in self.inversions for f in folder.glob("*-style.*"))
            if self.reference.fits(file)
        ]
        for file in fitting[:1]:
            with self.reference.inverted(file) as word:
                for line, prompt in {
                    "textual inversion": f"a photo in {word} of a cat",
                    "textual inversion and two chunks": f"a photo in {word} {LONG}",
                    "textual inversion in the second chunk": f"{LONG} in {word}",
                    "textual inversion in both chunks": f"{word} {LONG} in {word}",
                }.items():
                    yield self.near(line, first(self.picture(prompt)), self.expected(prompt))
                prompt = f"a photo in {word}"
                given = values(self.name, SETTINGS, negative=self.name)
                picture = self.host.txt2img(given, negative_prompt=prompt)
                yield self.near("textual inversion in the negative prompt", negative(picture), self.expected(prompt))
        if not fitting:
            yield f"no textual inversion in {' or '.join(map(str, self.inversions))} fits", False


def towers(
    host: Host, reference: Reference, e: ae.AestheticEmbedding, name: str, folder: Path, tolerance: float
) -> Iterator[Line]:
    changes = Towers(host, reference, e, name, folder, tolerance)
    yield from changes.networks()
    yield from changes.inversion()


def _equal(one: Parts, other: Parts) -> bool:
    return all(torch.equal(x, other[name]) for name, x in one.items())
