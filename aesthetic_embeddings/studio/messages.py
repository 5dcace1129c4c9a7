"""What handlers say beside their buttons: results, and faults in plain words."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from ..errors import AestheticError, Interrupted, out_of_memory


def good(text: str) -> str:
    return f"<p class='said' role='status'>{escape(text)}</p>" if text else ""


def wrong(text: str) -> str:
    return f"<p class='said wrong' role='alert'>{escape(text)}</p>"


def errors_as_text(outputs: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What goes wrong becomes the first of a handler's outputs, in plain words; the others stay as they are.

    For functions and for generators.
    """

    def told(error: Exception) -> Any:
        said = (good if isinstance(error, Interrupted) else wrong)(in_words(error))
        return [said, *[gr.skip()] * (outputs - 1)] if outputs > 1 else said

    def wrap(handler: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(handler):

            @functools.wraps(handler)
            def each(*args: Any, **kwargs: Any) -> Any:
                try:
                    yield from handler(*args, **kwargs)
                except Exception as error:
                    yield told(error)

            return each

        @functools.wraps(handler)
        def once(*args: Any, **kwargs: Any) -> Any:
            try:
                return handler(*args, **kwargs)
            except Exception as error:
                return told(error)

        return once

    return wrap


def in_words(error: Exception) -> str:
    """For the person at the page; what they can do nothing about is printed for the one at the terminal."""
    if isinstance(error, AestheticError):
        return str(error)
    if out_of_memory(error):
        return "There is not enough memory for this. Ask for fewer pictures or fewer steps, or close other programs."
    traceback.print_exception(error)
    return "Something unexpected went wrong. The terminal where the studio runs has the details."
