"""Reference pictures instead of an embedding: dropped into the accordion, encoded once, and not stored as a file."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from ..aesthetics.creation import create_each
from ..aesthetics.embedding import AestheticEmbedding, merge
from ..errors import AestheticError
from ..storage.lru_cache import LRUCache
from . import creation, host

MAX_PICTURES = 200  # larger sets should become a file

_cache: LRUCache[AestheticEmbedding] = LRUCache(2**20)  # about 150 sets of pictures


def embedding(files: Any) -> AestheticEmbedding:
    """The aesthetic of these pictures, with a vector by each known CLIP on this machine. Its name is their number.

    files: uploads from the page, or base64 text from the API; a path from the API could name any file of the server.
    Raises AestheticError if a picture cannot be read, or if no CLIP is on this machine.
    """
    pictures = [_bytes(file) for file in (files if isinstance(files, (list, tuple)) else [files])]
    if len(pictures) > MAX_PICTURES:
        raise AestheticError(f"{len(pictures)} pictures are too many for the accordion. Make an embedding of them.")
    encoders = [encoder for encoder in creation.ENCODERS if creation.encoder_path(encoder)]
    if not encoders:
        missing = creation.ENCODERS[0]
        raise AestheticError(
            f"Reference pictures need {missing.label}, which is not on this machine yet. "
            f"{creation.download_instructions(missing)}"
        )
    sources = creation.encoder_folders(encoders)
    key = (*sorted(hashlib.sha256(picture).hexdigest() for picture in pictures), *sources)
    result = _cache.get(key)
    if result is None:
        name = f"{len(pictures)} picture{'s' * (len(pictures) > 1)}"
        creations = create_each(pictures, sources, name, on_progress=_show_progress, device=host.image_encoder_device())
        for label, fault in creations[0].skipped:
            raise AestheticError(f"{label} cannot be read: {fault}. Remove it.")
        result = merge([made.embedding for made in creations], name)
        _cache.put(key, result, 6 * 2**10)
    return result


def _show_progress(_: str, done: int, total: int) -> None:
    host.show_progress(
        f"Aesthetic gradients: {done} of {total} pictures" if done else "Aesthetic gradients: loading CLIP"
    )


def _bytes(file: Any) -> bytes:
    """The picture's bytes. Gradio 3 passes a temporary file and gradio 4 a NamedString; `name` is the path of both."""
    path = getattr(file, "name", None)
    try:
        return Path(path).read_bytes() if path else base64.b64decode(str(file).rpartition(",")[2], validate=True)
    except ValueError:
        raise AestheticError("pictures should be a list of pictures, as base64 text.") from None
    except OSError:
        raise AestheticError(f"The uploaded {Path(str(path)).name} is gone. Drop the pictures in again.") from None
