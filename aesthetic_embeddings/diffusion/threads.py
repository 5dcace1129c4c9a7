"""Limits the CPU threads of small pipelines."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from ..torch_states import cpu_threads

#: Parameters of a pipeline whose operations are so small that more threads cost more than they save.
_SMALL = 50_000_000


def limited_threads(pipeline: Any) -> AbstractContextManager[None]:
    """A context in which a small pipeline, such as the pocket model, runs on at most two CPU threads.

    On a busy machine more threads wait for each other: a picture took nineteen times as long.
    """
    modules = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    small = sum(parameter.numel() for module in modules for parameter in module.parameters()) < _SMALL
    return cpu_threads(2) if small else nullcontext()
