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
    """Key -> value: the last used ones, `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = Lock()  # hosts answer the page and the API from different threads

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (value, size)
            self._shrink()

    def __len__(self) -> int:
        return len(self._kept)

    def resize(self, limit: int) -> None:
        with self._lock:
            self.limit = limit
            self._shrink()

    def _shrink(self) -> None:
        while sum(size for _, size in self._kept.values()) > self.limit:
            self._kept.popitem(last=False)


def fingerprint(*tensors: Tensor) -> bytes:
    """Equal for tensors of equal values, shapes and dtypes, wherever they live."""
    sha = hashlib.sha256()
    for x in tensors:
        sha.update(f"{x.dtype}{tuple(x.shape)}".encode())
        sha.update(x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.digest()
