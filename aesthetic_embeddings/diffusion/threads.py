"""How many threads of the CPU a pipeline runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from ..torch_states import cpu_threads

#: Parameters of a model whose operations are so small that handing them to threads costs more than it saves.
_SMALL = 50_000_000


def threads_for(pipeline: Any) -> AbstractContextManager[None]:
    """A block in which a small pipeline, such as the pocket model, runs on two threads of the CPU at most.

    On a machine that is busy otherwise, more threads wait for one another: a picture took nineteen times as long.
    """
    modules = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    small = sum(p.numel() for module in modules for p in module.parameters()) < _SMALL
    return cpu_threads(2) if small else nullcontext()
