"""How a picture was made, as JSON inside its PNG file."""

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

#: The PNG text chunk that holds how a picture was made, as JSON.
TEXT_KEY = "aesthetic-gradients"


def described(
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
    """What pictures say of how they were made, but for their seeds and sizes. The keys are a file format."""
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


def save_picture(image: Image.Image, path: str | Path, about: Mapping[str, Any]) -> Path:
    """Write a PNG, whole or not at all, with `about` as JSON in its text chunk `aesthetic-gradients`."""
    info = PngInfo()
    info.add_itxt(TEXT_KEY, json.dumps(about, ensure_ascii=False))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    write_atomically(Path(path), buffer.getvalue())
    return Path(path)


def read_about(path: str | Path) -> dict[str, Any]:
    """What `save_picture` wrote beside the pixels. Raises AestheticError where there is nothing of ours."""
    with Image.open(path) as image:
        text = getattr(image, "text", {}).get(TEXT_KEY, "")
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise AestheticError(f"{path} holds no settings of aesthetic-gradients.") from error
