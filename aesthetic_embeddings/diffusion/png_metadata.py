"""The settings that a picture was made with, as JSON inside its PNG file."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..aesthetics.embedding import AestheticEmbedding
from ..errors import AestheticError
from ..settings import Settings
from ..storage.paths import write_atomically

#: The PNG text chunk that holds the JSON.
TEXT_KEY = "aesthetic-gradients"


def picture_metadata(
    prompt: str,
    embedding: AestheticEmbedding | None,
    settings: Settings,
    *,
    model: str,
    negative_prompt: str,
    sampler_steps: int,
    cfg: float,
    similarities: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """The metadata of pictures, without their seeds and sizes. The keys are a file format."""
    return {
        "version": 1,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "model": model,
        "sampler_steps": sampler_steps,
        "cfg": cfg,
        "aesthetic": embedding.name if embedding else "",
        "aesthetic_hash": embedding.content_hash if embedding else "",
        "settings": dataclasses.asdict(settings),
        "similarities": dict(similarities),
    }


def save_picture(image: Image.Image, path: str | Path, metadata: Mapping[str, Any]) -> Path:
    """Write a PNG atomically, with the metadata as JSON in its text chunk `aesthetic-gradients`."""
    info = PngInfo()
    info.add_itxt(TEXT_KEY, json.dumps(metadata, ensure_ascii=False))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    write_atomically(Path(path), buffer.getvalue())
    return Path(path)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata that `save_picture` wrote. Raises AestheticError if the file has none of ours."""
    with Image.open(path) as image:
        text = getattr(image, "text", {}).get(TEXT_KEY, "")
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise AestheticError(f"{path} holds no settings of aesthetic-gradients.") from error
