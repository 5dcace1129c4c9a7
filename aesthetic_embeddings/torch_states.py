"""Temporary states of torch, each a `with` block: evaluation mode, no autocast, no inference mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for every submodule, and each one's own mode again afterwards: dropout would record noise."""
    training = [m for m in module.modules() if m.training]
    try:
        module.eval()
        yield
    finally:
        for m in training:
            m.training = True


@contextmanager
def no_autocast_or_inference(device: str) -> Iterator[None]:
    """For our own arithmetic: no autocast, and no inference mode, whose tensors autograd refuses."""
    with torch.inference_mode(False), no_autocast(device):
        yield


def no_autocast(device: str) -> AbstractContextManager[None]:
    return torch.autocast(device, enabled=False) if autocast_dtype(device) else nullcontext()


def autocast_dtype(device: str) -> torch.dtype | None:
    """The dtype that autocast computes in on this kind of device; None where it is off."""
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if device == "cpu":  # torch before 2.4
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
