"""Builds the page with its four tabs, and opens the model, library and encoders behind it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio would check for updates on the network

import gradio as gr

from .. import pocket
from ..aesthetics.creation import create_in_library
from ..aesthetics.embedding import load
from ..aesthetics.encoders import ENCODERS, encoder_of_family
from ..aesthetics.image_encoder import Encoder
from ..aesthetics.library import Library
from ..diffusion.pipelines import clip_folder
from ..ui.family_names import label
from .compare import tab as compare
from .compare.vocabulary import KNOWN
from .create import tab as create
from .engine import Engine
from .evaluate import tab as evaluate
from .library import tab as library
from .state import Studio, elem_id

TITLE = "Aesthetic gradients"


@contextmanager
def open_studio(
    model: str | Path = pocket.MODEL,
    folders: Sequence[str | os.PathLike[str]] = (),
    encoders: Sequence[Encoder] = (),
    projection: Path | None = None,
) -> Iterator[Studio]:
    """A studio with the model loaded. The pocket model comes with the bundled aesthetics.

    encoders: the CLIPs that embed pictures; by default the CLIP in the model's folder, else those of its families.
    """
    from ..diffusion.sampling import load_pipeline

    is_pocket = str(model) == str(pocket.MODEL)
    engine = Engine(load_pipeline(model), "pocket" if is_pocket else str(model), projection)
    if not encoders:
        clip = clip_folder(engine.pipeline)
        encoders_of_families = list(filter(None, map(encoder_of_family, sorted(engine.families))))
        encoders = [str(clip)] if clip else encoders_of_families or ENCODERS[:1]
    with tempfile.TemporaryDirectory(prefix="aesthetic-studio-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "served")  # uploads, and files that pages download
        samples = [_embed_samples(folder / "samples")] if is_pocket else []
        aesthetics = Library([*folders, *samples], [load(pocket.NEUTRAL)])
        yield Studio(aesthetics, engine, encoders, folder, is_demo=is_pocket)


def _embed_samples(folder: Path) -> Path:
    """Create the bundled pictures' aesthetics in this folder."""
    from transformers import CLIPModel

    library, clip = Library([folder]), CLIPModel.from_pretrained(pocket.MODEL)
    for name in pocket.AESTHETICS:
        pictures = sorted((pocket.SAMPLES / name).glob("*.png"))
        create_in_library(library, name, pictures, [clip])
        library.set_preview(name, pictures[0].read_bytes())
    return folder


def build(studio: Studio) -> gr.Blocks:
    """Build the page."""
    page = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400))
    with page:
        studio.version, studio.aesthetic_to_try = gr.State(0), gr.State(None)
        gr.Markdown(
            f"# {TITLE}\nAny prompt, in the taste of a folder of pictures. {_model_sentence(studio)}",
            elem_id=elem_id("title"),
        )
        with gr.Tabs(elem_id=elem_id("tabs")) as studio.tabs:
            tabs = {"Compare": compare, "Create": create, "Library": library, "Evaluate": evaluate}
            for name, tab in tabs.items():
                with gr.Tab(name, id=name.lower()):
                    tab.build(studio, page)
    return page


def _model_sentence(studio: Studio) -> str:
    """A sentence on the model that runs."""
    if studio.is_demo:
        return f"This is the pocket model, a demo: {KNOWN}, in any look. Start with `--model` for yours."
    return f"The model is {Path(studio.engine.model).name} ({', '.join(map(label, sorted(studio.engine.families)))})."
