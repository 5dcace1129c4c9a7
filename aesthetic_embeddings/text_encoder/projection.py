"""The text projection of encoders that have none of their own: SD1 checkpoints, and the CLIP ViT-L/14 of SDXL.

An aesthetic lives in CLIP's shared space, which text features enter through one matrix. Stable Diffusion does not need
it, so its checkpoints leave it out. It is 2.4 MB of the 1.7 GB of `openai/clip-vit-large-patch14`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import EncoderError, FileError
from ..storage import downloads, legacy_pt
from ..storage.paths import cache_folder, write_atomically

_REPOSITORY = "openai/clip-vit-large-patch14"
_NAME, _SIZE = "text_projection.weight", 768
_CACHED = "clip-vit-l-14-text-projection.safetensors"


def text_projection(width: int, path: str | os.PathLike[str] | None = None) -> Tensor:
    """The text projection `[dim, width]`, fp32, so that `feature = projection @ pooled`, for an encoder `width` wide.

    path: a safetensors or .pt file that holds one, or the folder of a CLIP in transformers format. Without it, that of
        CLIP ViT-L/14 is looked for on this machine: in our cache folder, then in the hub's. Nothing is downloaded.

    Raises EncoderError where there is none, or none of this width, and FileError where a file is not what it should be.
    """
    if path is not None:
        return _of_width(_read(Path(path)), width, path)
    if width != _SIZE:
        raise EncoderError(
            f"This text encoder ({width} wide) comes without its text projection. Give a file that has it, such as a "
            "checkpoint or the folder of the whole CLIP."
        )
    for candidate in (cache_folder() / _CACHED, cache_folder() / downloads.FILE, downloads.in_cache(_REPOSITORY)):
        if candidate is not None and candidate.is_file():
            return _of_width(_read(candidate), width, candidate)
    raise EncoderError(
        "The text projection of CLIP ViT-L/14 is missing: SD1 checkpoints come without it. Fetch it once (2.4 MB): in "
        "a WebUI in the tab 'Create aesthetic embedding', elsewhere with `aesthetic-gradients fetch-projection`. On a "
        f"machine without network: put {downloads.FILE} of https://huggingface.co/{_REPOSITORY}, or {_CACHED} from a "
        f"machine that has fetched it, into {cache_folder()}."
    )


def fetch_projection(on_progress: Callable[[int, int], object] | None = None, endpoint: str | None = None) -> Path:
    """Download CLIP ViT-L/14's text projection alone, by byte range, into our cache folder, and return the file.

    on_progress: called with bytes done and bytes in all; raise `Interrupted` from it to stop. A file that is there
        already is kept until the new one is whole.
    endpoint: the hub's address; by default that in HF_ENDPOINT, else https://huggingface.co. Proxies are used as the
        environment says.

    Raises FileError, which names the address, where the hub does not answer, or not with this matrix.
    """
    data = downloads.fetch_tensors("The text projection", _REPOSITORY, {_NAME: (_SIZE, _SIZE)}, on_progress, endpoint)
    _checked(safetensors.torch.load(data)[_NAME], downloads.address(_REPOSITORY, endpoint))
    path = cache_folder() / _CACHED
    write_atomically(path, data)
    return path


def _read(path: Path) -> Tensor:
    """The text projection in a file, or in a folder of transformers format, as `[dim, width]`."""
    path = _file_in(path) if path.is_dir() else path
    chosen = ""

    def choose(names: list[str]) -> str:
        nonlocal chosen
        chosen = _chosen(names, path)
        return chosen

    try:
        with open(path, "rb") as file:
            head = file.read(9)
        if head.startswith(b"PK") and head[8:] != b"{":
            matrix = legacy_pt.read_named(path, choose)
        else:
            with safe_open(path, framework="pt") as tensors:
                matrix = tensors.get_tensor(choose(list(tensors.keys())))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise FileError(f"{path} is neither a safetensors nor a .pt file, or is damaged.") from error
    # transformers has a Linear's weight, `[dim, width]`; open_clip a parameter `[width, dim]`, for `pooled @ parameter`
    return _checked(matrix if chosen.endswith(".weight") else matrix.T, path)


def _file_in(folder: Path) -> Path:
    """The weights of a transformers folder, or that part of them which holds the projection."""
    for name in (downloads.FILE, "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
                return folder / parts[_chosen(list(parts), index)]
            except (ValueError, KeyError, TypeError) as error:
                raise FileError(f"{index} is damaged. Copy or download it again.") from error
    raise FileError(
        f"{folder} has neither {downloads.FILE} nor pytorch_model.bin, so it is no CLIP in transformers format."
    )


def _chosen(names: list[str], path: Path) -> str:
    """The one name of a text projection, alone or at the end of a checkpoint's longer one."""
    found = [name for name in names if f".{name}".endswith((".text_projection.weight", ".text_projection"))]
    if len(found) != 1:
        many = f"{len(found)} text projections ({', '.join(found[:3])})" if found else "no text projection"
        raise FileError(f"{path} holds {many}; it should hold one, such as {_NAME}.")
    return found[0]


def _checked(matrix: Tensor, source: object) -> Tensor:
    matrix = matrix.float()
    if matrix.dim() != 2 or not bool(torch.isfinite(matrix).all()) or bool((matrix.norm(dim=1) == 0).any()):
        raise FileError(
            f"The text projection in {source} is damaged: it should be a matrix of finite numbers, without empty rows."
        )
    return matrix.contiguous()


def _of_width(matrix: Tensor, width: int, source: object) -> Tensor:
    if matrix.shape[1] != width:
        raise EncoderError(
            f"The text projection in {source} is for a text encoder {matrix.shape[1]} wide; this one is {width}."
        )
    return matrix
