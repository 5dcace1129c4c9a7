"""The parts of CLIP that some models lack and tuning needs: found on this machine, or fetched from the hub.

An aesthetic lives in CLIP's shared space, which text features reach through the last layer and one matrix. Stable
Diffusion needs neither, so checkpoints leave out the text projection (SD1, and the CLIP ViT-L/14 of SDXL), and
diffusers and Forge leave out the last layer as well (SD2). The whole CLIPs are published.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
from torch import Tensor

from ..aesthetics.families import LACKS_LAST_LAYER
from ..aesthetics.known_scorers import SCORERS, KnownScorer
from ..aesthetics.neutral import NEUTRAL, NeutralEmbedding
from ..errors import AestheticError, EncoderError, FileError
from ..storage import downloads
from ..storage.paths import cache_folder, write_atomically
from .last_layer import checked, layer_of, read_last_layer, shapes_of
from .projection_file import NAME as PROJECTION
from .projection_file import read_projection
from .towers import Tower

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """A part of one published CLIP.

    name: on the command line. label, needed_by, size: for people.
    width, layers: of the text encoder that lacks it.
    repository: on the hub. shapes: of its tensors there. cached: the name of the part's own file in our cache folder.
    read: takes a file or folder, a width and a number of layers, and returns the part for such an encoder; None if it
        is not in there. Raises FileError if it is damaged.
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
        """The part for an encoder of that size; None if it is not on this machine. Nothing is downloaded.

        places: files, or folders in transformers format, to search before our cache folder and the hub's.

        Raises FileError if only a damaged file has it.
        """
        fault = None
        for place in self.places(places):
            try:
                if (found := self.read(place, width, layers)) is not None:
                    return found
            except FileError as error:  # only matters if no other place has it
                fault = fault or error
        if fault is not None:
            raise fault
        return None

    def places(self, more: Sequence[Path] = ()) -> list[Path]:
        """The existing files and folders that may hold it. more: files and folders to search first."""
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
        """Download only this part, by byte ranges, into our cache folder, and return the file.

        on_progress: called with the bytes done and the bytes in all. Raise `Interrupted` in it to stop; an existing
            file is then kept.
        endpoint: the hub's address; by default HF_ENDPOINT, else https://huggingface.co. The environment's proxies are
            used.

        Raises FileError, which names the address, if the download fails or brings something else.
        """
        data = downloads.fetch_tensors(self.label, self.repository, self.shapes, on_progress, endpoint)
        checked(safetensors.torch.load(data), self.shapes, downloads.address(self.repository, endpoint))
        path = cache_folder() / self.cached
        write_atomically(path, data)
        return path

    @property
    def folder(self) -> str:
        """The usual name for a folder of the whole CLIP."""
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
    """Download a part that models, aesthetics or evaluations lack into the cache folder.

    Args:
        part: "projection" (2.4 MB of CLIP ViT-L/14), "last-layer" (55 MB of OpenCLIP ViT-H/14), "neutral" (3 kB: the
            mean ordinary picture of CLIP ViT-L/14), or an aesthetic scorer (3 to 4 kB: simulacra-l14, simulacra-b16,
            simulacra-b32, laion-l14, laion-b16, laion-b32; 3.7 MB: improved-l14).
        on_progress: Called with the bytes done and the bytes in all. Raise `Interrupted` in it to stop.
        endpoint: The address of the Hugging Face hub; by default HF_ENDPOINT, else https://huggingface.co. For the
            neutral embedding and scorers, the address of GitHub's files.

    Returns:
        The file.

    Raises:
        AestheticError: There is no such part.
        FileError: The download failed, or brought something else. The text names the address.
    """
    if part not in FETCHABLE:
        raise AestheticError(f"There is no part {part!r}. Choose one of {', '.join(FETCHABLE)}.")
    return FETCHABLE[part].fetch(on_progress, endpoint)


# ---------------------------------------------------------------- completing a tower


def with_missing_parts(
    tower: Tower, given: Tensor | str | os.PathLike[str] | None = None, places: Sequence[Path] = ()
) -> tuple[Tower, Tensor]:
    """The complete tower, with the last layer if the host has left it out, and its text projection `[dim, width]`.

    given: the projection, or a file or folder with the missing parts. places: more of them (see `Part.find`).

    Raises EncoderError if a part is missing or does not fit; FileError if a file is damaged or has no such part.
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
    """The text projection `[dim, width]`, fp32, for an encoder `width` wide: `feature = projection @ pooled`.

    path: a file with it; by default it is searched for (see `Part.find`).
    """
    if path is not None:
        read = read_projection(Path(path), 0)
        if read is None:
            raise FileError(f"{path} holds no text projection, such as {PROJECTION}. Pass another file as projection.")
        matrix = read[PROJECTION]
        if matrix.shape[1] != width:
            raise EncoderError(
                f"The text projection in {path} is for a text encoder {matrix.shape[1]} wide; this one is {width}."
            )
        return matrix
    if found := TEXT_PROJECTION.find(width, TEXT_PROJECTION.layers, places):
        return found[PROJECTION]
    if width != TEXT_PROJECTION.width:
        raise EncoderError(
            f"This text encoder ({width} wide) comes without its text projection. Pass it as projection=: the matrix, "
            "a file that has it, or the folder of the whole CLIP."
        )
    missing = "The text projection of CLIP ViT-L/14 is missing: SD1 checkpoints come without it."
    raise EncoderError(f"{missing} {TEXT_PROJECTION.how_to_get}")


def _with_last_layer(tower: Tower, places: Sequence[Path]) -> Tower:
    """The tower with its last layer, which the host never calls, and its text projection."""
    width, index = tower.width, len(tower.layers)
    found = LAST_LAYER.find(width, index, places)
    if found is None:
        raise EncoderError(
            "SD2's text encoder comes here without its last layer, which an aesthetic needs. " + LAST_LAYER.how_to_get
        )
    layer = layer_of(found, index, tower.final_norm.eps)
    return replace(tower, layers=(*tower.layers, layer), projection=found[PROJECTION])


# ---------------------------------------------------------------- the parts

TEXT_PROJECTION = Part(
    name="projection",
    label="text projection",
    needed_by="which SD1, SDXL, SD3 and Flux need",
    size="2.4 MB",
    width=768,
    layers=12,
    repository="openai/clip-vit-large-patch14",
    shapes={PROJECTION: (768, 768)},
    cached="clip-vit-l-14-text-projection.safetensors",
    read=read_projection,
)
LAST_LAYER = Part(
    name="last-layer",
    label="last layer of OpenCLIP ViT-H/14",
    needed_by="which SD2 needs where its checkpoint does not hold it",
    size="55 MB",
    width=1024,
    layers=23,
    repository="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    shapes=shapes_of(1024, 23),
    cached="open-clip-vit-h-14-last-layer.safetensors",
    read=read_last_layer,
)
PARTS = {part.name: part for part in (TEXT_PROJECTION, LAST_LAYER)}
#: Everything that can be fetched, by name.
FETCHABLE: Mapping[str, Part | NeutralEmbedding | KnownScorer] = {**PARTS, NEUTRAL.name: NEUTRAL, **SCORERS}
