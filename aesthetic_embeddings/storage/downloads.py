"""Downloads a few tensors of a file on the Hugging Face hub, by byte range: a few MB of a file of GB."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import FileError
from .paths import cache_folder

FILE = "model.safetensors"
_HEADER_LIMIT = 4 * 2**20  # CLIP's header has 0.1 MB
_CHUNK = 2**16


def fetch_tensors(
    what: str,
    repository: str,
    shapes: Mapping[str, Sequence[int]],
    on_progress: Callable[[int, int], object] | None = None,
    endpoint: str | None = None,
) -> bytes:
    """Download the tensors named in `shapes` from the repository's `model.safetensors`.

    Returns a safetensors file with only these, in memory.
    what: their description, which starts an error message. shapes: their expected shapes; all are fp32.
    on_progress: called with the bytes done and their total. Raise `Interrupted` from it to stop.
    endpoint: the hub's address; by default that in HF_ENDPOINT, else https://huggingface.co. Proxies are taken from the
        environment.

    Raises FileError, with the address, if the hub does not answer, or does not have these tensors.
    """
    url = address(repository, endpoint)
    sizes = {name: 4 * math.prod(shape) for name, shape in shapes.items()}
    done, total = 0, sum(sizes.values())
    header: dict[str, dict[str, object]] = {}
    parts = []

    def report_bytes(arrived: int) -> None:
        if on_progress:
            on_progress(done + arrived, total)

    try:
        length = int.from_bytes(_fetch_range(url, 0, 8), "little")
        if not 2 <= length <= _HEADER_LIMIT:
            raise ValueError("it is not a safetensors file")
        tensors = json.loads(_fetch_range(url, 8, length))
        for name, size in sizes.items():
            start, end = tensors[name]["data_offsets"]
            if (tensors[name]["dtype"], tensors[name]["shape"], end - start) != ("F32", list(shapes[name]), size):
                raise ValueError(f"its {name} has another size or dtype")
            parts.append(_fetch_range(url, 8 + length + start, size, report_bytes))
            header[name] = tensors[name] | {"data_offsets": [done, done + size]}
            done += size
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(
            f"{what} could not be fetched from {url}: {error}. Check the network and try again, or put the file into "
            f"{cache_folder()} yourself."
        ) from error
    new_header = json.dumps(header).encode()
    return b"".join([len(new_header).to_bytes(8, "little"), new_header, *parts])


def fetch_file(what: str, url: str, size: int, on_progress: Callable[[int, int], object] | None = None) -> bytes:
    """Download a small file of exactly `size` bytes. what, on_progress: as in `fetch_tensors`.

    Raises FileError, with the address, if the download fails, or the file has another size.
    """
    try:
        received = bytearray()
        with urllib.request.urlopen(url, timeout=30, context=_certificates()) as response:
            while len(received) <= size and (chunk := response.read(min(_CHUNK, size + 1 - len(received)))):
                received += chunk
                if on_progress:
                    on_progress(min(len(received), size), size)
        if len(received) != size:
            raise ValueError(f"it should have {size} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FileError(
            f"{what} could not be fetched from {url}: {error}. Check the network and try again, or put the file into "
            f"{cache_folder()} yourself."
        ) from error
    return bytes(received)


def address(repository: str, endpoint: str | None = None) -> str:
    endpoint = endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{endpoint.rstrip('/')}/{repository}/resolve/main/{FILE}"


def in_cache(repository: str) -> Path | None:
    """The repository's `model.safetensors` in the hub's cache, or None."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    path = try_to_load_from_cache(repository, FILE)
    return Path(path) if isinstance(path, str) else None


def _fetch_range(url: str, start: int, length: int, on_progress: Callable[[int], object] | None = None) -> bytes:
    """Download `length` bytes of the file at `url`, from `start` on. Never reads more, whatever the server sends."""
    if start < 0 or length <= 0:
        raise ValueError("its header makes no sense")
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{start + length - 1}"})
    received = bytearray()
    with urllib.request.urlopen(request, timeout=30, context=_certificates()) as response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise ValueError("the server sends whole files only, which would be GB")
        while len(received) < length:
            chunk = response.read(min(_CHUNK, length - len(received)))
            if not chunk:
                raise ValueError(f"the connection ended after {len(received)} of {length} bytes")
            received += chunk
            if on_progress:
                on_progress(len(received))
    return bytes(received)


def _certificates() -> ssl.SSLContext:
    """The system's certificates, and certifi's if it is installed, since some Pythons on macOS have no others."""
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError, OSError):
        import certifi

        context.load_verify_locations(certifi.where())
    return context
