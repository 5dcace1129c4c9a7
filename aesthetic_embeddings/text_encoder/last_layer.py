"""The last layer of SD2's text encoder, which diffusers and Forge leave out: pictures are made from the one before it.

An aesthetic lives in the space behind that layer, so tuning needs it, and the text projection with it. SD2 was trained
with OpenCLIP ViT-H/14's own, unchanged; checkpoints in their makers' layout hold it, and so does the whole CLIP.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..aesthetics.families import LACKS_LAST_LAYER
from ..errors import EncoderError, FileError
from ..storage import downloads
from ..storage.paths import cache_folder, write_atomically
from .towers import Affine, Layer, Norm, Slot, Tower

_REPOSITORY = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
_WIDTH, _INDEX = 1024, 23
_CACHED = "open-clip-vit-h-14-last-layer.safetensors"
_PROJECTION = "text_projection.weight"

_ATTENTION = [f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")]
_OF_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def lacks_last_layer(tower: Tower) -> bool:
    return (tower.width, len(tower.layers)) in LACKS_LAST_LAYER


def with_last_layer(tower: Tower, path: str | os.PathLike[str] | None = None) -> Tower:
    """The tower with its last layer, which no forward of its owner ever calls, and its text projection.

    path: an SD2 checkpoint or a whole CLIP that may hold both. Otherwise our cache folder and then the hub's are looked
        into. Nothing is downloaded.

    Raises EncoderError where they are nowhere, and FileError where a file is damaged.
    """
    given = [] if path is None else [Path(path), Path(path) / downloads.FILE]
    index = len(tower.layers)
    for candidate in (*given, cache_folder() / _CACHED, downloads.in_cache(_REPOSITORY)):
        if (
            candidate is not None
            and candidate.is_file()
            and (found := _read(candidate, tower.width, index)) is not None
        ):
            layer = _layer({name.removeprefix(_prefix(index)): x for name, x in found.items()}, tower.final_norm.eps)
            return replace(tower, layers=(*tower.layers, layer), projection=found[_PROJECTION])
    raise EncoderError(
        "SD2's text encoder comes here without its last layer, which an aesthetic needs. Fetch it once (55 MB): in a "
        "WebUI in the tab 'Create aesthetic embedding', elsewhere with `aesthetic-gradients fetch-last-layer`. On a "
        f"machine without network: put {downloads.FILE} of https://huggingface.co/{_REPOSITORY} into {cache_folder()}, "
        f"as {_CACHED}."
    )


def last_layer_is_here() -> bool:
    """Whether SD2 in any format can be tuned on this machine."""
    return _found(_WIDTH, _INDEX) is not None


def fetch_last_layer(on_progress: Callable[[int, int], object] | None = None, endpoint: str | None = None) -> Path:
    """Download SD2's last layer and text projection alone, by byte range, into our cache folder; return the file.

    on_progress, endpoint, and what is raised: see `fetch_projection`.
    """
    data = downloads.fetch_tensors("SD2's last layer", _REPOSITORY, _shapes(_WIDTH, _INDEX), on_progress, endpoint)
    _checked(safetensors.torch.load(data), _shapes(_WIDTH, _INDEX), downloads.address(_REPOSITORY, endpoint))
    path = cache_folder() / _CACHED
    write_atomically(path, data)
    return path


def _found(width: int, index: int, given: Sequence[Path] = ()) -> dict[str, Tensor] | None:
    for path in (*given, cache_folder() / _CACHED, downloads.in_cache(_REPOSITORY)):
        if path is not None and path.is_file() and (found := _read(path, width, index)) is not None:
            return found
    return None


def _prefix(index: int) -> str:
    return f"text_model.encoder.layers.{index}."


def _shapes(width: int, index: int) -> dict[str, tuple[int, ...]]:
    """What is missing, by transformers' names: layer `index` and the projection."""
    norms = ["layer_norm1", "layer_norm2"]
    layer: dict[str, tuple[int, ...]] = {f"{name}.weight": (width, width) for name in _ATTENTION}
    layer |= {f"{name}.bias": (width,) for name in (*_ATTENTION, *norms, "mlp.fc2")}
    layer |= {f"{name}.weight": (width,) for name in norms}
    layer |= {"mlp.fc1.weight": (4 * width, width), "mlp.fc1.bias": (4 * width,), "mlp.fc2.weight": (width, 4 * width)}
    return {_prefix(index) + name: shape for name, shape in layer.items()} | {_PROJECTION: (width, width)}


def _layer(tensors: dict[str, Tensor], eps: float) -> Layer:
    def slots(name: str) -> tuple[Slot, Slot]:
        owner = nn.Module()
        for part in ("weight", "bias"):
            owner.register_parameter(part, nn.Parameter(tensors[f"{name}.{part}"], requires_grad=False))
        return Slot(owner, "weight"), Slot(owner, "bias")

    q, k, v, out, fc1, fc2 = (Affine(*slots(name)) for name in (*_ATTENTION, "mlp.fc1", "mlp.fc2"))
    norm1, norm2 = (Norm(*slots(f"layer_norm{i}"), eps) for i in (1, 2))
    return Layer(norm1, q, k, v, out, norm2, fc1, fc2)


def _read(path: Path, width: int, index: int) -> dict[str, Tensor] | None:
    """What `_shapes` names, from a safetensors file of either layout; None where the file has no such layer."""
    shapes = _shapes(width, index)
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if set(shapes) <= names:
                found = {name: file.get_tensor(name) for name in shapes}
            elif (root := _root_of_open_clip(names, index)) is not None:
                found = _from_open_clip(file, root, index)
            else:
                return None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except SafetensorError:
        return None  # such as a .ckpt, which a host may read in its own way
    return _checked(found, shapes, path)


def _root_of_open_clip(names: set[str], index: int) -> str | None:
    """What stands before an open_clip text tower's names in a file, such as "cond_stage_model.model."."""
    end = f"transformer.resblocks.{index}.ln_1.weight"
    roots = [name.removesuffix(end) for name in names if name.endswith(end)]
    return next((root for root in roots if root + "text_projection" in names), None)


def _from_open_clip(file: Any, root: str, index: int) -> dict[str, Tensor]:
    """open_clip has q, k and v in one matrix, and the projection `[width, dim]`, for `pooled @ projection`."""
    block = f"{root}transformer.resblocks.{index}."
    found: dict[str, Tensor] = {}
    for part in ("weight", "bias"):
        thirds = file.get_tensor(f"{block}attn.in_proj_{part}").chunk(3)
        found |= {f"{name}.{part}": third for name, third in zip(_ATTENTION, thirds, strict=False)}
        found |= {
            f"{ours}.{part}": file.get_tensor(f"{block}{theirs}.{part}") for ours, theirs in _OF_OPEN_CLIP.items()
        }
    projection = file.get_tensor(root + "text_projection").T.contiguous()
    return {_prefix(index) + name: x for name, x in found.items()} | {_PROJECTION: projection}


def _checked(found: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], source: object) -> dict[str, Tensor]:
    if any(found[name].shape != shape or not bool(torch.isfinite(found[name]).all()) for name, shape in shapes.items()):
        raise FileError(f"The last layer in {source} is damaged, or another CLIP's. Download it again.")
    return found
