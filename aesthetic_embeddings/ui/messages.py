"""The messages that handlers show beside their buttons: results, and errors in plain words."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from ..errors import AestheticError, Interrupted, out_of_memory


def status(text: str) -> str:
    """A result as HTML. Empty for an empty text."""
    return f"<p class='aesthetic-status' role='status'>{escape(text)}</p>" if text else ""


def error(text: str) -> str:
    """An error as HTML."""
    return f"<p class='aesthetic-error' role='alert'>{escape(text)}</p>"


def errors_as_text(outputs: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for handlers: an exception becomes the first output, and the other outputs stay unchanged.

    It works for generators too. outputs: the number of outputs.
    """

    def error_update(exception: Exception) -> Any:
        text = (status if isinstance(exception, Interrupted) else error)(explain(exception))
        return [text, *[gr.update()] * (outputs - 1)] if outputs > 1 else text

    def wrap(handler: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(handler):

            @functools.wraps(handler)
            def generate(*args: Any, **kwargs: Any) -> Any:
                try:
                    yield from handler(*args, **kwargs)
                except Exception as exception:
                    yield error_update(exception)

            return generate

        @functools.wraps(handler)
        def handle(*args: Any, **kwargs: Any) -> Any:
            try:
                return handler(*args, **kwargs)
            except Exception as exception:
                return error_update(exception)

        return handle

    return wrap


def explain(exception: Exception) -> str:
    """An exception in plain words. Unexpected ones are also printed in the terminal."""
    if isinstance(exception, AestheticError):
        return str(exception)
    traceback.print_exception(exception)
    if out_of_memory(exception):
        return "There is not enough memory for this. Ask for fewer pictures or fewer steps, or close other programs."
    return f"Something unexpected went wrong ({type(exception).__name__}). The terminal has the details."
