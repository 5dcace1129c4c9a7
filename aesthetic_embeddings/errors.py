"""Errors meant for the person at the page or the terminal: each says what is wrong and what to do next."""

from __future__ import annotations

import torch


class AestheticError(Exception):
    """Base of every error of this package. Its text is meant for users: it says what is wrong and what to do."""


class FileError(AestheticError):
    """A file is missing, unreadable, or not what it should be. The text names the file."""


class EncoderError(AestheticError):
    """A text or image encoder is missing, unknown, or does not fit the embedding."""


class Interrupted(AestheticError):
    """A callback asked to stop. Nothing was written, and nothing is left changed."""


def out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when a device, or the machine, has no memory left."""
    said = ("out of memory", "can't allocate memory", "not enough memory")
    known = (MemoryError, torch.cuda.OutOfMemoryError)  # in torch 2.5 and later the same as torch.OutOfMemoryError
    return isinstance(error, known) or any(words in str(error).lower() for words in said)


def quoted(text: str, limit: int = 80) -> str:
    """Text from outside for an error message: in quotation marks, control characters escaped, and not too long."""
    said = repr(text[: limit + 1])
    return said if len(said) <= limit + 2 else f"{said[:limit]}...{said[-1]}"
