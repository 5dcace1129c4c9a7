"""Reads small safetensors files from untrusted sources, within limits that are checked before any work.

The library `safetensors` reads the tensors. It does not limit their number, or the size of the header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor

_HEADER_LIMIT = 2**19  # bytes; a LoRA's header with captions can have 0.2 MB
_NAMES_LIMIT = 10_000
_BRACKETS_LIMIT = 4 * _NAMES_LIMIT  # a tensor has three, and each costs a Python object
#: Also one that does not end: else the search would go to the end of the file again from each quotation mark in it.
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_DIGITS_LIMIT = 20  # of a number; Python before 3.11 takes minutes to parse a million digits


class Header(NamedTuple):
    """A header. metadata: text by name. tensors: name -> (safetensors' name of the dtype, shape)."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]


def is_safetensors(start: bytes) -> bool:
    """Whether a file is safetensors, by its first 9 bytes: a length, and then JSON."""
    return start[8:9] == b"{"


def read_header(data: bytes) -> Header:
    """Read a file's header. Raises ValueError if it is damaged, or larger than that of any embedding."""
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(_HEADER_LIMIT, len(data) - 8):
        raise ValueError("its header is damaged, or larger than it should be")
    text = data[8 : 8 + length]
    outside_strings = _STRINGS.sub(b"", text)
    if outside_strings.count(b"[") + outside_strings.count(b"{") > _BRACKETS_LIMIT:
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
    return Header(metadata, {name: _parse_tensor(entry) for name, entry in header.items()})


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """Read all tensors, by name. Raises what safetensors raises, which checks the header's sizes."""
    return safetensors.torch.load(data)  # not `load_file`, which Forge patches to rename files that fail to load


def _parse_tensor(entry: Any) -> tuple[str, tuple[int, ...]]:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape)} if len(shape) <= 8 and all(type(n) is int for n in shape):
            return dtype, tuple(shape)
    raise ValueError("a tensor is described wrongly")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_LIMIT:
        raise ValueError("its header has a number larger than it should be")
    return int(digits)
