"""Many threads on one encoder: each sees what it tuned, and all others see plain weights."""

from __future__ import annotations

import threading

import pytest
import torch

from aesthetic_embeddings import EncoderError, Settings, personalized
from aesthetic_embeddings.torch_states import cpu_threads

from ..attack.encoder import threads
from .encoders import DIM, KINDS, encoder, prompt

IDS = prompt(8, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("update", ["adam", "normalized"])
def test_threads_do_not_affect_each_other(kind: str, update: str) -> None:
    plain, tuned = threads(kind, update)
    assert plain > 0
    assert tuned == 10


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


def test_a_block_inside_a_block_is_refused():
    enc = encoder("text", torch.float32)
    settings = Settings(steps=5, epsilon=1e-2)
    with (
        personalized(enc.model, IDS, torch.randn(DIM), settings, enc.projection),
        pytest.raises(EncoderError, match="does not compute what its weights say"),
        personalized(enc.model, IDS, torch.randn(DIM), settings, enc.projection),
    ):
        pytest.fail("the inner block should not run")


def test_blocks_of_fewer_cpu_threads_that_overlap_leave_no_limit_behind():
    """torch's number of threads is for the whole process: each block that ends puts it back."""
    second_is_in, first_is_out, found = threading.Event(), threading.Event(), []

    def second() -> None:
        with cpu_threads(2):
            second_is_in.set()
            first_is_out.wait(30)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with cpu_threads(2):
            thread = threading.Thread(target=second)
            thread.start()
            assert second_is_in.wait(30)
        first_is_out.set()
        thread.join()
        for read in (threading.Thread(target=lambda: found.append(torch.get_num_threads())) for _ in range(2)):
            read.start()
            read.join()
        assert [torch.get_num_threads(), *found] == [4, 4, 4]
    finally:
        torch.set_num_threads(before)
