"""The page of three tabs, and how it is served."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it would ask the network for its newest version

import gradio as gr

from .. import pocket
from ..creation import create as make
from ..errors import AestheticError
from ..library import Library
from . import compare, create, shelf
from .engine import Engine
from .state import Studio, elem_id

TITLE = "Aesthetic gradients"
UPLOAD_LIMIT = "64mb"  # of one file
#: Fonts of the machine that shows the page: nothing is fetched.
THEME = gr.themes.Soft(
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
)
CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def build(studio: Studio) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        studio.version = gr.State(0)
        gr.Markdown(
            "# Aesthetic gradients\nAny prompt, in the taste of a folder of pictures.", elem_id=elem_id("title")
        )
        with gr.Tabs(elem_id=elem_id("tabs")):
            for name, tab in {"Compare": compare, "Create": create, "Library": shelf}.items():
                with gr.Tab(name, id=name.lower()):
                    tab.build(studio, page)
    return page


@contextmanager
def studio(
    model: str | Path = pocket.MODEL, folders: Sequence[Path] = (), encoders: Sequence[str] = ()
) -> Iterator[Studio]:
    """A studio with the model loaded, and with the bundled aesthetics where it is the pocket model."""
    from ..generation import load_pipeline

    with tempfile.TemporaryDirectory(prefix="aesthetic-studio-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        pocket_model = str(model) == str(pocket.MODEL)
        engine = Engine(load_pipeline(model), "pocket" if pocket_model else str(model))
        samples = folder / "samples"
        if pocket_model:
            for name in pocket.AESTHETICS:
                make(pocket.SAMPLES / name, str(pocket.MODEL), name=name).save(samples / f"{name}.safetensors")
        library = Library([*folders, samples] if pocket_model else folders)
        yield Studio(library, engine, tuple(encoders) or (str(pocket.MODEL),), folder)


def launch(
    studio: Studio, host: str = "127.0.0.1", port: int | None = None, password: str = "", **more: Any
) -> gr.Blocks:
    """Serve the page, and return it.

    Raises AestheticError where it would be open to other machines without a password.
    """
    if not (password or is_loopback(host)):
        raise AestheticError(f"{host} can be reached from other machines: set a password with --password.")
    page = build(studio).queue(max_size=32, default_concurrency_limit=1)
    page.launch(
        server_name=host,
        server_port=port,
        auth=("studio", password) if password else None,
        auth_message="The name is: studio" if password else None,
        theme=THEME,
        css=CSS,
        max_file_size=UPLOAD_LIMIT,
        footer_links=[],
        share=False,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        quiet=True,
        **more,
    )
    return page


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
