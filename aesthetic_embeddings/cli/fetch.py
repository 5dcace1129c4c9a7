"""The command that downloads: the only one."""

from __future__ import annotations

import click

from .terminal import progress, say


@click.command()
@click.argument("part", type=click.Choice(("projection", "last-layer", "neutral")))
def fetch(part: str) -> None:
    """Download what models or aesthetics come without, once, into the cache.

    projection: 2.4 MB of CLIP ViT-L/14, for SD1, SDXL, SD3 and Flux. last-layer: 55 MB of OpenCLIP ViT-H/14, for SD2 in
    diffusers' format. neutral: 3 kB of LAION-AI/aesthetic-predictor (MIT), the mean ordinary picture of CLIP ViT-L/14,
    for the contrast of aesthetics that were not made against ordinary pictures.
    """
    from ..aesthetics.neutral import NEUTRAL
    from ..text_encoder.missing_parts import fetch as fetch_part

    with progress(f"fetching the {part}") as advance:
        path = NEUTRAL.fetch(advance) if part == "neutral" else fetch_part(part, on_progress=advance)
    say(path)
