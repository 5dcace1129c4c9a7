"""open_clip's text transformer for tests and benchmarks, where torchvision may be missing."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

from torch import nn


def open_clip_transformer() -> Any:
    """The module `open_clip.transformer`, imported without the package's top level, which needs torchvision."""
    if "open_clip" not in sys.modules:
        spec = importlib.util.find_spec("open_clip")
        assert spec is not None, "pip install open_clip_torch"
        package = types.ModuleType("open_clip")
        package.__path__ = list(spec.submodule_search_locations or [])
        sys.modules["open_clip"] = package
        if importlib.util.find_spec("torchvision") is None:
            for name in ("torchvision", "torchvision.ops", "torchvision.ops.misc"):
                sys.modules[name] = types.ModuleType(name)
            sys.modules["torchvision.ops.misc"].FrozenBatchNorm2d = nn.BatchNorm2d  # type: ignore[attr-defined]
    return importlib.import_module("open_clip.transformer")
