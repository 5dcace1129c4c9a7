"""Pictures instead of an embedding: dropped into the accordion, encoded once, and not stored as a file."""

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

LIMIT = 200  # more belong into a file

_cache: LRUCache[AestheticEmbedding] = LRUCache(2**20)  # some 150 sets


def embedding(files: Any) -> AestheticEmbedding:
    """The aesthetic of these pictures, by every CLIP of the tab that is on this machine. Its name is their number.

    files: from the page; or base64 text from the API, where a path could name any file of the server.
    Raises AestheticError if a picture cannot be read, or without a CLIP.
    """
    pictures = [_bytes(each) for each in (files if isinstance(files, (list, tuple)) else [files])]
    if len(pictures) > LIMIT:
        raise AestheticError(f"{len(pictures)} pictures are too many for the accordion. Make an embedding of them.")
    here = [encoder for encoder in creation.ENCODERS if creation.located(encoder)]
    if not here:
        needed = creation.ENCODERS[0]
        raise AestheticError(
            f"Reference pictures need {needed.label}, which is not on this machine yet. {creation.how_to_get(needed)}"
        )
    sources = creation.usable(here)
    key = (*sorted(hashlib.sha256(picture).hexdigest() for picture in pictures), *sources)
    found = _cache.get(key)
    if found is None:
        name = f"{len(pictures)} picture{'s' * (len(pictures) > 1)}"
        made = create_each(pictures, sources, name, on_progress=_tell, device=host.image_device())
        for label, fault in made[0].skipped:
            raise AestheticError(f"{label} cannot be read: {fault}. Remove it.")
        found = merge([each.embedding for each in made], name)
        _cache.put(key, found, 6 * 2**10)
    return found


def _tell(_: str, done: int, total: int) -> None:
    host.tell(f"Aesthetic gradients: {done} of {total} pictures" if done else "Aesthetic gradients: loading CLIP")


def _bytes(file: Any) -> bytes:
    """The page hands gradio 3's temporary file, or gradio 4's NamedString: both have a name, which is the path."""
    path = getattr(file, "name", None)
    try:
        return Path(path).read_bytes() if path else base64.b64decode(str(file).rpartition(",")[2], validate=True)
    except ValueError:
        raise AestheticError("pictures should be a list of pictures, as base64 text.") from None
    except OSError:
        raise AestheticError(f"The uploaded {Path(str(path)).name} is gone. Drop the pictures in again.") from None
