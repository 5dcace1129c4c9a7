"""Checks text fields. The page enforces their limits too, but a direct call of its handlers can send anything."""

from __future__ import annotations

from typing import Any

from ..errors import AestheticError

PROMPT, NAME = 2000, 200  # characters


def text(value: Any, label: str, limit: int) -> str:
    """The value of a text field, stripped. Raises AestheticError if it is too long, or not text."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise AestheticError(f"{label} should be text.")
    if len(value) > limit:
        raise AestheticError(f"{label} can have at most {limit} characters; it has {len(value)}.")
    return value.strip()
