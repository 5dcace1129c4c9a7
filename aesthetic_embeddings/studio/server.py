"""How the page is served: to this machine alone, or to others with a password."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import AestheticError
from .app import build
from .state import Studio

FILE_LIMIT, UPLOAD_LIMIT = 64 * 2**20, 2 * 2**30  # bytes of one file, and of all that come at once
#: Fonts of the machine that shows the page; accent and small text in a contrast that all can read.
THEME = gr.themes.Default(
    primary_hue="indigo", font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")
).set(
    color_accent="*primary_600",
    button_primary_background_fill="*primary_600",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
)
CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def launch(
    studio: Studio, host: str = "127.0.0.1", port: int | None = None, password: str = "", **more: Any
) -> gr.Blocks:
    """Serve the page from a thread of its own, and return it.

    Raises AestheticError where it would be open to other machines without a password, or the port is taken.
    """
    check_host(host, password)
    page = build(studio)
    page.queue(max_size=64, default_concurrency_limit=4)
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
            app_kwargs={"middleware": [Middleware(Gate)]},
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


class Gate:
    """Refuses what gradio's server offers beside the page: fetching addresses for others, and uploads of any size."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)


def _refusal(scope: Scope) -> PlainTextResponse | None:
    if any(part in scope["path"].lower() for part in ("/proxy=", "/file=http:", "/file=https:", "/vibe-")):
        return PlainTextResponse("This is not served here.", status_code=403)
    size = dict(scope["headers"]).get(b"content-length", b"0")
    if not size.isdigit() or int(size) > UPLOAD_LIMIT:
        return PlainTextResponse("This is too much at once.", status_code=413)
    return None
