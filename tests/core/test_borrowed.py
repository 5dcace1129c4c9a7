"""What is lent to `personalized` comes back as it was, under every mode, also when something raises on the way."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aesthetic_embeddings import EncoderError, Settings, personalized

from .encoders import DIM, KINDS, WIDTH, CastingLinear, Encoder, encoder, prompt
from .test_exact import aesthetic

MODES: dict[str, Any] = {
    "plain": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast, no_grad": lambda: _both(torch.autocast("cpu", torch.bfloat16), torch.no_grad()),
}
HOOK_LISTS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_always_called")


class _both:
    def __init__(self, *contexts: Any) -> None:
        self.contexts = contexts

    def __enter__(self) -> None:
        for context in self.contexts:
            context.__enter__()

    def __exit__(self, *args: object) -> None:
        for context in reversed(self.contexts):
            context.__exit__(*args)


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that a caller could find changed. Run the model first: transformers 5 installs hooks at first use."""
    return {
        "parameters": [(n, id(p), p.requires_grad, p.dtype, p.detach().clone()) for n, p in model.named_parameters()],
        "buffers": [(n, id(b), b.clone()) for n, b in model.named_buffers()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "training": [m.training for m in model.modules()],
        "hooks": [[len(getattr(m, name)) for name in HOOK_LISTS] for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "rng": torch.get_rng_state(),
        "flags": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.backends.mkldnn.enabled),
        "threads": torch.get_num_threads(),
    }


def assert_same(before: Any, after: Any) -> None:
    if isinstance(before, Tensor):
        assert torch.equal(before, after)
    elif isinstance(before, (list, tuple)):
        assert len(before) == len(after)
        for b, a in zip(before, after, strict=True):
            assert_same(b, a)
    else:
        assert before == after


def assert_as_it_was(before: dict[str, Any], model: nn.Module) -> None:
    after = snapshot(model)
    for name, value in before.items():
        assert_same(value, after[name])


def run_or_skip(enc: Encoder, ids: Tensor) -> Tensor:
    """The last hidden states; old torch has no fp16 on the CPU, and no autocast for open_clip's mask."""
    try:
        return enc.run(enc.model, ids)[0]
    except RuntimeError as error:
        pytest.skip(f"the encoder itself does not run here: {error}")


def lend(enc: Encoder, settings: Settings | None = None, **options: Any) -> Any:
    settings = settings or Settings(steps=3, epsilon=1e-3)
    dtype = next(enc.model.parameters()).dtype
    run = options.pop("encode", lambda ids: enc.run(enc.model, ids))
    return personalized(enc.model, prompt(8, 3), aesthetic(dtype), settings, enc.projection, encode=run, **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("update", ["adam", "normalized", "gradient"])
def test_the_encoder_is_unchanged_afterwards(kind, mode, update):
    enc = encoder(kind, torch.float32)
    enc.model.train()
    list(enc.model.modules())[-1].eval()
    for i, p in enumerate(enc.model.parameters()):
        p.requires_grad_(i % 2 == 0)
        p.grad = torch.full_like(p, float(i))
    ids = prompt(8, 3)
    with MODES[mode]():
        plain = run_or_skip(enc, ids)
        before = snapshot(enc.model)
        with lend(enc, Settings(steps=3, epsilon=1e-3, update=update)) as run:
            tuned = enc.run(enc.model, ids)[0]
            assert [p.requires_grad for p in enc.model.parameters()] == [p[2] for p in before["parameters"]]
        assert_as_it_was(before, enc.model)
        assert torch.equal(enc.run(enc.model, ids)[0], plain)
    assert run.similarities[-1] > run.similarities[0]
    assert not torch.allclose(tuned, plain, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_stored_in_any_precision(kind, dtype):
    """Half precision is tuned in fp32 from what is stored, so that it ends where its fp32 copy ends."""
    enc = encoder(kind, dtype)
    run_or_skip(enc, prompt(8, 3))
    wide = Encoder.__new__(type(enc))
    wide.model, wide.projection = copy.deepcopy(enc.model).float(), enc.projection
    settings = Settings(steps=5, epsilon=1e-3, update="normalized")
    with torch.no_grad(), lend(enc, settings) as run, lend(wide, settings) as expected:
        hidden = enc.run(enc.model, prompt(8, 3))[0]
    assert hidden.dtype == dtype
    assert run.similarities == pytest.approx(expected.similarities, abs=1e-2 if dtype.itemsize == 2 else 1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inside", [True, False])
def test_weights_made_in_inference_mode(kind, inside):
    """Forge loads and runs its model there; autograd refuses such tensors."""
    with torch.inference_mode():
        enc = encoder(kind, torch.float32)
        enc.model = copy.deepcopy(enc.model)
    assert all(p.is_inference() for p in enc.model.parameters())
    ids = prompt(8, 3)
    for update in ("adam", "normalized", "gradient"):
        with torch.inference_mode(inside), torch.no_grad():
            plain = enc.run(enc.model, ids)[0]
            before = snapshot(enc.model)
            with lend(enc, Settings(steps=2, epsilon=1e-3, update=update)):
                assert not torch.equal(enc.run(enc.model, ids)[0], plain)
            assert_as_it_was(before, enc.model)
            assert torch.equal(enc.run(enc.model, ids)[0], plain)


class Stop(Exception):
    pass


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("update", ["adam", "normalized"])
def test_interrupted_at_any_step(step, update):
    enc = encoder("text", torch.float32)
    enc.run(enc.model, prompt(8))
    before = snapshot(enc.model)

    def stop(k: int, _: float) -> None:
        if k == step:
            raise Stop

    with pytest.raises(Stop), lend(enc, Settings(steps=3, epsilon=1e-3, update=update), on_step=stop):
        pytest.fail("the block should not run")
    assert_as_it_was(before, enc.model)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_in_the_block_or_in_the_encoder(kind):
    enc = encoder(kind, torch.float32)
    ids = prompt(8, 3)
    plain = enc.run(enc.model, ids)[0]
    module = [m for m in enc.model.modules() if isinstance(m, (nn.Linear, CastingLinear))][5]
    before = snapshot(enc.model)

    def burst(*_: object) -> None:
        raise Stop

    with pytest.raises(Stop), lend(enc):
        handle = module.register_forward_pre_hook(burst)  # after ours: that module's tuned weight is in place
        try:
            enc.run(enc.model, ids)
        finally:
            handle.remove()
    assert_as_it_was(before, enc.model)
    with pytest.raises(Stop), lend(enc, encode=burst):
        pytest.fail("the block should not run")
    assert_as_it_was(before, enc.model)
    assert torch.equal(enc.run(enc.model, ids)[0], plain)


def test_foreign_hooks_do_not_see_the_tuning():
    enc = encoder("text", torch.float32)
    heard: list[nn.Module] = []
    for module in enc.model.modules():
        module.register_forward_hook(lambda m, *_: heard.append(m))
    enc.run(enc.model, prompt(8, 3))
    one_forward = list(heard)
    with lend(enc, Settings(steps=7, epsilon=1e-3)):
        assert heard == 2 * one_forward  # the recording is a forward of the encoder like any other
        enc.run(enc.model, prompt(8, 3))
    assert heard == 3 * one_forward


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nothing", [{"steps": 0}, {"epsilon": 0}])
def test_no_steps_is_the_plain_encoder_bit_for_bit(kind, nothing):
    enc = encoder(kind, torch.float32)
    ids = prompt(8, 3)
    with torch.no_grad():
        plain = enc.run(enc.model, ids)[0]
        with lend(enc, Settings(**nothing)) as run:
            assert torch.equal(enc.run(enc.model, ids)[0], plain)
    assert len(run.similarities) == Settings(**nothing).steps + 1
    assert len(set(run.similarities)) == 1


def test_an_empty_prompt_is_left_alone():
    enc = encoder("text", torch.float32)
    ids = prompt(0)
    with torch.no_grad():
        plain = enc.run(enc.model, ids)[0]
        with personalized(enc.model, ids, aesthetic(torch.float32), Settings(steps=4), enc.projection) as run:
            assert torch.equal(enc.run(enc.model, ids)[0], plain)
    assert len(run.similarities) == 5


# ---------------------------------------------------------------- towers that are refused


class LowRank(nn.Module):
    """An adapter such as PEFT leaves them: it wraps a layer and adds to its output."""

    def __init__(self, base_layer: nn.Linear, scale: float) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.a, self.b = torch.randn(4, base_layer.in_features), scale * torch.randn(base_layer.out_features, 4)

    weight = property(lambda self: self.base_layer.weight)
    bias = property(lambda self: self.base_layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + x @ self.a.T @ self.b.T


def _wrap(layer: Any) -> None:
    layer.mlp.fc1 = LowRank(layer.mlp.fc1, 0.01)


def _patch_forward(layer: Any) -> None:
    plain = layer.mlp.forward
    layer.mlp.forward = lambda x: plain(x) * 1.01


def _hook(layer: Any) -> None:
    layer.self_attn.out_proj.register_forward_hook(lambda _, args, out: out + 0.01 * args[0])


@pytest.mark.parametrize("change", [_wrap, _patch_forward, _hook])
def test_a_changed_tower_is_refused_before_any_tuning(change):
    enc = encoder("projection", torch.float32)
    change(enc.text.encoder.layers[1])
    enc.run(enc.model, prompt(8))
    before = snapshot(enc.model)
    steps: list[int] = []
    with pytest.raises(EncoderError, match=r"LoRA|adapter"), lend(enc, on_step=lambda k, _: steps.append(k)):
        pytest.fail("the block should not run")
    assert not steps
    assert_as_it_was(before, enc.model)


def test_quantized_weights_are_refused():
    """bitsandbytes and GGUF keep them as bytes, and unpack them at each call."""
    enc = encoder("casting", torch.float32)
    layer = next(m for m in enc.model.modules() if isinstance(m, CastingLinear))
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.uint8), requires_grad=False)
    with pytest.raises(EncoderError, match="quantized"), lend(enc):
        pytest.fail("the block should not run")


def test_wrong_sizes_are_refused():
    enc = encoder("text", torch.float32)
    ids = prompt(8)
    with pytest.raises(EncoderError, match="without its text projection"), personalized(enc.model, ids, aesthetic()):
        pass
    with (
        pytest.raises(EncoderError, match="do not fit"),
        personalized(enc.model, ids, torch.ones(7), None, enc.projection),
    ):
        pass
    with (
        pytest.raises(EncoderError, match="do not fit"),
        personalized(enc.model, ids, torch.ones(DIM), None, torch.ones(DIM, WIDTH + 1)),
    ):
        pass
    with pytest.raises(EncoderError, match="no CLIP text tower"), personalized(nn.Linear(2, 2), ids, torch.ones(2)):
        pass
