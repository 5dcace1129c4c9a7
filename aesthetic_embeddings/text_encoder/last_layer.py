"""SD2's last layer in files of either layout: transformers' or open_clip's.

diffusers and Forge leave it out, since the picture does not need it. Features of the shared space do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import FileError
from ..storage import downloads
from .projection_file import NAME as PROJECTION
from .towers import Affine, Layer, Norm, Slot, is_projection

_ATTENTION = [f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")]
_OF_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def _prefix(index: int) -> str:
    return f"text_model.encoder.layers.{index}."


def shapes_of(width: int, index: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the missing tensors, by transformers' names: those of layer `index`, and the projection."""
    norms = ["layer_norm1", "layer_norm2"]
    layer: dict[str, tuple[int, ...]] = {f"{name}.weight": (width, width) for name in _ATTENTION}
    layer |= {f"{name}.bias": (width,) for name in (*_ATTENTION, *norms, "mlp.fc2")}
    layer |= {f"{name}.weight": (width,) for name in norms}
    layer |= {"mlp.fc1.weight": (4 * width, width), "mlp.fc1.bias": (4 * width,), "mlp.fc2.weight": (width, 4 * width)}
    return {_prefix(index) + name: shape for name, shape in layer.items()} | {PROJECTION: (width, width)}


def layer_of(tensors: Mapping[str, Tensor], index: int, eps: float) -> Layer:
    """Layer `index`, from tensors that `shapes_of` names."""

    def slots(name: str) -> tuple[Slot, Slot]:
        module = nn.Module()
        for part in ("weight", "bias"):
            tensor = tensors[f"{_prefix(index)}{name}.{part}"]
            module.register_parameter(part, nn.Parameter(tensor, requires_grad=False))
        return Slot(module, "weight"), Slot(module, "bias")

    q, k, v, out, fc1, fc2 = (Affine(*slots(name)) for name in (*_ATTENTION, "mlp.fc1", "mlp.fc2"))
    norm1, norm2 = (Norm(*slots(f"layer_norm{i}"), eps) for i in (1, 2))
    return Layer(norm1, q, k, v, out, norm2, fc1, fc2)


def read_last_layer(path: Path, width: int, index: int) -> dict[str, Tensor] | None:
    """The tensors that `shapes_of` names, from a safetensors file of either layout; None if it has no such layer.

    path: the file, or a folder in transformers format. Raises FileError if the file cannot be read, or is damaged.
    """
    shapes = shapes_of(width, index)
    if path.is_dir():
        path = path / downloads.FILE
    if not path.is_file():
        return None
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
        return None  # such as a .ckpt, which a host may have loaded
    return checked(found, shapes, path)


def _root_of_open_clip(names: set[str], index: int) -> str | None:
    """The prefix of an open_clip tower's names in a file, such as "cond_stage_model.model."; None without a tower."""
    end = f"transformer.resblocks.{index}.ln_1.weight"
    roots = [name.removesuffix(end) for name in names if name.endswith(end)]
    return next((root for root in roots if root + "text_projection" in names), None)


def _from_open_clip(file: Any, root: str, index: int) -> dict[str, Tensor]:
    """The tensors by transformers' names. open_clip has q, k and v in one matrix, and a projection `[width, dim]`."""
    block = f"{root}transformer.resblocks.{index}."
    found: dict[str, Tensor] = {}
    for part in ("weight", "bias"):
        thirds = file.get_tensor(f"{block}attn.in_proj_{part}").chunk(3)
        found |= {f"{name}.{part}": third for name, third in zip(_ATTENTION, thirds, strict=False)}
        found |= {
            f"{ours}.{part}": file.get_tensor(f"{block}{theirs}.{part}") for ours, theirs in _OF_OPEN_CLIP.items()
        }
    projection = file.get_tensor(root + "text_projection").T.contiguous()
    return {_prefix(index) + name: x for name, x in found.items()} | {PROJECTION: projection}


def checked(found: dict[str, Tensor], shapes: Mapping[str, tuple[int, ...]], source: object) -> dict[str, Tensor]:
    """The tensors. Raises FileError unless they have these shapes and are finite, and the projection can be one."""
    sound = all(
        found[name].shape == shape and bool(torch.isfinite(found[name]).all()) for name, shape in shapes.items()
    )
    if not sound or not is_projection(found[PROJECTION]):
        raise FileError(f"The part of CLIP in {source} is damaged, or another CLIP's. Download it again.")
    return found
