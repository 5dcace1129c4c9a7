"""Temporary states of torch as `with` blocks. An exception at any point, Ctrl-C included, ends them properly.

torch's own blocks are not left if Ctrl-C comes right after they are entered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def restored(restore: Callable[[], object]) -> Iterator[None]:
    """A block after which `restore` runs twice, since an interrupt may stop the first run half-way."""
    try:
        try:
            yield
        finally:
            restore()
    finally:
        restore()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for every submodule, since dropout adds noise. Afterwards each has its own mode again."""
    training = [m for m in module.modules() if m.training]

    def restore() -> None:
        for m in training:
            m.training = True

    with restored(restore):
        module.eval()
        yield


@contextmanager
def no_autocast_or_inference(device: str) -> Iterator[None]:
    """Neither autocast nor inference mode, for our own arithmetic: autograd refuses inference tensors."""
    with no_inference(), no_autocast(device):
        yield


@contextmanager
def no_inference() -> Iterator[None]:
    """No inference mode: tensors that are made in the block are ordinary ones."""
    before, guard = torch.is_inference_mode_enabled(), torch.inference_mode(False)

    def restore() -> None:
        if torch.is_inference_mode_enabled() != before:
            guard.__exit__(None, None, None)

    with restored(restore):
        if before:
            guard.__enter__()
        yield


@contextmanager
def gradients(enabled: bool) -> Iterator[None]:
    """Gradients enabled or disabled, as by torch.set_grad_enabled."""
    before = torch.is_grad_enabled()
    with restored(lambda: torch.set_grad_enabled(before)):
        torch.set_grad_enabled(enabled)
        yield


@contextmanager
def no_autocast(device: str) -> Iterator[None]:
    """No autocast on this kind of device."""
    before = autocast_dtype(device) is not None
    with restored(lambda: _set_autocast(device, before)):
        if before:
            _set_autocast(device, False)
        yield


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """At most `count` threads for operations on the CPU. Blocks in different threads may overlap."""
    block, before = object(), [*_running.values(), torch.get_num_threads()][0]

    def restore() -> None:
        torch.set_num_threads(before)
        _running.pop(block, None)

    with restored(restore):
        _running[block] = before
        torch.set_num_threads(min(count, before))
        yield


#: The `cpu_threads` blocks that are active, each with the number of threads before the first of them.
_running: dict[object, int] = {}


def autocast_dtype(device: str) -> torch.dtype | None:
    """The dtype of autocast on this kind of device; None if it is off."""
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if device == "cpu":  # torch before 2.4
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def _set_autocast(device: str, enabled: bool) -> None:
    if hasattr(torch, "get_autocast_dtype"):
        if enabled != torch.is_autocast_enabled(device):
            torch.set_autocast_enabled(device, enabled)
    elif device == "cpu":  # torch before 2.4
        torch.set_autocast_cpu_enabled(enabled)
    else:
        torch.set_autocast_enabled(enabled)
