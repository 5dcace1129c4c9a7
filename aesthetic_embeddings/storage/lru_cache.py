"""An LRU cache bounded in bytes, and a fingerprint of tensors for its keys."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

import torch
from torch import Tensor

V = TypeVar("V")


class LRUCache(Generic[V]):
    """A cache that keeps the most recently used values, up to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = Lock()  # hosts serve the page and the API from different threads

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = (value, size)
            self._shrink()

    def __len__(self) -> int:
        return len(self._entries)

    def resize(self, limit: int) -> None:
        with self._lock:
            self.limit = limit
            self._shrink()

    def _shrink(self) -> None:
        while sum(size for _, size in self._entries.values()) > self.limit:
            self._entries.popitem(last=False)


def fingerprint(*tensors: Tensor) -> bytes:
    """A hash of the tensors' values, shapes and dtypes. The device does not matter."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()
