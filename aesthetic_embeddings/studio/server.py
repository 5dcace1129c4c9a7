"""Serves the page: to this machine alone, or to others with a password."""

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

FILE_LIMIT, UPLOAD_LIMIT = 64 * 2**20, 2 * 2**30  # bytes of one file, and of all files of one upload
MESSAGE_LIMIT = 2**20  # bytes of any other request
MIN_PASSWORD = 8  # characters
#: Paths that are served before the login, or that gradio requests from itself at the start.
_PUBLIC_PATHS = re.compile(
    r"/(login/?|(static|assets|svelte)/.+|theme\.css|favicon\.ico|manifest\.json|gradio_api/startup-events)?"
)
#: System fonts, so that none is downloaded; accents and small text with enough contrast.
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
    studio: Studio, host: str = "127.0.0.1", port: int | None = None, password: str = "", **kwargs: Any
) -> gr.Blocks:
    """Serve the page in a background thread, and return it.

    password: for the user `studio`. Raises AestheticError if other machines could open the page without a password, if
    the password is too short, or if the port is in use.
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
            css=CSS + f":root {{ --studio-picture: {_display_width(studio)}px; }}",
            max_file_size=FILE_LIMIT,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(RequestFilter)]},
            share=False,
            ssr_mode=False,
            mcp_server=False,
            run_history=False,
            prevent_thread_lock=True,
            quiet=True,
            # with its check of the frontend, gradio requests its own page, through any proxy, and gives up after 3 s
            _frontend=False,
            **kwargs,
        )
    except OSError as error:
        raise AestheticError(f"The studio cannot listen on {host}: {error} Give another --port.") from error
    return page


def _display_width(studio: Studio) -> int:
    """The largest width of a picture on the page, in CSS pixels. Small pictures are enlarged only twice."""
    size = studio.engine.image_size
    return size if size >= 512 else max(256, min(512, 2 * size))


def check_access(host: str, password: str) -> None:
    """Raise AestheticError unless only this machine can reach `host`, or the password is long enough."""
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


class RequestFilter:
    """Middleware that refuses requests which the page does not need.

    It refuses to fetch other addresses as a proxy, all routes but the login to users who are not logged in (gradio
    leaves some open), and request bodies that are too large, with or without a content length.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = UPLOAD_LIMIT if scope["path"].rstrip("/").endswith("/gradio_api/upload") else MESSAGE_LIMIT
        if refusal := _refusal(Request(scope), limit):
            return await refusal(scope, receive, send)
        return await self.app(scope, _limited(receive, limit), send)


def _refusal(request: Request, limit: int) -> PlainTextResponse | None:
    path = request.scope["path"]
    if any(part in path.lower() for part in ("/proxy=", "/file=http:", "/file=https:", "/vibe-")):
        return PlainTextResponse("This is not served here.", status_code=403)
    if not (_logged_in(request) or _PUBLIC_PATHS.fullmatch(path)):
        return PlainTextResponse("Log in first.", status_code=401)
    size = request.headers.get("content-length", "0")
    if not (size.isascii() and size.isdigit()) or int(size) > limit:
        return PlainTextResponse("This is too much at once.", status_code=413)
    return None


def _logged_in(request: Request) -> bool:
    """Whether the user is logged in, by the cookies of gradio. Not all of gradio's routes check this."""
    app = request.app
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return app.auth is None or any(request.cookies.get(name) in app.tokens for name in names)


def _limited(receive: Receive, limit: int) -> Receive:
    """`receive` with a limit on the size of the body, which a chunked request does not announce."""
    received = 0

    async def limited_receive() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, "This is too much at once.")
        return message

    return limited_receive
