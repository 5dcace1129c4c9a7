"""The command that downloads: the only one."""

from __future__ import annotations

import click

from .terminal import progress, say


@click.command()
@click.argument("part", type=click.Choice(("projection", "last-layer")))
def fetch(part: str) -> None:
    """Download a part of CLIP that models come without, once, into the cache.

    projection: 2.4 MB of CLIP ViT-L/14, for SD1, SDXL, SD3 and Flux. last-layer: 55 MB of OpenCLIP ViT-H/14, for SD2 in
    diffusers' format.
    """
    from ..text_encoder.missing_parts import fetch as fetch_part

    with progress(f"fetching the {part}") as advance:
        path = fetch_part(part, on_progress=advance)
    say(path)
