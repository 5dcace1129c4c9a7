"""open_clip's text transformer for tests and benchmarks, where torchvision may be missing."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

from torch import nn


def open_clip_transformer() -> Any:
    """The module `open_clip.transformer`, imported without the package's top level, which needs torchvision."""
    if "open_clip.transformer" in sys.modules:
        return sys.modules["open_clip.transformer"]
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None, "pip install open_clip_torch"
    package = types.ModuleType("open_clip")
    package.__path__ = list(spec.submodule_search_locations or [])
    sys.modules["open_clip"] = package
    needs_stubs = importlib.util.find_spec("torchvision") is None
    stubs = ("torchvision", "torchvision.ops", "torchvision.ops.misc") if needs_stubs else ()
    for name in stubs:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].FrozenBatchNorm2d = nn.BatchNorm2d  # type: ignore[attr-defined]
    try:
        return importlib.import_module("open_clip.transformer")
    finally:
        for name in stubs:  # other packages take them for the real ones
            del sys.modules[name]
