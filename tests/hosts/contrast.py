"""Contrast, and which CLIP an aesthetic belongs to: the host's conditioning against the core's.

The host must have no neutral embedding of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

import aesthetic_embeddings as ae
from aesthetic_embeddings.aesthetics.embedding import with_neutral
from aesthetic_embeddings.aesthetics.families import clip_signature

from .client import Host
from .references import Reference
from .sequences import Line, values
from .towers import CAT, LONG, SETTINGS, first, near

ADAM, NORMALIZED = SETTINGS, replace(SETTINGS, update="normalized", epsilon=5e-5)
MISSING, ANOTHER = "Contrast needs ordinary pictures", "another CLIP of the shape"


def contrast(
    host: Host, reference: Reference, e: ae.AestheticEmbedding, folder: Path, tolerance: float
) -> Iterator[Line]:
    """folder: the host's, where aesthetics are. Files are put there, and taken away again."""
    ordinary, other = (_like(e, seed) for seed in (1, 2))
    own = replace(e, name="contrast-own", against=ordinary.vectors)
    bare = replace(e, name="contrast-bare")
    files = [own.save(folder / "contrast-own.safetensors"), bare.save(folder / "contrast-bare.safetensors")]

    def compare(line: str, embedding: ae.AestheticEmbedding, settings: ae.Settings, prompt: str = CAT) -> Line:
        got = first(host.txt2img(values(embedding.name, settings), prompt=prompt))
        want, plain = reference.conditioning(prompt, embedding, settings), reference.conditioning(prompt)
        return near(line, got, want, plain, tolerance)

    try:
        for share in (0.5, 1.0):
            for settings in (ADAM, NORMALIZED):
                asked = replace(settings, contrast=share)
                yield compare(f"against its own ordinary pictures, {share:g}, {asked.update}", own, asked)
        yield compare("two chunks", own, replace(ADAM, contrast=0.75), LONG)
        yield compare("0 is the mean as published", own, ADAM)
        pixels = [host.txt2img(values(own.name, replace(ADAM, contrast=share))).hash for share in (0.0, 0.5, 1.0, 0.0)]
        yield "each share its own picture, and the first again", len(set(pixels)) == 3 and pixels[0] == pixels[3]

        full = replace(ADAM, contrast=1.0)
        picture = host.txt2img(values(bare.name, full))
        want, plain = reference.conditioning(CAT, bare, ADAM), reference.conditioning(CAT)
        yield near("nothing to be told apart from: as published", first(picture), want, plain, tolerance)
        yield "nothing to be told apart from: said", MISSING in picture.comments
        for number, neutral in enumerate((ordinary, other), 1):
            files.append(neutral.save(folder / "neutral.safetensors", overwrite=True))
            yield compare(f"neutral embedding {number}, found at once", with_neutral(bare, neutral), full)

        wrong = {family: clip_signature(_noise(1024, 3)) for family in e.vectors}
        foreign = replace(e, name="contrast-foreign", clips=wrong)
        files.append(foreign.save(folder / "contrast-foreign.safetensors"))
        picture = host.txt2img(values(foreign.name, ADAM))
        yield near("of another CLIP: plain", first(picture), plain, plain, tolerance)
        yield "of another CLIP: said", ANOTHER in picture.comments
        yield compare("of another CLIP, if the user insists", foreign, replace(ADAM, any_clip=True))
    finally:
        for file in set(files):
            file.unlink(missing_ok=True)


def _like(e: ae.AestheticEmbedding, seed: int) -> ae.AestheticEmbedding:
    """Half of it, half noise, as the mean of ordinary pictures might be."""
    vectors = {
        family: 0.5 * x + 0.5 * x.norm() * torch.nn.functional.normalize(_noise(x.numel(), seed), dim=0)
        for family, x in e.vectors.items()
    }
    return ae.AestheticEmbedding(vectors, name="neutral")


def _noise(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))
