"""What the terminal shows: text as it is, progress, tables, and errors as one line."""

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

# names of files and what files say are shown as they are: nothing in them is markup
_plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}
_results, _notes = Console(**_plain), Console(stderr=True, **_plain)


def say(text: object) -> None:
    """Print a line of the result, on stdout."""
    _results.print(printable(str(text)))


def note(text: object) -> None:
    """Print a line beside the result, on stderr."""
    _notes.print(printable(str(text)))


def error(text: object) -> None:
    """Print an error as one line, on stderr."""
    _notes.print(f"error: {printable(str(text))}", style="red")


def printable(text: str) -> str:
    """The text on one line, with every character that would steer the terminal, or is invisible, as its escape."""
    return "".join(_escaped(c) if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029" else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. Where the output is no terminal, each row is one line."""
    shown = Table(*columns, box=None)
    for column in shown.columns:
        column.overflow = "fold"  # a name that is cut short could not be copied
    for row in rows:
        shown.add_row(*map(printable, row))
    console = _results if _results.is_terminal else Console(width=10_000, **_plain)
    console.print(shown, soft_wrap=False)


def status(text: str) -> Any:
    """A block during which a moving sign with this text stands on stderr."""
    return _notes.status(text)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar on stderr; yields `advance(done=None, total=None)`, which sets the count, or adds one to it."""
    description = TextColumn("{task.description}", markup=False)
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_notes, transient=True) as bar:
        task = bar.add_task(printable(what), total=total)

        def advance(done: int | None = None, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total, advance=1 if done is None else None)

        yield advance


class Commands(click.Group):
    """A group that shows errors meant for the user as one line, with exit status 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a terminal that knows ASCII alone still gets every line
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as fault:
            text = _explained(fault)
            if text is None or ctx.params.get("debug"):
                raise
            error(text)
            sys.exit(2)


def _explained(fault: Exception) -> str | None:
    """An exception in words; None for one that no user can do anything about."""
    if isinstance(fault, AestheticError):
        return str(fault)
    if out_of_memory(fault):
        return "There is not enough memory for this. Ask for a smaller size, or close other programs."
    if isinstance(fault, OSError) and fault.strerror:
        return f"{fault.filename or 'A file'} cannot be used: {fault.strerror}."
    return None


def silence_libraries() -> None:
    """Keep warnings and progress bars of the libraries off the terminal: they are meant for developers."""
    warnings.simplefilter("ignore")
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
