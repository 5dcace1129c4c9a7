"""Text towers as AUTOMATIC1111 keeps them where its option stores them in fp8."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from aesthetic_embeddings import Settings

from .encoders import encoder, prompt
from .test_borrowed import lend
from .test_forge_towers import snapshot_in_fp32


class CastForItsCall(nn.Linear):
    """modules/devices.py, manual_cast: the whole module is cast, and then back to the dtype of its first parameter."""

    def forward(self, x: Tensor) -> Tensor:
        stored = self.weight.dtype
        self.to(torch.bfloat16)
        out = super().forward(x.to(torch.bfloat16))
        self.to(stored)
        return out.float()


@pytest.mark.parametrize("update", ["adam", "normalized", "gradient"])
def test_modules_that_cast_themselves(update):
    enc = encoder("text", torch.float32)
    for module in enc.model.modules():
        if type(module) is nn.Linear:
            module.to(torch.float8_e4m3fn)
            module.__class__ = CastForItsCall
    settings, ids = Settings(steps=3, epsilon=1e-3, update=update), prompt(8, 3)
    with torch.no_grad():
        plain, before = enc.run(enc.model, ids)[0], snapshot_in_fp32(enc.model)
        with torch.autocast("cpu", dtype=torch.bfloat16), lend(enc, settings):
            tuned = enc.run(enc.model, ids)[0]
        assert snapshot_in_fp32(enc.model) == before
        assert torch.equal(enc.run(enc.model, ids)[0], plain)
    assert not torch.equal(tuned, plain)
