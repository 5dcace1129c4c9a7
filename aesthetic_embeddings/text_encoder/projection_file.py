"""The text projection in files of any layout: safetensors, a .pt file, a transformers folder, a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import FileError
from ..storage import downloads, legacy_pt
from .towers import is_projection

#: Its name in transformers' files, and in ours.
NAME = "text_projection.weight"


def read_projection(path: Path, width: int, layers: int = 0) -> dict[str, Tensor] | None:
    """The projection for an encoder `width` wide, by its name, or for any if `width` is 0; None if there is none here.

    path: a safetensors file, a .pt file, or a folder in transformers format.
    Raises FileError if the file cannot be read, is damaged, or holds several.
    """
    chosen = ""

    def choose(names: list[str]) -> str:
        nonlocal chosen
        chosen = _chosen(names, path)
        return chosen

    try:
        file = _file_in(path) if path.is_dir() else path
        with open(file, "rb") as start:
            head = start.read(9)
        if head.startswith(b"PK") and head[8:] != b"{":
            matrix = legacy_pt.read_named(file, choose)
        else:
            with safe_open(file, framework="pt") as tensors:
                matrix = tensors.get_tensor(choose(list(tensors.keys())))
    except _NotFound:
        return None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise FileError(f"{path} is neither a safetensors nor a .pt file, or is damaged.") from error
    # transformers has the weight `[dim, width]` of a Linear, open_clip a parameter `[width, dim]`
    matrix = matrix.float() if chosen.endswith(".weight") else matrix.float().T
    if not is_projection(matrix):
        raise FileError(
            f"The text projection in {path} is damaged: it should be a matrix of finite numbers, without empty rows."
        )
    return {NAME: matrix.contiguous()} if width in (0, matrix.shape[1]) else None


class _NotFound(Exception):
    """A file or folder holds no text projection."""


def _file_in(folder: Path) -> Path:
    """The weights in a transformers folder: the file, or the shard of it that holds the projection."""
    for name in (downloads.FILE, "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                parts: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
                return folder / parts[_chosen(list(parts), index)]
            except (ValueError, KeyError, TypeError) as error:
                raise FileError(f"{index} is damaged. Copy or download it again.") from error
    raise _NotFound


def _chosen(names: list[str], path: Path) -> str:
    """The only name of a text projection. A checkpoint may have a prefix before it."""
    found = [name for name in names if f".{name}".endswith((".text_projection.weight", ".text_projection"))]
    if len(found) > 1:
        raise FileError(
            f"{path} holds {len(found)} text projections ({', '.join(found[:3])}); it should hold one, such as {NAME}."
        )
    if not found:
        raise _NotFound
    return found[0]
