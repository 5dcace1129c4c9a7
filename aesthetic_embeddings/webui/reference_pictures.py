"""Pictures in place of an embedding: dropped into the accordion, looked at once, and not kept as a file."""

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

_kept: LRUCache[AestheticEmbedding] = LRUCache(2**20)  # some 150 sets


def embedding(given: Any) -> AestheticEmbedding:
    """The aesthetic of these pictures, as seen by every CLIP of the Create tab that is here. Its name is their number.

    given: files from the page, or base64 text from the API, where a path would be any file of the server.
    Raises AestheticError where one cannot be read, or where there is no CLIP.
    """
    pictures = [_bytes(each) for each in (given if isinstance(given, (list, tuple)) else [given])]
    if len(pictures) > LIMIT:
        raise AestheticError(f"{len(pictures)} pictures are too many for the accordion. Make an embedding of them.")
    here = [encoder for encoder in creation.ENCODERS if creation.located(encoder)]
    if not here:
        needed = creation.ENCODERS[0]
        raise AestheticError(
            f"To look at pictures, {needed.label} is needed, which is not on this machine yet. Download it "
            f"({needed.gigabytes:.2f} GB) in the tab Create aesthetic embedding, or put it into "
            f"{host.encoder_folder() / needed.name}."
        )
    sources = creation.usable(here)
    key = (*sorted(hashlib.sha256(picture).hexdigest() for picture in pictures), *sources)
    found = _kept.get(key)
    if found is None:
        name = f"{len(pictures)} picture{'s' * (len(pictures) > 1)}"
        made = create_each(pictures, sources, name, on_progress=_tell, device=host.image_device())
        for label, fault in made[0].skipped:
            raise AestheticError(f"{label} cannot be read: {fault}. Take it away.")
        found = merge([each.embedding for each in made], name)
        _kept.put(key, found, 6 * 2**10)
    return found


def _tell(_: str, done: int, total: int) -> None:
    host.tell(f"Aesthetic gradients: {done} of {total} pictures" if done else "Aesthetic gradients: loading CLIP")


def _bytes(given: Any) -> bytes:
    """The page hands gradio 3's temporary file, or gradio 4's NamedString: both have a name, which is the path."""
    path = getattr(given, "name", None)
    try:
        return Path(path).read_bytes() if path else base64.b64decode(str(given).rpartition(",")[2], validate=True)
    except ValueError:
        raise AestheticError("pictures should be a list of pictures, as base64 text.") from None
    except OSError:
        raise AestheticError(f"The uploaded {Path(str(path)).name} is gone. Drop the pictures in again.") from None
