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
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from .. import pocket
from ..aesthetics.creation import create_in_library
from ..aesthetics.encoders import ENCODERS, encoder_of_family
from ..aesthetics.image_encoder import Encoder
from ..aesthetics.library import Library
from ..diffusion.pipelines import beside
from ..errors import AestheticError
from . import compare_tab, create_tab, library_tab
from .engine import Engine
from .state import Studio, elem_id

TITLE = "Aesthetic gradients"
FILE_LIMIT, UPLOAD_LIMIT = 64 * 2**20, 2 * 2**30  # bytes of one file, and of all that come at once
#: With the fonts of the machine that shows the page, and small text that stands out from it.
THEME = gr.themes.Default(
    primary_hue="indigo", font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")
).set(
    color_accent="*primary_600",
    button_primary_background_fill="*primary_600",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
)
CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


@contextmanager
def studio(
    model: str | Path = pocket.MODEL,
    folders: Sequence[str | os.PathLike[str]] = (),
    encoders: Sequence[Encoder] = (),
    projection: Path | None = None,
) -> Iterator[Studio]:
    """A studio with the model loaded, and with the bundled aesthetics where it is the pocket model.

    encoders: what looks at pictures; by default the CLIP that is kept with the model, else those of its families.
    """
    from ..diffusion.sampling import load_pipeline

    bundled = str(model) == str(pocket.MODEL)
    engine = Engine(load_pipeline(model), "pocket" if bundled else str(model), projection)
    if not encoders:
        whole = beside(engine.pipeline)
        known = list(filter(None, map(encoder_of_family, sorted(engine.families))))
        encoders = [str(whole)] if whole else known or ENCODERS[:1]
    with tempfile.TemporaryDirectory(prefix="aesthetic-studio-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "served")  # what comes from pages, and what they are given
        samples = [_samples(folder / "samples")] if bundled else []
        yield Studio(Library([*folders, *samples]), engine, tuple(encoders), folder)


def _samples(folder: Path) -> Path:
    """Embeddings of the bundled pictures, in this folder."""
    from transformers import CLIPModel

    library, clip = Library([folder]), CLIPModel.from_pretrained(pocket.MODEL)
    for name in pocket.AESTHETICS:
        pictures = sorted((pocket.SAMPLES / name).glob("*.png"))
        create_in_library(library, name, pictures, [clip])
        library.set_preview(name, pictures[0].read_bytes())
    return folder


def build(studio: Studio) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        studio.version = gr.State(0)
        gr.Markdown(
            f"# {TITLE}\nAny prompt, in the taste of a folder of pictures.",
            elem_id=elem_id("title"),
        )
        with gr.Tabs(elem_id=elem_id("tabs")):
            for name, tab in {"Compare": compare_tab, "Create": create_tab, "Library": library_tab}.items():
                with gr.Tab(name, id=name.lower()):
                    tab.build(studio, page)
    return page


def launch(
    studio: Studio, host: str = "127.0.0.1", port: int | None = None, password: str = "", **more: Any
) -> gr.Blocks:
    """Serve the page from a thread of its own, and return it.

    Raises AestheticError where it would be open to other machines without a password, or the port is taken.
    """
    check_host(host, password)
    page = build(studio).queue(max_size=64, default_concurrency_limit=4)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            auth=("studio", password) if password else None,
            auth_message="The user name is studio." if password else None,
            theme=THEME,
            css=CSS,
            max_file_size=FILE_LIMIT,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(OnlyThePage)]},
            share=False,
            ssr_mode=False,
            mcp_server=False,
            run_history=False,
            prevent_thread_lock=True,
            quiet=True,
            **more,
        )
    except OSError as error:
        raise AestheticError(f"The studio cannot listen on {host}: {error} Give another --port.") from error
    return page


def check_host(host: str, password: str) -> None:
    """Raise AestheticError unless only this machine can reach `host`, or there is a password."""
    if password:
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise AestheticError(f"Other machines can reach {host or 'the studio there'}: set a --password for it.")


class OnlyThePage:
    """Refuses what gradio's server offers beside the page: to fetch addresses for others, and uploads of any size."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (fault := self._fault(scope)):
            return await PlainTextResponse(fault[1], status_code=fault[0])(scope, receive, send)
        return await self.app(scope, receive, send)

    @staticmethod
    def _fault(scope: Any) -> tuple[int, str] | None:
        if any(part in scope["path"].lower() for part in ("/proxy=", "/file=http:", "/file=https:", "/vibe-")):
            return 403, "This is not served here."
        size = dict(scope["headers"]).get(b"content-length", b"0")
        if not size.isdigit() or int(size) > UPLOAD_LIMIT:
            return 413, "This is too much at once."
        return None
