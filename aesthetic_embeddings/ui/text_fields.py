"""Limits of text fields. A page enforces them too, but whoever calls its handlers directly can send anything."""

from __future__ import annotations

from typing import Any

from ..errors import AestheticError

PROMPT, NAME = 2000, 200  # characters


def text(value: Any, label: str, limit: int) -> str:
    """The value of a text field, stripped. Raises AestheticError where it is too long, or no text."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise AestheticError(f"{label} should be text.")
    if len(value) > limit:
        raise AestheticError(f"{label} can have at most {limit} characters; it has {len(value)}.")
    return value.strip()
