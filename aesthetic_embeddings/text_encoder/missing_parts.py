"""The parts of a CLIP that some models come without, and that tuning needs: on this machine, or from the hub.

An aesthetic lives in CLIP's shared space, which text features enter behind the last layer, through one matrix. Stable
Diffusion needs neither, so checkpoints leave out the text projection (SD1, and the CLIP ViT-L/14 of SDXL), and
diffusers and Forge leave out the last layer as well (SD2). They were trained with CLIPs that are published whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..aesthetics.families import LACKS_LAST_LAYER
from ..aesthetics.known_scorers import SCORERS, KnownScorer
from ..aesthetics.neutral import NEUTRAL, NeutralEmbedding
from ..errors import AestheticError, EncoderError, FileError
from ..storage import downloads, legacy_pt
from ..storage.paths import cache_folder, write_atomically
from .towers import Affine, Layer, Norm, Slot, Tower, is_projection

_PROJECTION = "text_projection.weight"
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """A part of one published CLIP.

    name: in the command line; label, needed_by, size: for people. width, layers: of the text encoder that lacks it.
    repository: on the hub; shapes: of its tensors there. cached: the file with this part alone, in our cache folder.
    read: finds the part in a file or folder for an encoder of some `(width, layers)`; returns None where there is none
        of this size, and raises FileError where it is damaged.
    """

    name: str
    label: str
    needed_by: str
    size: str
    width: int
    layers: int
    repository: str
    shapes: Mapping[str, tuple[int, ...]]
    cached: str
    read: Callable[[Path, int, int], Tensors | None]

    def find(self, width: int, layers: int, places: Sequence[Path] = ()) -> Tensors | None:
        """The part for an encoder of that size; None where it is not on this machine. Nothing is downloaded.

        places: files, or folders of a CLIP in transformers format, to be looked into before our cache folder and the
            hub's. What is not there, or holds no such part, is passed over.

        Raises FileError where it is only in a file that is damaged.
        """
        fault = None
        for place in self.places(places):
            try:
                if (found := self.read(place, width, layers)) is not None:
                    return found
            except FileError as error:  # matters only where there is no other
                fault = fault or error
        if fault is not None:
            raise fault
        return None

    def places(self, more: Sequence[Path] = ()) -> list[Path]:
        """The files and folders on this machine that may hold it."""
        hub = downloads.in_cache(self.repository)
        ours = cache_folder()
        all_places = [*more, ours / self.cached, ours / downloads.FILE, *([hub] if hub else [])]
        return [place for place in all_places if place.is_file() or place.is_dir()]

    def is_here(self, places: Sequence[Path] = ()) -> bool:
        """Whether models that lack it can be tuned on this machine."""
        try:
            return self.find(self.width, self.layers, places) is not None
        except AestheticError:
            return False

    def fetch(self, on_progress: Callable[[int, int], object] | None = None, endpoint: str | None = None) -> Path:
        """Download the part alone, by byte range, into our cache folder, and return the file.

        on_progress: called with bytes done and bytes in all; raise `Interrupted` from it to stop. A file that is there
        already is kept until the new one is whole.
        endpoint: the hub's address; by default that in HF_ENDPOINT, else https://huggingface.co. Proxies are used as
        the environment says.

        Raises FileError, which names the address, where the hub does not answer, or not with this part.
        """
        data = downloads.fetch_tensors(self.label, self.repository, self.shapes, on_progress, endpoint)
        _checked(safetensors.torch.load(data), self.shapes, downloads.address(self.repository, endpoint))
        path = cache_folder() / self.cached
        write_atomically(path, data)
        return path

    @property
    def folder(self) -> str:
        """What people call the folder of the whole CLIP."""
        return self.repository.split("/")[-1]

    @property
    def how_to_get(self) -> str:
        return (
            f"Fetch it once ({self.size}): in a WebUI in the tab 'Create aesthetic embedding', elsewhere with "
            f"`aesthetic-gradients fetch {self.name}`. On a machine without network: put {downloads.FILE} of "
            f"https://huggingface.co/{self.repository}, or {self.cached} from a machine that has fetched it, into "
            f"{cache_folder()}."
        )


def fetch(part: str, on_progress: Callable[[int, int], object] | None = None, endpoint: str | None = None) -> Path:
    """Download what models, aesthetics or evaluations come without into the cache folder: of a CLIP, the part alone.

    Args:
        part: "projection" (2.4 MB of CLIP ViT-L/14), "last-layer" (55 MB of OpenCLIP ViT-H/14), "neutral" (3 kB: the
            mean ordinary picture of CLIP ViT-L/14), or an aesthetic scorer (3 to 4 kB: simulacra-l14, simulacra-b16,
            simulacra-b32, laion-l14, laion-b16, laion-b32; 3.7 MB: improved-l14).
        on_progress: Called with the bytes done and in all. To stop, raise `Interrupted` from it.
        endpoint: The address of the Hugging Face hub, where it is not that in HF_ENDPOINT or
            https://huggingface.co; for the neutral embedding and scorers that of GitHub's files.

    Returns:
        The file.

    Raises:
        AestheticError: There is no such part.
        FileError: The hub does not answer, or not with this part. The text names the address.
    """
    if part not in FETCHABLE:
        raise AestheticError(f"There is no part {part!r}. Choose one of {', '.join(FETCHABLE)}.")
    return FETCHABLE[part].fetch(on_progress, endpoint)


# ---------------------------------------------------------------- completing a tower


def complete(
    tower: Tower, given: Tensor | str | os.PathLike[str] | None = None, places: Sequence[Path] = ()
) -> tuple[Tower, Tensor]:
    """The tower with its last layer, where its owner leaves that out, and its text projection `[dim, width]`.

    given: the projection, or a file or folder that holds what is missing. places: others that may (see `Part.find`).

    Raises EncoderError where a part is nowhere, or does not fit, and FileError where a file is not what it should be.
    """
    if lacks_last_layer(tower):
        given_places = [] if given is None or isinstance(given, Tensor) else [Path(given)]
        tower = _with_last_layer(tower, [*given_places, *places])
    if tower.projection is not None:
        return tower, tower.projection
    return tower, given if isinstance(given, Tensor) else text_projection(tower.width, given, places)


def lacks_last_layer(tower: Tower) -> bool:
    return (tower.width, len(tower.layers)) in LACKS_LAST_LAYER


def text_projection(width: int, path: str | os.PathLike[str] | None = None, places: Sequence[Path] = ()) -> Tensor:
    """The text projection `[dim, width]`, fp32, so that `feature = projection @ pooled`, for an encoder `width` wide.

    path: a file that holds it; without, it is looked for (see `Part.find`).
    """
    if path is not None:
        read = _read_projection(Path(path), 0)
        if read is None:
            raise FileError(f"{path} holds no text projection; it should hold one, such as {_PROJECTION}.")
        matrix = read[_PROJECTION]
        if matrix.shape[1] != width:
            raise EncoderError(
                f"The text projection in {path} is for a text encoder {matrix.shape[1]} wide; this one is {width}."
            )
        return matrix
    if found := TEXT_PROJECTION.find(width, TEXT_PROJECTION.layers, places):
        return found[_PROJECTION]
    if width != TEXT_PROJECTION.width:
        raise EncoderError(
            f"This text encoder ({width} wide) comes without its text projection. Give a file that has it, such as a "
            "checkpoint or the folder of the whole CLIP."
        )
    missing = "The text projection of CLIP ViT-L/14 is missing: SD1 checkpoints come without it."
    raise EncoderError(f"{missing} {TEXT_PROJECTION.how_to_get}")


def _with_last_layer(tower: Tower, places: Sequence[Path]) -> Tower:
    """The tower with its last layer, which no forward of its owner ever calls, and its text projection."""
    width, index = tower.width, len(tower.layers)
    found = LAST_LAYER.find(width, index, places)
    if found is None:
        raise EncoderError(
            "SD2's text encoder comes here without its last layer, which an aesthetic needs. " + LAST_LAYER.how_to_get
        )
    layer = _layer({name.removeprefix(_prefix(index)): x for name, x in found.items()}, tower.final_norm.eps)
    return replace(tower, layers=(*tower.layers, layer), projection=found[_PROJECTION])


# ---------------------------------------------------------------- the text projection


def _read_projection(path: Path, width: int, layers: int = 0) -> Tensors | None:
    """From a safetensors file, a .pt file, or a folder in transformers format; width 0 stands for any."""
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
    except _NotThere:
        return None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise FileError(f"{path} is neither a safetensors nor a .pt file, or is damaged.") from error
    # transformers has a Linear's weight, `[dim, width]`; open_clip a parameter `[width, dim]`, for `pooled @ parameter`
    matrix = matrix.float() if chosen.endswith(".weight") else matrix.float().T
    if not is_projection(matrix):
        raise FileError(
            f"The text projection in {path} is damaged: it should be a matrix of finite numbers, without empty rows."
        )
    return {_PROJECTION: matrix.contiguous()} if width in (0, matrix.shape[1]) else None


class _NotThere(Exception):
    """A file or folder holds no text projection."""


def _file_in(folder: Path) -> Path:
    """The weights of a transformers folder, or that part of them which holds the projection."""
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
    raise _NotThere


def _chosen(names: list[str], path: Path) -> str:
    """The one name of a text projection, alone or at the end of a checkpoint's longer one."""
    found = [name for name in names if f".{name}".endswith((".text_projection.weight", ".text_projection"))]
    if len(found) > 1:
        raise FileError(
            f"{path} holds {len(found)} text projections ({', '.join(found[:3])}); it should hold one, such as "
            f"{_PROJECTION}."
        )
    if not found:
        raise _NotThere
    return found[0]


# ---------------------------------------------------------------- SD2's last layer

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
        module = nn.Module()
        for part in ("weight", "bias"):
            module.register_parameter(part, nn.Parameter(tensors[f"{name}.{part}"], requires_grad=False))
        return Slot(module, "weight"), Slot(module, "bias")

    q, k, v, out, fc1, fc2 = (Affine(*slots(name)) for name in (*_ATTENTION, "mlp.fc1", "mlp.fc2"))
    norm1, norm2 = (Norm(*slots(f"layer_norm{i}"), eps) for i in (1, 2))
    return Layer(norm1, q, k, v, out, norm2, fc1, fc2)


def _read_last_layer(path: Path, width: int, index: int) -> dict[str, Tensor] | None:
    """What `_shapes` names, from a safetensors file of either layout; None where the file has no such layer."""
    shapes = _shapes(width, index)
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


def _checked(found: Tensors, shapes: Mapping[str, tuple[int, ...]], source: object) -> Tensors:
    """Raise FileError unless the tensors are of these shapes and finite, and the projection can be one."""
    sound = all(
        found[name].shape == shape and bool(torch.isfinite(found[name]).all()) for name, shape in shapes.items()
    )
    if not sound or not is_projection(found[_PROJECTION]):
        raise FileError(f"The part of CLIP in {source} is damaged, or another CLIP's. Download it again.")
    return found


# ---------------------------------------------------------------- the parts

TEXT_PROJECTION = Part(
    name="projection",
    label="text projection",
    needed_by="which SD1, SDXL, SD3 and Flux need",
    size="2.4 MB",
    width=768,
    layers=12,
    repository="openai/clip-vit-large-patch14",
    shapes={_PROJECTION: (768, 768)},
    cached="clip-vit-l-14-text-projection.safetensors",
    read=_read_projection,
)
LAST_LAYER = Part(
    name="last-layer",
    label="last layer of OpenCLIP ViT-H/14",
    needed_by="which SD2 needs where its checkpoint does not hold it",
    size="55 MB",
    width=1024,
    layers=23,
    repository="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    shapes=_shapes(1024, 23),
    cached="open-clip-vit-h-14-last-layer.safetensors",
    read=_read_last_layer,
)
PARTS = {part.name: part for part in (TEXT_PROJECTION, LAST_LAYER)}
#: All that `fetch` knows.
FETCHABLE: Mapping[str, Part | NeutralEmbedding | KnownScorer] = {**PARTS, NEUTRAL.name: NEUTRAL, **SCORERS}
