"""On an accelerator, as far as that shows without one: on a pretend device, which counts what it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection

import aesthetic_embeddings as ae
from aesthetic_embeddings import Settings, personalized, pocket
from aesthetic_embeddings.errors import out_of_memory
from aesthetic_embeddings.text_encoder import tune as tuning
from aesthetic_embeddings.text_encoder import update_rules
from aesthetic_embeddings.text_encoder.all_at_once import AllAtOnce
from aesthetic_embeddings.text_encoder.matrix_by_matrix import MatrixByMatrix

from .. import pretend_device
from .encoders import DIM, EOS, KINDS, TEXT, Encoder, encoder, prompt
from .test_borrowed import assert_as_it_was, snapshot

RULES = [("adam", 1e-3), ("normalized", 1e-3), ("gradient", 1e-1)]
VARIANTS: list[dict[str, Any]] = [
    *({"update": update, "epsilon": epsilon} for update, epsilon in RULES),
    {"last_layers": 2},
    {"preservation": 0.5},
]
E = torch.linspace(-1, 1, DIM)

accelerated = pytest.mark.skipif(not pretend_device.AVAILABLE, reason="this torch takes no backends in Python")


def hidden(enc: Any, ids: Tensor, settings: Settings, **more: Any) -> Tensor:
    def encode(ids: Tensor) -> Any:
        return enc.run(enc.model, ids)

    with torch.no_grad(), personalized(enc.model, ids, E, settings, enc.projection, encode=encode, **more):
        return encode(ids)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changed", VARIANTS, ids=str)
def test_all_at_once_equals_matrix_by_matrix(kind: Any, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """To rounding: fp64 tells them apart from two methods that are only alike."""
    enc, found = encoder(kind, torch.float64), []
    for way in (AllAtOnce, MatrixByMatrix):
        monkeypatch.setattr(tuning, "_moving_weights", way)
        found.append(hidden(enc, prompt(8, 3), Settings(steps=3, **changed)))
    assert torch.allclose(*found, rtol=0, atol=1e-7)


# ---------------------------------------------------------------- on the pretend device


def tower(layers: int) -> CLIPTextModelWithProjection:
    torch.manual_seed(1)
    config = CLIPTextConfig(**{**TEXT, "num_hidden_layers": layers}, eos_token_id=EOS)
    return CLIPTextModelWithProjection(config).eval()


@pytest.fixture
def device() -> Any:
    with pretend_device.Device() as device:
        yield device


def moved(enc: Any, device: str = "pretend:0") -> Any:
    enc.model.requires_grad_(False).to(device)
    return enc


@accelerated
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changed", VARIANTS, ids=str)
def test_a_device_computes_what_the_cpu_computes(kind: Any, changed: dict[str, Any], device: Any):
    settings, ids = Settings(steps=3, **changed), prompt(8, 3)
    want, plain = (hidden(encoder(kind, torch.float32), ids, s) for s in (settings, Settings(steps=0)))
    enc = moved(encoder(kind, torch.float32))
    before = snapshot_after_first_run(enc, ids.to("pretend:0"))
    found = hidden(enc, ids.to("pretend:0"), settings)
    assert found.device.type == "pretend"
    assert (found.cpu() - want).norm() < 1e-4 * (want - plain).norm()
    assert_as_it_was(before, enc.model)


@dataclass
class Asked:
    """What tuning one prompt of 8 tokens asks of its device, on a tower as deep as CLIP-L's."""

    launches: int
    reads: int
    sent: int


def asked_of(device: Any, place: str, steps: int, rule: tuple[str, float], on_step: Any = None) -> Asked:
    model = tower(layers=12).requires_grad_(False).to(place)
    ids, settings = prompt(6, length=8).to(place), Settings(steps=steps, update=rule[0], epsilon=rule[1])
    before = device.total, device.reads, device.sent
    with personalized(model, ids, E, settings, on_step=on_step) as tuned:
        after = device.total, device.reads, device.sent
    assert tuned.similarities[-1] > tuned.similarities[0]
    return Asked(*(b - a for a, b in zip(before, after, strict=True)))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_step_is_450_launches(rule: tuple[str, float], monkeypatch: pytest.MonkeyPatch):
    if rule[0] == "adam" and not update_rules.FUSED_ON_CPU:
        pytest.skip("this torch has the fused kernel on graphics cards alone")
    monkeypatch.setattr(tuning, "_moving_weights", AllAtOnce)
    with pretend_device.Device(cpu_too=True) as device:
        few, many = (asked_of(device, "cpu", steps, rule) for steps in (5, 15))
    assert many.launches - few.launches <= 10 * 450


@accelerated
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_step_never_waits_for_the_device(rule: tuple[str, float], device: Any):
    few, many = (asked_of(device, "pretend:0", steps, rule) for steps in (5, 15))
    assert (many.reads, many.sent) == (few.reads, few.sent)
    assert many.sent <= 2
    heard = asked_of(device, "pretend:0", 15, rule, on_step=lambda k, similarity: None)
    assert heard.reads <= many.reads + 16  # the similarity, and that before the first step


@pytest.mark.parametrize("place", ["cpu", pytest.param("pretend:0", marks=accelerated)])
@pytest.mark.parametrize("update", ["adam", "normalized"])
def test_memory_may_run_out_at_any_launch(update: str, place: str, monkeypatch: pytest.MonkeyPatch):
    """It is known for what it is, and the encoder is as it was."""
    settings, ids = Settings(steps=2, epsilon=1e-3, update=update), prompt(3, length=5).to("cpu")
    monkeypatch.setattr(tuning, "_moving_weights", AllAtOnce)
    launched, failing = 0, 0

    def launch() -> None:
        nonlocal launched
        if place == "pretend:0" and torch._C._current_graph_task_id() != -1:
            return  # torch crashes where a device written in Python fails in a backward pass
        launched += 1
        if launched == failing:
            raise torch.cuda.OutOfMemoryError("The device is out of memory.")

    with pretend_device.Device(launch, cpu_too=place == "cpu"):
        enc, ids = moved(Encoder(tower(layers=1)), place), ids.to(place)
        before, launched = snapshot_after_first_run(enc, ids), 0
        want = hidden(enc, ids, settings)
        for k in range(1, launched + 1):
            launched, failing = 0, k
            with pytest.raises(torch.cuda.OutOfMemoryError) as error:
                hidden(enc, ids, settings)
            assert out_of_memory(error.value)
        failing = 0
        assert_as_it_was(before, enc.model)
        assert torch.equal(hidden(enc, ids, settings).cpu(), want.cpu())


def snapshot_after_first_run(enc: Any, ids: Tensor) -> dict[str, Any]:
    enc.run(enc.model, ids)  # when transformers sets hooks of its own
    return snapshot(enc.model)


# ---------------------------------------------------------------- whole: creation, and a pipeline


@accelerated
def test_an_aesthetic_is_made_on_a_device(device: Any):
    folder = pocket.SAMPLES / "cloudcore"
    want = ae.create(folder, str(pocket.MODEL))
    model = CLIPModel.from_pretrained(pocket.MODEL).eval().requires_grad_(False).to("pretend:0")
    found = ae.create(folder, model, CLIPImageProcessor.from_pretrained(pocket.MODEL))
    assert found.vectors.keys() == want.vectors.keys()
    for name, vector in want.vectors.items():
        assert F.cosine_similarity(found.vectors[name], vector, dim=0) > 0.9999


@accelerated
def test_a_picture_is_made_on_a_device(device: Any):
    diffusers = pytest.importorskip("diffusers")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(pocket.MODEL)
    e, settings = ae.create(pocket.SAMPLES / "cloudcore", str(pocket.MODEL)), ae.Settings(steps=2)

    def picture() -> Any:
        arguments = ae.personalized_prompt(pipe, "a castle in a meadow", e, settings).arguments
        noise = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(1)).to(pipe.device)
        return pipe(**arguments, latents=noise, num_inference_steps=2, output_type="np").images[0]

    want = picture()
    for model in (pipe.text_encoder, pipe.unet, pipe.vae):
        model.requires_grad_(False)
    pipe.to("pretend:0")
    found = picture()
    assert abs(found - want).max() < 0.02
