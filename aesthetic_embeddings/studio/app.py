"""The page of three tabs, and what it works with."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio would ask the network for its newest version

import gradio as gr

from .. import pocket
from ..aesthetics.creation import create as create_embedding
from ..aesthetics.library import Library
from ..diffusion.pipelines import beside
from .compare import tab as compare
from .create import tab as create
from .engine import Engine
from .library import tab as library
from .state import Studio, elem_id

TITLE = "Aesthetic gradients"

#: CLIP family -> the encoder for it, on the hub.
ENCODERS = {
    "clip-vit-l-14": "openai/clip-vit-large-patch14",
    "open-clip-vit-h-14": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "open-clip-vit-bigg-14": "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
}


@contextmanager
def open_studio(
    model: str | Path = pocket.MODEL,
    folders: Sequence[str | os.PathLike[str]] = (),
    encoders: Sequence[str] = (),
    projection: Path | None = None,
) -> Iterator[Studio]:
    """A studio with the model loaded, and with the bundled aesthetics where it is the pocket model.

    encoders: what embeds pictures; by default the CLIP that is kept with the model, else those of its families.
    """
    from ..diffusion.sampling import load_pipeline

    bundled = str(model) == str(pocket.MODEL)
    engine = Engine(load_pipeline(model), "pocket" if bundled else str(model), projection)
    if not encoders:
        clip = beside(engine.pipeline)
        known = [ENCODERS[name] for name in sorted(engine.families) if name in ENCODERS]
        encoders = [str(clip)] if clip else known or [ENCODERS["clip-vit-l-14"]]
    with tempfile.TemporaryDirectory(prefix="aesthetic-studio-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "served")  # what comes from pages, and what they are given
        samples = [_embed_samples(folder / "samples")] if bundled else []
        yield Studio(Library([*folders, *samples]), engine, encoders, folder)


def _embed_samples(folder: Path) -> Path:
    """Make aesthetics of the bundled pictures in this folder."""
    from transformers import CLIPModel

    clip = CLIPModel.from_pretrained(pocket.MODEL)
    for name in pocket.AESTHETICS:
        pictures = sorted((pocket.SAMPLES / name).glob("*.png"))
        embedding = dataclasses.replace(create_embedding(pictures, clip, name=name), encoder="pocket")
        embedding.save(folder / f"{name}.safetensors")
        (folder / f"{name}.preview.png").write_bytes(pictures[0].read_bytes())
    return folder


def build(studio: Studio) -> gr.Blocks:
    """The page."""
    page = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400))
    with page:
        studio.version = gr.State(0)
        gr.Markdown(
            f"# {TITLE}\nAny prompt, in the taste of a folder of pictures.",
            elem_id=elem_id("title"),
        )
        with gr.Tabs(elem_id=elem_id("tabs")):
            for name, tab in {"Compare": compare, "Create": create, "Library": library}.items():
                with gr.Tab(name, id=name.lower()):
                    tab.build(studio, page)
    return page
