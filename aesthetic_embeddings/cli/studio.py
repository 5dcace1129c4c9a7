"""The command that serves the studio."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import click

from ..errors import AestheticError
from . import options
from .library import Folders
from .terminal import say, status


@click.command()
@options.model
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    type=options.Model(),
    help="CLIP folder, or hub id in the local cache, that encodes pictures. Repeatable.",
    show_default="the model's own kind",
)
@options.projection
@click.option(
    "--library",
    "paths",
    multiple=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of aesthetics; repeatable.",
    show_default="that of the other commands",
)
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=None, show_default="the first free one from 7860")
@click.option(
    "--password",
    default="",
    envvar="AESTHETIC_STUDIO_PASSWORD",
    show_envvar=True,
    help="Password of the page, required if other machines can reach it. Other users of this machine can see it "
    "in a program's arguments, but not in the environment or in a file.",
)
@click.option("--password-file", type=click.File(encoding="utf-8"), help="File whose first line is the password.")
@click.pass_obj
def studio(
    folders: Folders,
    /,
    paths: Sequence[Path],
    host: str,
    port: int | None,
    password: str,
    password_file: TextIO | None,
    **kwargs: Any,
) -> None:
    """Serve a page for comparing, creating and blending aesthetics in a browser."""
    try:
        from ..studio import app, server
    except ModuleNotFoundError as error:
        missing = "The studio is not installed"
        raise AestheticError(f'{missing} ({error.name} is missing): pip install ".[studio]"') from error

    if password_file and not (password := password_file.readline().strip()):
        raise click.UsageError(f"The first line of {password_file.name} is empty. Write the password there.")
    server.check_access(host, password)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl+C, so that uploads are deleted
    with status("loading the model"), ExitStack() as stack:
        state = stack.enter_context(app.open_studio(folders=list(paths) or folders.paths, **kwargs))
        page = server.launch(state, host, port, password)
        stack = stack.pop_all()
    with stack:
        say(f"The studio is at {page.local_url}, until Ctrl+C.")
        page.block_thread()
