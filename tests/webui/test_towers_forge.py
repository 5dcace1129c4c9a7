"""Forge's other families, and what it does to text encoders: conditioning in parts, LoRAs at each call, fp8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fake_host import WIDTH, CastingLinear, CastingNorm, Host, half
from .outside import close, cond, outside

WANTED = {"embedding": "dusk", "steps": 2}
SLERP = WANTED | {"weight": 0.5, "blend": "slerp"}
T5 = torch.randn(9, 2 * WIDTH, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def flavor() -> str:
    return "forge"


def parts(host: Host, make: Callable[[Tensor, int], dict[str, Tensor]], patch: pytest.MonkeyPatch) -> None:
    """From now on the model's conditioning has parts: `make` gets CLIP's hidden states and the number of texts."""
    encode = host.model.engine
    made = torch.inference_mode()(lambda texts: make(encode(texts), len(texts)))
    patch.setattr(host.model, "get_learned_conditioning", made)


def pooled(hidden: Tensor) -> Tensor:
    return hidden[:, 2]  # of "a castle" the end of text, or at least tuned as that is


def flux(hidden: Tensor, n: int) -> dict[str, Tensor]:
    """backend/diffusion_engine/flux.py: of CLIP only the pooled feature; with the distilled guidance, one number."""
    guidance = torch.FloatTensor([3.5] * n)
    return {"crossattn": T5.expand(n, -1, -1), "vector": pooled(hidden), "guidance": guidance}


def sd3(hidden: Tensor, n: int, t5: Tensor = T5) -> dict[str, Tensor]:
    """backend/diffusion_engine/sd35.py: CLIP's rows filled up with zeros, then T5's."""
    rows = torch.cat([F.pad(hidden, (0, WIDTH)), t5.expand(n, -1, -1)], 1)
    return {"crossattn": rows, "vector": pooled(hidden)}


def without_t5(hidden: Tensor, n: int) -> dict[str, Tensor]:
    """The same with opts.sd3_enable_t5 off."""
    return sd3(hidden, n, torch.zeros_like(T5))


@pytest.mark.parametrize("chosen", [WANTED, SLERP])
def test_flux(host: Host, patch: pytest.MonkeyPatch, chosen: dict[str, Any]):
    parts(host, flux, patch)
    before, got = (cond(host.generate(host.job("a castle", **some))[0]) for some in ({}, chosen))
    assert torch.equal(got["crossattn"], T5)
    assert torch.equal(got["guidance"], before["guidance"])
    tuned = outside(host, "a castle", steps=2)[2]
    want = torch.lerp(before["vector"], tuned, chosen.get("weight", 1.0))
    assert close(got["vector"], want, before["vector"])


@pytest.mark.parametrize("make", [sd3, without_t5])
@pytest.mark.parametrize("chosen", [WANTED, SLERP])
def test_sd3(host: Host, patch: pytest.MonkeyPatch, make: Any, chosen: dict[str, Any]):
    parts(host, make, patch)
    before = cond(host.generate(host.job("a castle"))[0])["crossattn"]
    p = host.job("a castle", **chosen)
    got = cond(host.generate(p)[0])["crossattn"]
    assert torch.equal(got[77:], before[77:])
    assert torch.equal(got[:77, WIDTH:], before[:77, WIDTH:])
    if chosen is WANTED:
        assert close(got[:77, :WIDTH], outside(host, "a castle", steps=2), before[:77, :WIDTH])
    assert not torch.equal(got[:77], before[:77])
    assert "tuned in" in " ".join(p.comments)


def test_a_lora_at_each_call_is_refused(host: Host, patch: pytest.MonkeyPatch):
    """backend/operations.py, get_weight_and_bias: `forge_online_loras` are added to the weight at each call."""

    def forward(self: CastingLinear, x: Tensor) -> Tensor:
        weight = self.weight.to(x)
        if hasattr(self, "forge_online_loras"):
            weight = weight + self.forge_online_loras
        return F.linear(x, weight, self.bias.to(x))

    patch.setattr(CastingLinear, "forward", forward)
    layer = host.model.tower().text_model.encoder.layers[0].mlp.fc1
    lora = torch.randn(WIDTH, 4) @ torch.randn(4, WIDTH) * 0.02
    patch.setattr(layer, "forge_online_loras", lora, raising=False)
    before = cond(host.generate(host.job("a castle"))[0])
    p = host.job("a castle", **WANTED)
    assert torch.equal(cond(host.generate(p)[0]), before)
    assert "does not compute what its weights say" in " ".join(p.comments)
    assert layer.forge_online_loras is lora


def store(host: Host, patch: pytest.MonkeyPatch, change: Callable[[Tensor], Tensor], kinds: Any) -> None:
    for module in host.model.tower().modules():
        if isinstance(module, kinds) and module.weight is not None:
            for name, p in list(module.named_parameters(recurse=False)):
                changed = nn.Parameter(change(p.detach()), requires_grad=False)
                patch.setitem(module._parameters, name, changed)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_stored_in_fp8(host: Host, patch: pytest.MonkeyPatch, dtype: torch.dtype):
    """--clip-in-fp8-e4m3fn (backend/memory_management.py, text_encoder_dtype): norms too; tables are cast to fp32."""
    with torch.inference_mode():
        store(host, patch, lambda x: x.to(dtype), (CastingLinear, CastingNorm))
    before = cond(host.generate(host.job("a castle"))[0])
    p = host.job("a castle", **WANTED)
    in_fp8 = cond(host.generate(p)[0])
    assert "tuned in" in " ".join(p.comments)
    with torch.inference_mode():
        store(host, patch, lambda x: half(x.float()).detach(), (CastingLinear, CastingNorm))
    in_fp16 = cond(host.generate(host.job("a castle", **WANTED | {"steps": 2}, more={"width": 640}))[0])
    assert (in_fp8 - in_fp16).norm() <= 1e-2 * (in_fp16 - before).norm()  # which rounds what is tuned to fp16


def test_weights_that_cannot_be_read_are_reported(host: Host, patch: pytest.MonkeyPatch):
    """A final norm kept as bytes is met in the middle of the host's own call, which must go on."""
    host.generate(host.job("a castle"))
    store(host, patch, lambda x: (x * 0 + 1).to(torch.uint8), (CastingLinear, CastingNorm))
    p = host.job("a ship", **WANTED)
    before = cond(host.generate(host.job("a ship"))[0])
    assert torch.equal(cond(host.generate(p)[0]), before)
    (said,) = [text for text in p.comments if "Aesthetic gradients" in text]
    assert "quantized" in said
