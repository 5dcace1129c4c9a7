"""The neutral embedding: the mean of ordinary pictures, for aesthetics that were made without such pictures.

People make one of any ordinary pictures and call it `neutral` (see `Library.neutral`). For CLIP ViT-L/14 there is one
to download: LAION published the mean feature of its pictures of each rating (LAION-AI/aesthetic-predictor, MIT), and
pictures of rating 5, out of 10, are ordinary.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..errors import FileError
from ..storage import downloads
from ..storage.paths import cache_folder, write_atomically
from .embedding import AestheticEmbedding

_FILE = "LAION-AI/aesthetic-predictor/main/vit_l_14_embeddings/rating5.npy"
_DIM = 768
_BYTES = 128 + 4 * _DIM  # a header of NumPy's, then little-endian fp32


class NeutralEmbedding:
    """LAION's, as something to fetch (see text_encoder/missing_parts.py)."""

    name = "neutral"
    label = "neutral embedding of CLIP ViT-L/14"
    needed_by = "which contrast needs for aesthetics that were made without ordinary pictures"
    size = "3 kB"
    family = "clip-vit-l-14"
    cached = "clip-vit-l-14-laion-rating5.npy"
    endpoint = "https://raw.githubusercontent.com"

    def find(self) -> AestheticEmbedding | None:
        """The embedding; None if it is not on this machine. Raises FileError if its file is damaged."""
        path = cache_folder() / self.cached
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
        return _read(data, path)

    def is_here(self, places: Sequence[Path] = ()) -> bool:
        try:
            return self.find() is not None
        except FileError:
            return False

    def fetch(self, on_progress: Callable[[int, int], object] | None = None, endpoint: str | None = None) -> Path:
        """Download it into our cache folder, and return the file.

        on_progress: called with the bytes done and the bytes in all. endpoint: the address of GitHub's files; by
        default https://raw.githubusercontent.com. Raises FileError, which names the address, if the download fails or
        brings another file.
        """
        url = f"{(endpoint or self.endpoint).rstrip('/')}/{_FILE}"
        data = downloads.fetch_file(f"The {self.label}", url, _BYTES, on_progress)
        _read(data, url)
        path = cache_folder() / self.cached
        write_atomically(path, data)
        return path

    @property
    def how_to_get(self) -> str:
        return (
            f"Fetch it once ({self.size}): in a WebUI in the tab 'Create aesthetic embedding', elsewhere with "
            f"`aesthetic-gradients fetch {self.name}`. On a machine without network: put {_FILE.split('/main/')[1]} of "
            f"https://github.com/LAION-AI/aesthetic-predictor into {cache_folder()}, as {self.cached}."
        )


NEUTRAL = NeutralEmbedding()


def _read(data: bytes, source: object) -> AestheticEmbedding:
    head, numbers = data[: -4 * _DIM], array("f", data[-4 * _DIM :] if len(data) == _BYTES else b"")
    if sys.byteorder == "big":
        numbers.byteswap()
    vector = torch.tensor(numbers.tolist())
    if not head.startswith(b"\x93NUMPY") or b"'<f4'" not in head or not bool(torch.isfinite(vector).all()):
        raise FileError(f"{source} is not the {_BYTES} bytes of LAION's vector. Delete it, and fetch it again.")
    return AestheticEmbedding(
        {NeutralEmbedding.family: vector},
        name=NeutralEmbedding.name,
        encoder="openai/clip-vit-large-patch14",
        notes="mean of LAION's pictures of rating 5 (LAION-AI/aesthetic-predictor, MIT)",
    )
