"""A few tensors of a file on the Hugging Face hub, by byte range: what is missing are MB of files of GB."""

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
_HEADER_LIMIT = 4 * 2**20  # CLIP's is 0.1 MB
_CHUNK = 2**16


def fetch_tensors(
    what: str,
    repository: str,
    shapes: Mapping[str, Sequence[int]],
    on_progress: Callable[[int, int], object] | None = None,
    endpoint: str | None = None,
) -> bytes:
    """A safetensors file, in memory, of the tensors named in `shapes`, from the repository's `model.safetensors`.

    what: what they are, to begin an error message with. shapes: those that they should have; all are fp32.
    on_progress: called with bytes done and bytes in all; raise `Interrupted` from it to stop.
    endpoint: the hub's address; by default that in HF_ENDPOINT, else https://huggingface.co. Proxies are used as the
        environment says.

    Raises FileError, which names the address, where the hub does not answer, or not with these tensors.
    """
    url = address(repository, endpoint)
    sizes = {name: 4 * math.prod(shape) for name, shape in shapes.items()}
    done, total = 0, sum(sizes.values())
    header: dict[str, dict[str, object]] = {}
    parts = []

    def progressed(arrived: int) -> None:
        if on_progress:
            on_progress(done + arrived, total)

    try:
        length = int.from_bytes(_fetch(url, 0, 8), "little")
        if not 2 <= length <= _HEADER_LIMIT:
            raise ValueError("it is no safetensors")
        about = json.loads(_fetch(url, 8, length))
        for name, size in sizes.items():
            begin, end = about[name]["data_offsets"]
            if (about[name]["dtype"], about[name]["shape"], end - begin) != ("F32", list(shapes[name]), size):
                raise ValueError(f"its {name} has another size or dtype")
            parts.append(_fetch(url, 8 + length + begin, size, progressed))
            header[name] = about[name] | {"data_offsets": [done, done + size]}
            done += size
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(
            f"{what} could not be fetched from {url}: {error}. Check the network and try again, or put the file into "
            f"{cache_folder()} yourself."
        ) from error
    head = json.dumps(header).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *parts])


def fetch_file(what: str, url: str, size: int, on_progress: Callable[[int, int], object] | None = None) -> bytes:
    """A small file of exactly `size` bytes. what, on_progress: as in `fetch_tensors`.

    Raises FileError, which names the address, where it cannot be had, or has another size.
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
    """The repository's `model.safetensors`, where somebody has downloaded the whole of it."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(repository, FILE)
    return Path(found) if isinstance(found, str) else None


def _fetch(url: str, start: int, length: int, on_progress: Callable[[int], object] | None = None) -> bytes:
    """`length` bytes of the file at `url`, from `start` on, and never more, whatever the server would send."""
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
    """The system's certificates, and certifi's where it is installed: some Pythons on macOS know of no others."""
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError, OSError):
        import certifi

        context.load_verify_locations(certifi.where())
    return context
