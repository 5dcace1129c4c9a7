"""Commands that download: the only ones."""

from __future__ import annotations

import click

from .terminal import progress, say


@click.command()
def fetch_projection() -> None:
    """Download CLIP ViT-L/14's text projection (2.4 MB), which SD1 checkpoints lack, into the cache."""
    from ..text_encoder.projection import fetch_projection

    with progress("fetching the text projection") as advance:
        path = fetch_projection(on_progress=advance)
    say(path)


@click.command()
def fetch_last_layer() -> None:
    """Download the last layer of SD2's text encoder (55 MB), which models in diffusers' format lack, into the cache."""
    from ..text_encoder.last_layer import fetch_last_layer

    with progress("fetching the last layer") as advance:
        path = fetch_last_layer(on_progress=advance)
    say(path)
