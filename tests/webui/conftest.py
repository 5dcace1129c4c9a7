"""The fake host in place of a real one. Gradio is real: these tests run in the hosts' environments (../../check.py)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # as in webui.py; gradio would ask the network for its newest version

import aesthetic_embeddings as ae

from . import fake_host, fake_sdnext
from .fake_host import FAMILY, FLAVOURS, WIDTH, Host


@pytest.fixture(scope="session")
def projection(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """A random text projection, in a cache folder of its own."""
    torch.manual_seed(7)
    matrix = torch.randn(WIDTH, WIDTH) / WIDTH**0.5
    folder = tmp_path_factory.mktemp("cache")
    file = folder / "clip-vit-l-14-text-projection.safetensors"
    safetensors.torch.save_file({"text_projection.weight": matrix}, file)
    matrix.folder = folder
    return matrix


@pytest.fixture(params=FLAVOURS)
def flavor(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def host(flavor: str, tmp_path: Path, projection: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with our extension, one aesthetic called "dusk" and a second called "dawn".

    Whatever a test does, the model must be afterwards what it was.
    """
    monkeypatch.setenv("AESTHETIC_CACHE", str(projection.folder))
    for name in [name for name in sys.modules if name.split(".")[0] in ("modules", "backend")]:
        monkeypatch.delitem(sys.modules, name)
    fake_host.forget_extension()
    host = fake_sdnext.Host(tmp_path) if flavor == "sdnext" else Host(flavor, tmp_path)
    for name, module in host.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    embedding("dusk", 1).save(tmp_path / "models/aesthetic_embeddings/dusk.safetensors")
    embedding("dawn", 2).save(tmp_path / "models/aesthetic_embeddings/dawn.safetensors")
    host.add_extension()
    towers = [host.load(name).tower() for name in ("second", "first")]
    before = [snapshot(tower) for tower in towers]
    yield host
    assert [snapshot(tower) for tower in towers] == before
    assert host.faults == []
    fake_host.forget_extension()


@pytest.fixture
def patch(host: Host) -> Iterator[pytest.MonkeyPatch]:
    """Undone before the host is looked at again."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def embedding(name: str, seed: int, family: str = FAMILY) -> ae.AestheticEmbedding:
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
    return ae.AestheticEmbedding(name=name, vectors={family: vector})


def snapshot(model: torch.nn.Module) -> dict[str, Any]:
    """All that a borrower could leave changed: objects, values, flags and hooks."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "objects": {name: id(x) for name, x in tensors.items()},
        "values": {name: float(x.double().sum()) for name, x in tensors.items()},
        "gradients": {name: (x.requires_grad, x.grad is None) for name, x in tensors.items()},
        "modules": {
            name: (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), sorted(vars(m)))
            for name, m in model.named_modules()
        },
    }


@pytest.fixture
def tunings(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one at each tuning."""
    conditioner = host.webui("conditioner")
    tune: Callable[..., Any] = conditioner.personalize_each
    calls: list[Any] = []

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return tune(*args, **kwargs)

    monkeypatch.setattr(conditioner, "personalize_each", counting)
    return calls
