"""CUDA graphs without a card: what `torch.cuda` has for them, as a strict interpreter on the CPU.

As torch's notes on CUDA graphs say:

- What is captured does not run at that time. Here its results are garbage until the first replay, and what it would
  have overwritten stays.
- The host may neither wait for the card during a capture nor send to it. Here that raises, as on a card.
- A replay repeats the operations on the memory that they had. Here each runs again, into the results that the capture
  made. Memory from outside of the capture is not kept alive, and a replay that needs freed memory raises.
- A capture that fails may leave its stream as the current one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from .pretend_device import READS


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: its storage's number, and the view of it."""

    storage: int
    dtype: torch.dtype
    view: tuple[Any, ...]


class Graph(TorchDispatchMode):
    """A CUDA graph. Operations within it as a block are captured."""

    #: Called before each operation that is captured, for tests that let one fail.
    before_capture: Callable[[], None] = staticmethod(lambda: None)
    #: How often any graph was captured, and replayed.
    captures = replays = 0

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, ...]] = []
        self.own: dict[int, Tensor] = {}  # all elements of a storage that the capture made
        self.outside: dict[int, StorageWeakRef] = {}

    # ---- capture

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        type(self).before_capture()
        self._refuse(func, args, kwargs := kwargs or {})
        for x in _tensors((args, kwargs)):
            if (storage := x.untyped_storage())._cdata not in self.own:
                self.outside.setdefault(storage._cdata, StorageWeakRef(storage))
        written = [(x, x.clone()) for x in _tensors(list(_written(func, args, kwargs)))]
        out = func(*args, **kwargs)
        for x, before in written:
            x.copy_(before)
        for x in _tensors(out):
            if (storage := x.untyped_storage())._cdata not in self.own | self.outside:
                self.own[storage._cdata] = torch.empty(0, dtype=x.dtype).set_(storage)
                _garble(self.own[storage._cdata])
        self.operations.append((func, *tree_map(_place, (args, kwargs, out))))
        return out

    @staticmethod
    def _refuse(func: Any, args: Any, kwargs: Any) -> None:
        name = func.overloadpacket.__name__
        of_unknown_size = name == "repeat_interleave" and kwargs.get("output_size") is None
        masks = name.startswith("index") and any(x.dtype == torch.bool for x in _tensors(args))
        if name in READS or masks or of_unknown_size or name == "lift_fresh":  # the last is part of torch.tensor
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({name})")

    # ---- replay

    def replay(self) -> None:
        assert self.operations
        type(self).replays += 1
        for x in self.own.values():
            _garble(x)  # no replay may rely on what an earlier one left
        for func, args, kwargs, out in self.operations:
            found = func(*tree_map(self._there, args), **tree_map(self._there, kwargs))
            for place, x in zip(tree_flatten(out)[0], tree_flatten(found)[0], strict=True):
                if isinstance(place, Place) and place.storage in self.own:
                    self._there(place).copy_(x)

    def _there(self, x: Any) -> Any:
        if not isinstance(x, Place):
            return x
        if x.storage in self.own:
            storage = self.own[x.storage].untyped_storage()
        else:
            storage = torch.UntypedStorage._new_with_weak_ptr(self.outside[x.storage].cdata)
            assert storage is not None, "A graph is replayed on memory that has been freed."
        return torch.empty(0, dtype=x.dtype).set_(storage, *x.view)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_flatten(tree)[0] if isinstance(x, Tensor)]


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[Any]:
    """The arguments that an operation overwrites."""
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield args[i] if i < len(args) else kwargs.get(argument.name)


def _place(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    return Place(x.untyped_storage()._cdata, x.dtype, (x.storage_offset(), x.shape, x.stride()))


def _garble(x: Tensor) -> None:
    x.fill_(math.nan if x.is_floating_point() else 0)  # no other integers: on the CPU an index out of range raises


# ---------------------------------------------------------------- torch.cuda


class Stream:
    current: Stream

    def wait_stream(self, stream: Stream) -> None:
        pass


DEFAULT = Stream.current = Stream()


@contextmanager
def stream(of_block: Stream) -> Iterator[None]:
    before, Stream.current = Stream.current, of_block
    try:
        yield
    finally:
        Stream.current = before


@contextmanager
def capture(graph: Graph, capture_error_mode: str = "global") -> Iterator[None]:
    before, Stream.current = Stream.current, Stream()
    Graph.captures += 1
    with graph:
        yield
    Stream.current = before  # not if the capture fails


def install(patch: pytest.MonkeyPatch) -> None:
    """Put these in place of torch's."""
    names = {
        "CUDAGraph": Graph,
        "Stream": Stream,
        "current_stream": lambda: Stream.current,
        "device": lambda device: nullcontext(),
        "graph": capture,
        "stream": stream,
    }
    for name, value in names.items():
        patch.setattr(torch.cuda, name, value)
    for name in ("captures", "replays", "before_capture"):
        patch.setattr(Graph, name, vars(Graph)[name])  # as they are now, afterwards
    patch.setattr(Stream, "current", DEFAULT)
