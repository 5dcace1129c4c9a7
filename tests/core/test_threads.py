"""Many threads on one encoder: each sees what it tuned, and all others see plain weights."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from aesthetic_embeddings import Settings, personalized

from .encoders import DIM, KINDS, encoder, prompt
from .test_borrowed import assert_as_it_was, snapshot

IDS = prompt(8, 3)


def tuned(enc: Any, seed: int, update: str) -> torch.Tensor:
    e = torch.randn(DIM, generator=torch.Generator().manual_seed(seed))
    settings = Settings(steps=2, epsilon=1e-3, update=update)
    with (
        torch.no_grad(),
        personalized(enc.model, IDS, e, settings, enc.projection, encode=lambda ids: enc.run(enc.model, ids)),
    ):
        return enc.run(enc.model, IDS)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("update", ["adam", "normalized"])
def test_threads_do_not_see_one_another(kind, update):
    enc = encoder(kind, torch.float32)
    with torch.no_grad():
        plain = enc.run(enc.model, IDS)[0]
    want = {seed: tuned(enc, seed, update) for seed in (1, 2)}
    before, faults, done = snapshot(enc.model), [], threading.Event()

    def personalizing(seed: int) -> None:
        for _ in range(5):
            if not torch.equal(tuned(enc, seed, update), want[seed]):
                faults.append(f"thread {seed} got another's weights")

    def encoding() -> None:
        while not done.is_set():
            with torch.no_grad():
                if not torch.equal(enc.run(enc.model, IDS)[0], plain):
                    faults.append("a plain run was not plain")

    def watched(function: Any, *args: Any) -> threading.Thread:
        def run() -> None:
            try:
                function(*args)
            except Exception as error:
                faults.append(repr(error))

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    plain_thread = watched(encoding)
    for thread in [watched(personalizing, seed) for seed in want]:
        thread.join()
    done.set()
    plain_thread.join()
    assert faults == []
    assert_as_it_was(before, enc.model)


def test_another_thread_inside_the_block_is_plain():
    enc = encoder("text", torch.float32)
    found = []

    def encode() -> None:
        with torch.no_grad():
            found.append(enc.run(enc.model, IDS)[0])

    encode()
    e = torch.randn(DIM)
    with personalized(enc.model, IDS, e, Settings(steps=2, epsilon=1e-3), enc.projection):
        thread = threading.Thread(target=encode)
        thread.start()
        thread.join()
        encode()
    plain, beside, inside = found
    assert torch.equal(plain, beside)
    assert not torch.equal(plain, inside)
