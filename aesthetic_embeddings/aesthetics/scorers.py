"""Aesthetic scorers: small heads on CLIP's image features that predict how people rate a picture.

The paper uses Simulacra's. All known ones are affine maps of the unit feature, or chains of such maps:

    Simulacra:         score = w . (x / ||x|| * sqrt(dim)) + b     (crowsonkb/simulacra-aesthetic-models)
    LAION v1:          score = w . (x / ||x||) + b                 (LAION-AI/aesthetic-predictor)
    LAION improved:    score = W5 (... W1 (x / ||x||) + b1 ...) + b5   (christophschuhmann/improved-aesthetic-predictor)

The weight of a linear head is a direction of CLIP space, so it is also an aesthetic (`Scorer.as_aesthetic`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import AestheticError, FileError, quoted
from ..storage.legacy_pt import read_all
from ..storage.paths import open_regular
from ..storage.small_safetensors import is_safetensors, read_header, read_tensors
from .embedding import AestheticEmbedding
from .families import family_of_dimension
from .known_scorers import SCORERS
from .vectors import unit

_SIZE_LIMIT = 64 * 2**20  # the largest known one takes 4 MB


@dataclass(frozen=True, eq=False)
class Scorer:
    """A head on the features of CLIP's image encoder that predicts how people rate a picture.

    `scorer(features)` gives the scores `[n]`, fp32, of features `[n, dim]`.

    Attributes:
        name: The file's, without its suffix.
        layers: (weight `[out, in]`, bias `[out]`) of each affine map, in order; the last has one output.
        scale: The norm to which a feature is scaled before the first map.
    """

    name: str
    layers: tuple[tuple[Tensor, Tensor], ...]
    scale: float

    @property
    def dim(self) -> int:
        """The dimension of its CLIP space."""
        return self.layers[0][0].shape[1]

    def __call__(self, features: Tensor) -> Tensor:
        """Raises AestheticError if the features have another dimension, or if one is zero or not finite."""
        self.check(features.shape[-1])
        x = unit(features.float()) * self.scale
        for weight, bias in self.layers:
            x = x @ weight.T + bias
        return x[..., 0]

    def check(self, dim: int) -> None:
        """Raise AestheticError unless it scores features of this dimension."""
        if dim != self.dim:
            raise AestheticError(
                f"The scorer {self.name} is for CLIP features of {self.dim} numbers, not {dim}. "
                "Choose the encoder that it was made for, or another scorer."
            )

    def as_aesthetic(self) -> AestheticEmbedding:
        """The direction in which the score grows: the product of the weights, `[dim]`.

        Raises AestheticError unless exactly one known CLIP family has this dimension.
        """
        family = family_of_dimension(self.dim)
        if family is None:
            raise AestheticError(
                f"{self.name} scores features of {self.dim} numbers: no CLIP of a known model has these."
            )
        direction = torch.ones(1)
        for weight, _ in reversed(self.layers):
            direction = direction @ weight
        notes = f"the direction in which the score of the aesthetic scorer {self.name} grows; no pictures"
        return AestheticEmbedding({family: direction}, name=self.name, notes=notes)


def load_scorer(source: str | os.PathLike[str]) -> Scorer:
    """Read an aesthetic scorer: a linear head, or a small MLP, on the features of CLIP's image encoder.

    No code in the file is run, and nothing is downloaded.

    Args:
        source: A safetensors, .pt or .pth file that holds its weights, or the name of a published one that
            `ae.fetch` has brought: simulacra-l14, simulacra-b16, simulacra-b32, laion-l14, laion-b16, laion-b32 or
            improved-l14.

    Returns:
        A callable: features `[n, dim]` to scores `[n]`.

    Raises:
        FileError: There is no such file, or it is not a scorer. The text says what to do.
    """
    path = _located(source)
    tensors = _read(path)
    weights = sorted((name for name in tensors if name.endswith("weight")), key=_position)
    layers = tuple((tensors[name].float(), tensors.get(_bias_of(name), torch.zeros(())).float()) for name in weights)
    if 2 * len(layers) != len(tensors) or not _fit(layers):
        raise FileError(
            f"{path} is not an aesthetic scorer. It should hold the weights and biases of linear layers, the last "
            "with one output."
        )
    # Simulacra's module has an attribute `linear`, LAION's module is the layer itself
    scale = layers[0][0].shape[1] ** 0.5 if weights[0] == "linear.weight" else 1.0
    return Scorer(path.stem, layers, scale)


def _located(source: str | os.PathLike[str]) -> Path:
    if known := SCORERS.get(str(source)):
        if not known.file.is_file():
            raise FileError(f"The scorer {known.name} is not on this machine. {known.how_to_get}")
        return known.file
    path = Path(source)
    if not path.is_file():
        raise FileError(f"There is no scorer {quoted(str(source))}, and no such file. There are {', '.join(SCORERS)}.")
    return path


def _read(path: Path) -> Mapping[str, Tensor]:
    with open_regular(path) as file:
        data = file.read(_SIZE_LIMIT + 1)
    if len(data) > _SIZE_LIMIT:
        raise FileError(f"{path} is too large for an aesthetic scorer.")
    if not is_safetensors(data[:9]):
        return read_all(path)
    try:
        read_header(data)  # checks its limits
        return read_tensors(data)
    except Exception as error:  # mostly SafetensorError, but a KeyError for a dtype that torch lacks
        raise FileError(f"{path} is damaged. Copy or download it again.") from error


def _position(name: str) -> tuple[int, str]:
    """`layers.10.weight` comes after `layers.2.weight`."""
    numbers = [int(part) for part in name.split(".") if part.isdecimal() and len(part) < 6]
    return (numbers or [0])[0], name


def _bias_of(name: str) -> str:
    return name.removesuffix("weight") + "bias"


def _fit(layers: tuple[tuple[Tensor, Tensor], ...]) -> bool:
    """Whether these are affine maps that can be chained and end in one number."""
    if not layers or any(weight.dim() != 2 or bias.shape != weight.shape[:1] for weight, bias in layers):
        return False
    sizes = [weight.shape for weight, _ in layers]
    chained = all(after[1] == before[0] for before, after in itertools.pairwise(sizes))
    finite = all(bool(torch.isfinite(x).all()) for layer in layers for x in layer)
    return chained and sizes[-1][0] == 1 and sizes[0][1] > 0 and finite
