"""Output on the terminal: plain text, progress, tables, and one-line errors."""

from __future__ import annotations

import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import AestheticError, out_of_memory

# file names and metadata are printed as they are, never as markup
_PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}
_results, _notes = Console(**_PLAIN), Console(stderr=True, **_PLAIN)


def say(text: object) -> None:
    """Print a line of the result, on stdout."""
    _results.print(printable(str(text)))


def note(text: object) -> None:
    """Print a line that is not part of the result, on stderr."""
    _notes.print(printable(str(text)))


def error(text: object) -> None:
    """Print an error as one line, on stderr."""
    _notes.print(f"error: {printable(str(text))}", style="red")


def printable(text: str) -> str:
    """The text on one line. Control and invisible characters become escape sequences."""
    return "".join(
        _escaped(character) if unicodedata.category(character)[0] == "C" or character in "\u2028\u2029" else character
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. If the output is not a terminal, each row is one line."""
    rich_table = Table(*columns, box=None)
    for column in rich_table.columns:
        column.overflow = "fold"  # a truncated name could not be copied
    for row in rows:
        rich_table.add_row(*map(printable, row))
    console = _results if _results.is_terminal else Console(width=10_000, **_PLAIN)
    console.print(rich_table, soft_wrap=False)


def status(text: str) -> Any:
    """A context with a spinner and this text on stderr."""
    return _notes.status(text)


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr. Yields `advance(done=None, total=None)`, which sets the count, or adds one to it."""
    description_column = TextColumn("{task.description}", markup=False)
    columns = (description_column, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_notes, transient=True) as bar:
        task = bar.add_task(printable(description), total=total)

        def advance(done: int | None = None, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total, advance=1 if done is None else None)

        yield advance


class Commands(click.Group):
    """A group of commands that prints errors meant for users as one line, and exits with status 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # so that an ASCII terminal gets every line
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as exception:
            text = _user_message(exception)
            if text is None or ctx.params.get("debug"):
                raise
            error(text)
            sys.exit(2)


def _user_message(exception: Exception) -> str | None:
    """An exception in plain words; None if it is not meant for users."""
    if isinstance(exception, AestheticError):
        return str(exception)
    if out_of_memory(exception):
        return "There is not enough memory for this. Ask for a smaller size, or close other programs."
    if isinstance(exception, OSError) and exception.strerror:
        return f"{exception.filename or 'A file'} cannot be used: {exception.strerror}."
    return None


def silence_libraries() -> None:
    """Turn off the warnings and progress bars of libraries, which are meant for developers."""
    warnings.simplefilter("ignore")
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
