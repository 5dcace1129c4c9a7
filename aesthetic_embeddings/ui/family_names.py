"""Readable names of CLIP families: those of the models that have them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable

from .. import pocket
from ..aesthetics import families

_NAMES = {"clip-vit-l-14": "SD1", "open-clip-vit-h-14": "SD2", "open-clip-vit-bigg-14": "SDXL"}


def label(family: str) -> str:
    """A short label: the model that the family is best known for, or the family's own name."""
    return "pocket model" if family == _pocket_family() else _NAMES.get(family, family)


def models(names: Iterable[str]) -> str:
    """In words, the models that an aesthetic with vectors for these families works with."""
    return families.supported_models(names).replace(f"models with a {_pocket_family()}", "the pocket model")


@functools.cache
def _pocket_family() -> str:
    config = json.loads((pocket.MODEL / "config.json").read_text(encoding="utf-8"))
    text = config["text_config"]
    return families.family(text["hidden_size"], text["num_hidden_layers"], config["projection_dim"])
