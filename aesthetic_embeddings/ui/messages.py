"""What handlers say beside their buttons: results, and errors in plain words."""

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
    """A result, as HTML; nothing for no text."""
    return f"<p class='aesthetic-status' role='status'>{escape(text)}</p>" if text else ""


def error(text: str) -> str:
    """An error, as HTML."""
    return f"<p class='aesthetic-error' role='alert'>{escape(text)}</p>"


def errors_as_text(outputs: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for handlers, also for generators: an error becomes the first output, the others stay unchanged."""

    def failed(fault: Exception) -> Any:
        text = (status if isinstance(fault, Interrupted) else error)(explain(fault))
        return [text, *[gr.update()] * (outputs - 1)] if outputs > 1 else text

    def wrap(handler: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(handler):

            @functools.wraps(handler)
            def generate(*args: Any, **kwargs: Any) -> Any:
                try:
                    yield from handler(*args, **kwargs)
                except Exception as fault:
                    yield failed(fault)

            return generate

        @functools.wraps(handler)
        def handle(*args: Any, **kwargs: Any) -> Any:
            try:
                return handler(*args, **kwargs)
            except Exception as fault:
                return failed(fault)

        return handle

    return wrap


def explain(fault: Exception) -> str:
    """An exception in plain words. One that is not meant for users is printed in the terminal."""
    if isinstance(fault, AestheticError):
        return str(fault)
    traceback.print_exception(fault)
    if out_of_memory(fault):
        return "There is not enough memory for this. Ask for fewer pictures or fewer steps, or close other programs."
    return f"Something unexpected went wrong ({type(fault).__name__}). The terminal has the details."
