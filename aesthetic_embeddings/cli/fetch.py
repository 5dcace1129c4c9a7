"""The only command that downloads anything."""

from __future__ import annotations

import click

from ..text_encoder.missing_parts import FETCHABLE
from ..text_encoder.missing_parts import fetch as fetch_part
from .terminal import progress, say


@click.command()
@click.argument("part", type=click.Choice(tuple(FETCHABLE)), metavar="PART")
def fetch(part: str) -> None:
    """Download a part that models, aesthetics or evaluations lack, once, into the cache.

    projection: 2.4 MB of CLIP ViT-L/14, for SD1, SDXL, SD3 and Flux. last-layer: 55 MB of OpenCLIP ViT-H/14, for SD2 in
    diffusers' format. neutral: 3 kB of LAION-AI/aesthetic-predictor (MIT), the mean ordinary picture of CLIP ViT-L/14,
    for the contrast of aesthetics that were not made against ordinary pictures.

    For `evaluate`, aesthetic scorers, each for the CLIP in its name: simulacra-l14 (the paper's), simulacra-b16 and
    simulacra-b32, 4 kB of crowsonkb/simulacra-aesthetic-models (MIT); laion-l14, laion-b16 and laion-b32, 4 kB of
    LAION-AI/aesthetic-predictor (MIT); improved-l14, 3.7 MB of christophschuhmann/improved-aesthetic-predictor
    (Apache 2.0).
    """
    with progress(f"fetching {part}") as advance:
        path = fetch_part(part, on_progress=advance)
    say(path)
