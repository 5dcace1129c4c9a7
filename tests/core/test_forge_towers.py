"""Text towers as Forge keeps them: stored in fp8 and cast at each call, and with projections that are none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aesthetic_embeddings import Settings, blended
from aesthetic_embeddings.text_encoder.towers import find_tower

from .encoders import WIDTH, CastingLinear, encoder, prompt
from .test_borrowed import assert_as_it_was, lend, snapshot

FP8 = [torch.float8_e4m3fn, torch.float8_e5m2]


class CastingNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, self.normalized_shape, self.weight.to(x), self.bias.to(x), self.eps)


def stored(dtype: torch.dtype) -> tuple[Any, Any]:
    """An encoder whose layers are stored in `dtype`, as by --clip-in-fp8-e4m3fn, and one in fp32 with their values."""
    enc, same = encoder("casting", torch.float32), encoder("casting", torch.float32)
    for module, other in zip(enc.model.modules(), same.model.modules(), strict=True):
        if isinstance(module, (CastingLinear, nn.LayerNorm)):
            if isinstance(module, nn.LayerNorm):
                module.__class__ = CastingNorm
            for name, p in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(p.detach().to(dtype), requires_grad=False))
                getattr(other, name).data.copy_(getattr(module, name).to(torch.float32))
    return enc, same


@pytest.mark.parametrize("dtype", FP8)
@pytest.mark.parametrize("update", ["adam", "normalized", "gradient"])
def test_fp8_is_tuned_from_what_is_stored(dtype, update):
    enc, same = stored(dtype)
    settings, ids = Settings(steps=3, epsilon=1e-3, update=update), prompt(8, 3)
    with torch.no_grad():
        plain = enc.run(enc.model, ids)[0]
        before = snapshot_in_fp32(enc.model)
        with lend(enc, settings) as run:
            tuned = enc.run(enc.model, ids)[0]
        with lend(same, settings) as expected:
            want = same.run(same.model, ids)[0]
        assert snapshot_in_fp32(enc.model) == before
        assert torch.equal(enc.run(enc.model, ids)[0], plain)
    assert (tuned - want).norm() <= 1e-5 * (want - plain).norm()
    assert run.similarities == pytest.approx(expected.similarities, abs=1e-6)


def snapshot_in_fp32(model: nn.Module) -> list[Any]:
    return [(name, id(p), p.dtype, p.float().flatten().tolist()) for name, p in model.named_parameters()]


def test_a_projection_that_a_file_did_not_hold():
    """Forge's Linear then has no weight; ComfyUI's has an identity, which it saves with the model."""
    enc = encoder("text")
    projection = nn.Linear(WIDTH, WIDTH, bias=False)
    enc.model.text_projection = projection
    assert find_tower(enc.model).projection is projection.weight
    projection.weight = nn.Parameter(torch.eye(WIDTH))
    assert find_tower(enc.model).projection is None
    projection.weight = None
    assert find_tower(enc.model).projection is None


def test_a_projection_beside_the_encoder():
    """reForge and Forge Classic keep a parameter `[width, dim]`, which is an identity where the file holds none."""
    enc = encoder("text")
    holder = nn.Module()
    holder.transformer = enc.model
    holder.text_projection = nn.Parameter(torch.eye(WIDTH))
    assert find_tower(holder).projection is None
    holder.text_projection.data.copy_(torch.randn(WIDTH, WIDTH))
    found = find_tower(holder).projection
    assert found is not None
    assert torch.equal(found, holder.text_projection.T)


@pytest.mark.parametrize("shape", [(), (6,), (5, 6)])
def test_rows_that_tuning_did_not_move_are_blended_as_they_are(shape):
    """T5's rows in SD3, which are zero where it is off, and so have no direction; Flux's guidance, a number."""
    plain, tuned = torch.randn(shape), torch.randn(shape)
    if len(shape) == 2:
        plain[3:] = tuned[3:] = 0
    else:
        tuned = plain
    mixed = blended(plain, tuned, Settings(weight=0.5, blend="slerp"))
    assert torch.equal(mixed[3:] if len(shape) == 2 else mixed, plain[3:] if len(shape) == 2 else plain)
    assert bool(torch.isfinite(mixed).all())


def test_a_host_that_swaps_weights():
    """Low memory: Forge can give a module a class of its own, which moves each parameter as it is read."""

    class Swapping(CastingLinear):
        def __getattr__(self, name: str) -> Any:
            if name in self.__dict__.get("_parameters", {}):
                p = self._parameters[name]
                return p if p is None else nn.Parameter(p.to("cpu", copy=True), requires_grad=p.requires_grad)
            return super().__getattr__(name)

    enc, same = encoder("casting", torch.float32), encoder("casting", torch.float32)
    for module in enc.model.modules():
        if isinstance(module, CastingLinear):
            module.__class__ = Swapping
    ids = prompt(8, 3)
    plain = enc.run(enc.model, ids)[0].detach()
    before = snapshot(enc.model)
    with lend(enc), lend(same):
        assert torch.equal(enc.run(enc.model, ids)[0], same.run(same.model, ids)[0])
    assert_as_it_was(before, enc.model)
    assert torch.equal(enc.run(enc.model, ids)[0], plain)
