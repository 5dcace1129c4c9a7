"""An interrupt at any line of ours, on the way in, inside, or on the way out, leaves the encoder as it was."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import aesthetic_embeddings
from aesthetic_embeddings import Settings, personalized
from aesthetic_embeddings.torch_states import autocast_dtype

from .encoders import DIM, encoder, prompt
from .test_borrowed import MODES, assert_as_it_was, snapshot

OURS = str(Path(aesthetic_embeddings.__file__).parent)
IDS = prompt(3)
Place = tuple[str, int]


@contextmanager
def traced(on_line: Callable[[Place], None]) -> Iterator[None]:
    """`on_line` is called before every line of ours."""

    def trace(frame: Any, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            on_line((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def use(enc: Any, update: str) -> None:
    settings = Settings(steps=1, epsilon=1e-3, update=update)
    with personalized(enc.model, IDS, torch.ones(DIM), settings, enc.projection):
        enc.run(enc.model, IDS)


def interrupted(enc: Any, update: str, places: list[Place], at: int) -> None:
    """Use the encoder, and interrupt it before line number `at` of all those that run."""
    seen = 0

    def on_line(place: Place) -> None:
        nonlocal seen
        seen += 1
        if seen == at:
            raise KeyboardInterrupt(place)

    try:
        with traced(on_line):
            use(enc, update)
    except KeyboardInterrupt:
        pass
    else:
        pytest.fail(f"line {places[at - 1]} did not run again")
    gc.collect()


@pytest.mark.parametrize(
    ("kind", "update", "mode"),
    [
        ("text", "adam", "inference_mode"),
        ("text", "gradient", "autocast, no_grad"),
        ("open_clip", "normalized", "plain"),
    ],
)
def test_at_any_line(kind, update, mode):
    """The first and the last time that each line runs."""
    enc = encoder(kind, torch.float32)
    enc.model.train()
    places: list[Place] = []
    with MODES[mode]():
        use(enc, update)
        before = state(enc)
        with traced(places.append):
            use(enc, update)
        first = {place: at for at, place in reversed(list(enumerate(places, 1)))}
        last = {place: at for at, place in enumerate(places, 1)}
        assert len(first) > 150
        for at in sorted({*first.values(), *last.values()}):
            interrupted(enc, update, places, at)
            try:
                assert_unchanged(before, enc)
            except AssertionError as error:
                raise AssertionError(f"left changed by an interrupt before {places[at - 1]}") from error


def state(enc: Any) -> Any:
    flags = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocast_dtype("cpu"))
    return snapshot(enc.model), flags, enc.run(enc.model, IDS)[0].clone()


def assert_unchanged(before: Any, enc: Any) -> None:
    assert_as_it_was(before[0], enc.model)
    after = state(enc)
    assert before[1] == after[1]
    assert torch.equal(before[2], after[2])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["text", "open_clip"])
def test_at_any_registration_of_a_hook(kind, after, monkeypatch):
    enc, register, calls = encoder(kind, torch.float32), nn.Module.register_forward_hook, 0

    def registering(at: int) -> Callable[..., Any]:
        """As torch does it, with an interrupt before or after registration number `at`."""

        def registered(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at and not after:
                raise KeyboardInterrupt
            handle = register(*args, **kwargs)
            if calls == at:
                raise KeyboardInterrupt
            return handle

        return registered

    use(enc, "adam")  # transformers 5 registers hooks of its own in a model's first forward
    monkeypatch.setattr(nn.Module, "register_forward_hook", registering(0))
    use(enc, "adam")
    count, before = calls, state(enc)
    assert count > 15
    for at in range(1, count + 1):
        calls = 0
        monkeypatch.setattr(nn.Module, "register_forward_hook", registering(at))
        with pytest.raises(KeyboardInterrupt):
            use(enc, "adam")
        assert_unchanged(before, enc)
