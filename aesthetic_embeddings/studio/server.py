"""How the page is served: to this machine alone, or to others with a password."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import AestheticError
from .app import build
from .state import Studio

FILE_LIMIT, UPLOAD_LIMIT = 64 * 2**20, 2 * 2**30  # bytes of one file, and of all that come at once
MESSAGE_LIMIT = 2**20  # bytes of any other request
MIN_PASSWORD = 8  # characters
#: What is needed before the login, and what gradio asks of itself at the start.
_OPEN_PATHS = re.compile(
    r"/(login/?|(static|assets|svelte)/.+|theme\.css|favicon\.ico|manifest\.json|gradio_api/startup-events)?"
)
#: Fonts that the machine which shows the page has; accent and small text in a contrast that all can read.
THEME = gr.themes.Default(
    primary_hue="indigo", font=("Inter", "system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")
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

    password: for the user `studio`. Raises AestheticError where other machines could open the page without one, where
    it is too short, or where the port is taken.
    """
    check_access(host, password)
    page = build(studio)
    page.queue(max_size=64, default_concurrency_limit=4)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            auth=("studio", password) if password else None,
            auth_message="The user name is studio." if password else None,
            theme=THEME,
            css=CSS + f":root {{ --studio-picture: {_shown_width(studio)}px; }}",
            max_file_size=FILE_LIMIT,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(Gate)]},
            share=False,
            ssr_mode=False,
            mcp_server=False,
            run_history=False,
            prevent_thread_lock=True,
            quiet=True,
            _frontend=False,  # or gradio asks its own page, through any proxy and with a patience of 3 s, and gives up
            **more,
        )
    except OSError as error:
        raise AestheticError(f"The studio cannot listen on {host}: {error} Give another --port.") from error
    return page


def _shown_width(studio: Studio) -> int:
    """How wide a picture is shown at most, in CSS pixels: small ones would only show their blur."""
    size = studio.engine.image_size
    return size if size >= 512 else max(256, min(512, 2 * size))


def check_access(host: str, password: str) -> None:
    """Raise AestheticError unless only this machine can reach `host`, or there is a password that is long enough."""
    if password and len(password) < MIN_PASSWORD:
        raise AestheticError(f"A password needs at least {MIN_PASSWORD} characters.")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not password:
        raise AestheticError(
            f"Other machines can reach {host or 'the studio there'}: set a password for it, in the variable "
            "AESTHETIC_STUDIO_PASSWORD or with --password-file."
        )


class Gate:
    """Refuses what the page does not need of gradio's server.

    That is: to fetch addresses for others; any route but the login's own to whoever has not logged in (gradio itself
    leaves some open); and request bodies that are too large, whether or not they announce their length.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = UPLOAD_LIMIT if scope["path"].rstrip("/").endswith("/upload") else MESSAGE_LIMIT
        if refusal := _refusal(Request(scope), limit):
            return await refusal(scope, receive, send)
        return await self.app(scope, _counted(receive, limit), send)


def _refusal(request: Request, limit: int) -> PlainTextResponse | None:
    path = request.scope["path"]
    if any(part in path.lower() for part in ("/proxy=", "/file=http:", "/file=https:", "/vibe-")):
        return PlainTextResponse("This is not served here.", status_code=403)
    if not (_logged_in(request) or _OPEN_PATHS.fullmatch(path)):
        return PlainTextResponse("Log in first.", status_code=401)
    size = request.headers.get("content-length", "0")
    if not (size.isascii() and size.isdigit()) or int(size) > limit:
        return PlainTextResponse("This is too much at once.", status_code=413)
    return None


def _logged_in(request: Request) -> bool:
    """As gradio's own routes find out, for those that do not."""
    app = request.app
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return app.auth is None or any(request.cookies.get(name) in app.tokens for name in names)


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive`, with a body that may not exceed the limit: one sent in chunks does not announce its length."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise HTTPException(413, "This is too much at once.")
        return message

    return counted
