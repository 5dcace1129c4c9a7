"""Aesthetic gradients: any prompt in the taste of a folder of pictures."""

from .conditioning import Run, blended, personalized
from .errors import AestheticError, EncoderError, FileError, Interrupted
from .settings import Settings

__all__ = [
    "AestheticError",
    "EncoderError",
    "FileError",
    "Interrupted",
    "Run",
    "Settings",
    "blended",
    "personalized",
]
