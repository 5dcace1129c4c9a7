"""The command line: `aesthetic-gradients --help`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from .. import __version__
from ..aesthetics.library import default_folders
from . import evaluate, fetch, generate, library, studio
from .terminal import Commands, silence_libraries


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="aesthetic-gradients", message="%(prog)s %(version)s")
@click.option(
    "--library",
    "folders",
    multiple=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of aesthetics; repeatable.",
    show_default="the user's own",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and the warnings of libraries.")
@click.pass_context
def main(ctx: click.Context, /, folders: Sequence[Path], debug: bool) -> None:
    """Any prompt in the taste of a folder of pictures: aesthetic gradients for Stable Diffusion."""
    ctx.obj = library.Folders(list(folders) or default_folders(), chosen=bool(folders))
    if not debug:
        silence_libraries()


for command in (
    library.create,
    library.list_,
    library.show,
    library.blend,
    library.rename,
    library.delete,
    library.import_,
    generate.generate,
    evaluate.evaluate,
    studio.studio,
    fetch.fetch,
):
    main.add_command(command)
