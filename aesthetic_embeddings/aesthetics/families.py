"""CLIP families. A vector means something only to encoders of its own family."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

# (width of the text encoder, layers, dimension of the shared space) -> the name under which a file stores its vector
_FAMILIES = {
    (768, 12, 768): "clip-vit-l-14",  # SD1; SDXL, SD3 and Flux carry it too
    (1024, 24, 1024): "open-clip-vit-h-14",  # SD2
    (1280, 32, 1280): "open-clip-vit-bigg-14",  # SDXL, SD3
}

#: (width, layers) of text encoders without their last layer, which features of the shared space need. diffusers and
#: Forge store SD2's so, since its pictures do not need it.
LACKS_LAST_LAYER = {(1024, 23)}

#: Model -> the CLIP families of its text encoders.
MODELS = {
    "SD1": {"clip-vit-l-14"},
    "SD2": {"open-clip-vit-h-14"},
    "SDXL": {"clip-vit-l-14", "open-clip-vit-bigg-14"},
    "SDXL's refiner": {"open-clip-vit-bigg-14"},
    "SD3": {"clip-vit-l-14", "open-clip-vit-bigg-14"},
    "Flux": {"clip-vit-l-14"},
}


def family(width: int, layers: int, dim: int) -> str:
    """The name of the CLIP family with a text encoder of `layers` layers, `width` wide, projected to `dim`.

    A CLIP outside the table is named by its sizes, so that equal ones share vectors.
    """
    return _FAMILIES.get((width, layers, dim), f"clip-{width}x{layers}-{dim}")


def family_of_dimension(dim: int) -> str | None:
    """The only family of the table whose vectors have `dim` numbers; None if there is none, or several."""
    names = {name for (_, _, d), name in _FAMILIES.items() if d == dim}
    return names.pop() if len(names) == 1 else None


def is_family(name: str) -> bool:
    """Whether this can be the name of a CLIP family: at most 64 letters, digits, dots, hyphens and underscores."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) is not None


def dimension(name: str) -> int | None:
    """The dimension of vectors of the family `name`; None if the name does not tell."""
    for (_, _, dim), known in _FAMILIES.items():
        if known == name:
            return dim
    sizes = re.fullmatch(r"clip-\d{1,6}x\d{1,6}-(\d{1,6})", name, re.ASCII)
    return int(sizes[1]) if sizes else None


_SIGNS = 256


def clip_signature(projection: Tensor) -> str:
    """Identifies a CLIP by its text projection `[dim, width]`: the signs of 256 of its numbers, hexadecimal.

    Signs survive rounding to half precision, and most survive fine-tuning. Two CLIPs that were trained separately share
    half of them.
    """
    flat = projection.detach().flatten()
    places = torch.tensor([i * flat.numel() // _SIGNS for i in range(_SIGNS)])
    bits = "".join("1" if negative else "0" for negative in flat[places.to(flat.device)].cpu().signbit().tolist())
    return f"{int(bits, 2):0{_SIGNS // 4}x}"


def same_clip(a: str, b: str) -> bool:
    """Whether two signatures are of one CLIP: at least three quarters of the signs agree."""
    return bin(int(a, 16) ^ int(b, 16)).count("1") <= _SIGNS // 4


def is_clip_signature(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{_SIGNS // 4}}}", text) is not None


def supported_models(families: Iterable[str]) -> str:
    """A phrase that names the models for which an aesthetic with vectors for these families works."""
    had = set(families)
    whole = [model for model, needed in MODELS.items() if needed <= had]
    half = [model for model, needed in MODELS.items() if needed & had and not needed <= had]
    words = [_listed(whole)] if whole else []
    words += [f"one of the two encoders of {_listed(half)}"] if half else []
    words += [f"models with a {name}" for name in sorted(had - set(_FAMILIES.values()))]
    return ", and ".join(words)


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
