from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import aesthetic_embeddings as ae

from ..core.encoders import randomize
from . import fake_comfy


@pytest.fixture
def host(tmp_path: Path) -> Iterator[fake_comfy.Host]:
    with fake_comfy.comfy_at(tmp_path) as host:
        yield host


@pytest.fixture
def nodes(host: fake_comfy.Host) -> Any:
    return importlib.import_module("aesthetic_embeddings.comfy.nodes")


@pytest.fixture
def clip(model: type) -> fake_comfy.Clip:
    torch.manual_seed(1)
    with torch.inference_mode():  # ComfyUI loads its models so
        made = model()
        randomize(made)
    return fake_comfy.Clip(made)


@pytest.fixture
def model() -> type:
    return fake_comfy.Sd1


@pytest.fixture
def e() -> ae.AestheticEmbedding:
    torch.manual_seed(3)
    return ae.AestheticEmbedding({"clip-32x3-32": torch.randn(32), "clip-48x3-48": torch.randn(48)}, name="dusk")
