"""Errors for people at the page or the terminal. Each says what is wrong and what to do next."""

from __future__ import annotations

import importlib
from typing import Any

import torch


class AestheticError(Exception):
    """The base class of all errors of this package. The text is for users: what is wrong, and what to do."""


class FileError(AestheticError):
    """A file is missing, unreadable, or of the wrong kind. The text names it."""


class EncoderError(AestheticError):
    """A text or image encoder is missing, unknown, or does not fit the embedding."""


class Interrupted(AestheticError):
    """A callback asked to stop. Nothing has been written or changed."""


def require(module: str, extra: str) -> Any:
    """Import a module that the extra `extra` of this package installs. Raises AestheticError if it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise AestheticError(
            f"{module.partition('.')[0]} is needed for this: pip install 'sd-webui-aesthetic-gradients[{extra}]'"
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether this is one of the errors that torch raises when a device, or the machine, has no memory left."""
    phrases = ("out of memory", "can't allocate memory", "not enough memory")
    types = (MemoryError, torch.cuda.OutOfMemoryError)  # the latter is torch.OutOfMemoryError from torch 2.5 on
    return isinstance(error, types) or any(phrase in str(error).lower() for phrase in phrases)


def quoted(text: str, limit: int = 80) -> str:
    """Untrusted text for an error message: quoted, with control characters escaped, and cut to about `limit`."""
    escaped = repr(text[: limit + 1])
    return escaped if len(escaped) <= limit + 2 else f"{escaped[:limit]}...{escaped[-1]}"
