"""Reads small safetensors files from strangers, within limits that are checked before any work is done.

The library `safetensors` reads the tensors. What it does not bound is how many there are, and how large the header is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor

_HEADER_LIMIT = 2**19  # bytes; a LoRA's, with its captions, may take 0.2 MB
_NAMES_LIMIT = 10_000
_BRACKETS_LIMIT = 4 * _NAMES_LIMIT  # a tensor has three, and each costs Python an object
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_DIGITS_LIMIT = 20  # of a number; Python before 3.11 takes minutes for a million


class Header(NamedTuple):
    """metadata: text by name. tensors: name -> (dtype as safetensors calls it, shape)."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts with these 9 bytes is one: a length, and then JSON."""
    return start[8:9] == b"{"


def read_header(data: bytes) -> Header:
    """What a file says of its tensors. Raises ValueError where it is damaged, or larger than such a file ever is."""
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(_HEADER_LIMIT, len(data) - 8):
        raise ValueError("its header is damaged, or larger than it should be")
    text = data[8 : 8 + length]
    outside = _STRINGS.sub(b"", text)
    if outside.count(b"[") + outside.count(b"{") > _BRACKETS_LIMIT:
        raise ValueError("its header names more tensors than it should")
    try:
        header = json.loads(text, parse_int=_integer, parse_constant=_integer)
    except RecursionError:
        raise ValueError("its header is nested too deep") from None
    if not isinstance(header, dict) or len(header) > _NAMES_LIMIT:
        raise ValueError("its header is damaged, or names more tensors than it should")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is damaged")
    return Header(metadata, {name: _described(about) for name, about in header.items()})


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """All tensors by name. Raises what safetensors raises; the header's sizes are checked there."""
    return safetensors.torch.load(data)  # not `load_file`, which Forge patches to rename the files it dislikes


def _described(about: Any) -> tuple[str, tuple[int, ...]]:
    match about:
        case {"dtype": str(dtype), "shape": list(shape)} if len(shape) <= 8 and all(type(n) is int for n in shape):
            return dtype, tuple(shape)
    raise ValueError("a tensor is described wrongly")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_LIMIT:
        raise ValueError("its header has a number larger than it should be")
    return int(digits)
