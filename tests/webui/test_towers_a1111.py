"""What AUTOMATIC1111 does to text encoders: two of them in SDXL, one in its refiner, LoRAs, moves between devices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

import aesthetic_embeddings as ae

from .conftest import embedding
from .fake_host import Engine, Host, tokenizer
from .outside import close, cond, outside, twin, uncond

WANTED = {"embedding": "dusk", "steps": 2}
SMALL, DIM = 64, 32
SECOND = f"clip-{SMALL}x2-{DIM}"


@pytest.fixture
def flavor() -> str:
    return "a1111"


# ---------------------------------------------------------------- SDXL


def second_encoder(host: Host) -> Engine:
    """SDXL's other text encoder, which has a projection of its own."""
    torch.manual_seed(4)
    sizes = {"hidden_size": SMALL, "intermediate_size": SMALL, "num_hidden_layers": 2, "num_attention_heads": 2}
    engine = Engine(host, CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer()), eos_token_id=2, **sizes)).eval())
    engine.wrapped.text_projection = nn.Linear(SMALL, DIM, bias=False)
    return engine


class Conditioner(nn.Module):
    """sgm's GeneralConditioner, called by modules/sd_models_xl.py, get_learned_conditioning: the encoders side by side,
    the last one's pooled feature with the picture's size; an empty negative prompt is encoded and then made zero."""

    def __init__(self, *engines: Engine) -> None:
        super().__init__()
        self.embedders = nn.ModuleList([*engines, nn.Identity()])  # of the picture's size: without `wrapped`

    def forward(self, texts: Any) -> dict[str, Tensor]:
        each = [engine(texts) for engine in self.embedders[:-1]]
        size = torch.tensor([[512.0, 640.0]]).expand(len(texts), 2)
        zero = texts.is_negative_prompt and all(text == "" for text in texts)
        crossattn, pooled = torch.cat(each, -1), each[-1][:, 2]
        if zero:
            crossattn, pooled = torch.zeros_like(crossattn), torch.zeros_like(pooled)
        return {"crossattn": crossattn, "vector": torch.cat([pooled, size], 1)}


def become(host: Host, patch: pytest.MonkeyPatch, *engines: Engine) -> None:
    patch.setattr(host.model, "conditioner", Conditioner(*engines), raising=False)
    patch.setattr(host.model, "get_learned_conditioning", host.model.conditioner)


@pytest.fixture
def sdxl(host: Host, patch: pytest.MonkeyPatch) -> Engine:
    """The model is SDXL's from now on; its second encoder. "both" has a vector for each, "dusk" one for the first."""
    vector = torch.randn(DIM, generator=torch.Generator().manual_seed(6))
    both = ae.AestheticEmbedding(name="both", vectors={**embedding("dusk", 1).vectors, SECOND: vector})
    both.save(host.root / "models/aesthetic_embeddings/both.safetensors")
    second = second_encoder(host)
    become(host, patch, host.model.engine, second)
    return second


def of_second(host: Host, second: Engine, steps: int, text: str = "a castle") -> Tensor:
    ids = torch.tensor([chunk.ids for chunk in second.chunks(text)])
    e, run = host.webui("host").library.get("both"), second.wrapped.transformer
    with torch.no_grad(), ae.personalized(second.wrapped, ids, e, ae.Settings(steps=steps), encode=run):
        return second([text])[0]


def test_both_encoders_of_sdxl(host: Host, sdxl: Engine):
    before = cond(host.generate(host.job("a castle"))[0])
    p = host.job("a castle", embedding="both", steps=2)
    got = cond(host.generate(p)[0])
    first, second = got["crossattn"][:, :-SMALL], got["crossattn"][:, -SMALL:]
    want = of_second(host, sdxl, 2)
    assert close(first, outside(host, "a castle", steps=2), before["crossattn"][:, :-SMALL])
    assert close(second, want, before["crossattn"][:, -SMALL:])
    assert close(got["vector"][:SMALL], want[2], before["vector"][:SMALL])
    assert torch.equal(got["vector"][SMALL:], before["vector"][SMALL:])
    assert next(iter(p.comments)).count("→") == 2


def test_an_encoder_without_a_vector_is_left_alone(host: Host, sdxl: Engine):
    before = cond(host.generate(host.job("a castle"))[0])
    p = host.job("a castle", **WANTED)
    got = cond(host.generate(p)[0])
    assert close(got["crossattn"][:, :-SMALL], outside(host, "a castle", steps=2), before["crossattn"][:, :-SMALL])
    assert torch.equal(got["crossattn"][:, -SMALL:], before["crossattn"][:, -SMALL:])
    assert torch.equal(got["vector"], before["vector"])
    assert f"{SMALL} wide stays plain" in " ".join(p.comments)


def test_the_empty_negative_prompt_stays_zero(host: Host, sdxl: Engine):
    (picture,) = host.generate(host.job("a castle", "", embedding="both", negative="both", steps=2))
    assert not uncond(picture)["crossattn"].any()


def test_the_refiner_has_one_encoder(host: Host, sdxl: Engine, patch: pytest.MonkeyPatch):
    become(host, patch, sdxl)
    before = cond(host.generate(host.job("a castle"))[0])
    got = cond(host.generate(host.job("a castle", embedding="both", steps=2))[0])
    assert close(got["crossattn"], of_second(host, sdxl, 2), before["crossattn"])
    p = host.job("a castle", **WANTED)
    assert torch.equal(cond(host.generate(p)[0])["crossattn"], before["crossattn"])
    (comment,) = p.comments
    assert f"this model's text encoder is {SECOND}" in comment


# ---------------------------------------------------------------- LoRA


def lora(weight: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    down = torch.randn(4, weight.shape[1], generator=generator) * weight.shape[1] ** -0.5
    return torch.randn(weight.shape[0], 4, generator=generator) * 0.1 @ down


def test_a_lora_at_call_time_is_refused(host: Host, patch: pytest.MonkeyPatch):
    """extensions-builtin/Lora/networks.py, network_forward: the option lora_functional, which leaves the weights."""
    (layer, *_) = host.model.tower().text_model.encoder.layers
    forward = layer.mlp.fc1.forward
    patch.setattr(layer.mlp.fc1, "forward", lambda x: forward(x) + x @ lora(layer.mlp.fc1.weight).T, raising=False)
    before = cond(host.generate(host.job("a castle"))[0])
    p = host.job("a castle", **WANTED)
    assert torch.equal(cond(host.generate(p)[0]), before)
    (comment,) = p.comments
    assert "does not compute what its weights say" in comment


def test_a_lora_that_the_first_call_merges(host: Host, patch: pytest.MonkeyPatch):
    """networks.py, network_apply_weights: each layer's forward edits its weight in place, once after a change of LoRAs,
    and puts its backup back once they are off. So the weights are read after the host has encoded."""
    wanted, layers = [True], host.model.tower().text_model.encoder.layers
    twins = twin(host.flavor, 1).text_model.encoder.layers
    merges = []
    for layer in layers:
        linear, note = layer.mlp.fc1, {"on": False, "backup": None}
        forward = type(linear).forward

        @torch.no_grad()
        def apply(x: Tensor, linear: Any = linear, note: Any = note, forward: Any = forward) -> Tensor:
            if note["on"] != wanted[0]:
                note["backup"] = linear.weight.clone() if wanted[0] else note["backup"]
                linear.weight.copy_(note["backup"] + wanted[0] * lora(linear.weight))
                note["on"] = wanted[0]
                merges.append(linear)
            return forward(linear, x)

        patch.setattr(linear, "forward", apply, raising=False)
    (picture,) = host.generate(host.job("a castle", **WANTED))
    assert merges == [layer.mlp.fc1 for layer in layers]
    before = cond(host.generate(host.job("a castle"))[0])
    with torch.no_grad():
        backups = [layer.mlp.fc1.weight.clone() for layer in twins]
        for layer in twins:
            layer.mlp.fc1.weight += lora(layer.mlp.fc1.weight)
        want = outside(host, "a castle", steps=2)
        for layer, backup in zip(twins, backups, strict=True):
            layer.mlp.fc1.weight.copy_(backup)
    assert close(cond(picture), want, before)
    wanted[0] = False
    host.generate(host.job("a ship"))
    assert len(merges) == 2 * len(layers)
    assert close(cond(host.generate(host.job("a castle", **WANTED))[0]), outside(host, "a castle", steps=2), before)


# ---------------------------------------------------------------- memory


def test_a_hook_that_brings_the_encoder(host: Host):
    """modules/lowvram.py, setup_for_low_vram: it is moved before each call, so its tensors lie elsewhere."""
    moves = []

    def send(module: nn.Module, _: Any) -> None:
        moves.append(module)
        for parameter in module.parameters():
            parameter.data = parameter.data.clone()

    before = cond(host.generate(host.job("a castle"))[0])
    handle = host.model.tower().register_forward_pre_hook(send)
    (picture,) = host.generate(host.job("a castle", **WANTED))
    handle.remove()
    assert len(moves) >= 2
    assert close(cond(picture), outside(host, "a castle", steps=2), before)
