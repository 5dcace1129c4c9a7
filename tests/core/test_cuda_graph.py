"""Tuning by CUDA graphs, as far as that shows without a card: on a pretend graph, which is as strict as a real one."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aesthetic_embeddings import Settings, personalized
from aesthetic_embeddings.text_encoder import cuda_graph, update_rules
from aesthetic_embeddings.text_encoder import tune as tuning
from aesthetic_embeddings.text_encoder.all_at_once import AllAtOnce
from aesthetic_embeddings.text_encoder.matrix_by_matrix import MatrixByMatrix

from ..pretend_graph import DEFAULT, Graph, Stream, install
from .encoders import WIDTH, encoder, prompt, put_vectors_in
from .test_device import E, hidden

ADAM = Settings(steps=4, epsilon=1e-3)
NORMALIZED = replace(ADAM, update="normalized")
VARIANTS = [ADAM, NORMALIZED, replace(ADAM, update="gradient", epsilon=1e-1), replace(ADAM, last_layers=2)]

pytestmark = pytest.mark.skipif(
    not update_rules.FUSED_ON_CPU, reason="this torch has the fused kernel on graphics cards alone"
)


@pytest.fixture(autouse=True)
def _pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    install(monkeypatch)
    monkeypatch.setattr(cuda_graph, "enabled", True)
    monkeypatch.setattr(cuda_graph, "DEVICE", "cpu")
    monkeypatch.setattr(tuning, "_moving_weights", AllAtOnce)
    yield
    cuda_graph._graphs.clear()
    cuda_graph._seen.clear()


def ordinary(enc: Any, ids: Tensor, settings: Settings) -> Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_graph, "enabled", False)
        return hidden(enc, ids, settings)


def assert_equal(found: Tensor, enc: Any, ids: Tensor, settings: Settings) -> None:
    """To the rounding of epsilon, which is fp32 in a graph."""
    want, plain = ordinary(enc, ids, settings), ordinary(enc, ids, replace(settings, steps=0))
    assert (want - plain).norm() > 0.01
    assert (found - want).norm() < 1e-6 * (want - plain).norm()


def assert_by_graph(enc: Any, ids: Tensor, settings: Settings = ADAM) -> None:
    """The result is that of the ordinary way, and a graph took all steps."""
    before = Graph.replays
    found = hidden(enc, ids, settings)
    assert Graph.replays == before + settings.steps
    assert_equal(found, enc, ids, settings)


def assert_ordinary(enc: Any, ids: Tensor, settings: Settings = ADAM) -> None:
    before = Graph.replays
    assert torch.equal(hidden(enc, ids, settings), ordinary(enc, ids, settings))
    assert Graph.replays == before


@pytest.mark.parametrize("kind", ["text", "open_clip"])
@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_a_graph_computes_what_the_ordinary_way_does(kind: str, settings: Settings):
    """For several lengths in turn, of one chunk and of several."""
    enc = encoder(kind)
    for lengths in [(3,), (8, 3)]:
        assert_ordinary(enc, prompt(*lengths), settings)
    for seed, lengths in enumerate([(8,), (30,), (1,), (8,), (30, 8), (2, 0, 20), (5, 5)]):
        assert_by_graph(enc, prompt(*lengths, seed=seed), settings)
    assert Graph.captures == 2


def test_fp32():
    enc = encoder("text", torch.float32)
    hidden(enc, prompt(5), ADAM)
    found, want = hidden(enc, prompt(8), ADAM), ordinary(enc, prompt(8), ADAM)
    assert Graph.replays == ADAM.steps
    assert torch.allclose(found, want, rtol=0, atol=1e-5)


@pytest.fixture
def enc() -> Any:
    """An encoder with a graph for prompts of one chunk that is not full."""
    enc = encoder("text")
    for words in (3, 4):
        hidden(enc, prompt(words), ADAM)
    assert len(cuda_graph._graphs) == 1
    return enc


def test_steps_and_epsilon_may_change(enc: Any):
    for settings in (replace(ADAM, steps=1), replace(ADAM, steps=7, epsilon=3e-3), ADAM):
        assert_by_graph(enc, prompt(8), settings)
    assert Graph.captures == 1


def test_the_similarities_are_reported(enc: Any):
    heard: list[float] = []
    with personalized(enc.model, prompt(8), E, ADAM, enc.projection, on_step=lambda k, s: heard.append(s)) as tuned:
        assert tuple(heard) == tuned.similarities
    cuda_graph._graphs.clear()
    with personalized(enc.model, prompt(8), E, replace(ADAM, preservation=1e-9), enc.projection) as expected:
        assert tuned.similarities == pytest.approx(expected.similarities, abs=1e-7)


def test_weights_that_have_changed(enc: Any):
    """As by a LoRA."""
    with torch.no_grad():
        for w in enc.model.parameters():
            w += 0.05 * torch.randn_like(w)
    assert_by_graph(enc, prompt(8))
    for name, w in list(enc.model.named_parameters()):  # or anew, as hosts load them
        module, _, last = name.rpartition(".")
        setattr(enc.model.get_submodule(module), last, torch.nn.Parameter(w + 0.05 * torch.randn_like(w)))
    assert_by_graph(enc, prompt(8))


@pytest.mark.parametrize("settings", [ADAM, NORMALIZED], ids=str)
def test_textual_inversion_vectors(settings: Settings):
    enc, ids = encoder("text"), prompt(8)
    hidden(enc, prompt(3), settings)
    assert_by_graph(enc, ids, settings)
    where = torch.zeros_like(ids, dtype=torch.bool)
    where[0, 2:4] = True
    put_vectors_in(enc, where, torch.randn(*ids.shape, WIDTH, dtype=torch.float64))
    assert_by_graph(enc, ids, settings)


def test_what_is_tuned_stays_as_it_is(enc: Any):
    """The memory of a graph is its own, and two encoders have two."""
    other = encoder("projection")
    hidden(other, prompt(3), ADAM)
    with personalized(enc.model, prompt(8), E, ADAM, enc.projection) as tuned, torch.no_grad():
        first = enc.run(enc.model, prompt(8))[0]
        assert_by_graph(other, prompt(5))
        assert_by_graph(other, prompt(9))
        assert torch.equal(enc.run(enc.model, prompt(8))[0], first)
        changes = {slot: change.clone() for slot, change in tuned.changes.items()}
    assert_by_graph(enc, prompt(9))
    assert all(torch.equal(change, changes[slot]) for slot, change in tuned.changes.items())
    assert_equal(first, enc, prompt(8), ADAM)


def test_an_interrupt_in_the_middle(enc: Any):
    def stop(k: int, similarity: float) -> None:
        if k == 2:
            raise KeyboardInterrupt

    before = Graph.replays
    with pytest.raises(KeyboardInterrupt):
        hidden(enc, prompt(8), ADAM, on_step=stop)
    assert Graph.replays == before + 3
    assert_by_graph(enc, prompt(8))
    assert Graph.captures == 1


def test_whatever_an_earlier_prompt_left(enc: Any):
    """One that diverged leaves what is not a number, even in the padding."""
    (graph,) = cuda_graph._graphs.values()
    for x in [*graph.inputs, *graph.moments, *graph.scalars]:
        x.detach().fill_(torch.nan if x.is_floating_point() else 1)
    assert_by_graph(enc, prompt(8))


def test_another_thread_takes_the_ordinary_way(enc: Any):
    found: list[Tensor] = []

    def meanwhile(k: int, similarity: float) -> None:
        if k == 1:
            thread = threading.Thread(target=lambda: found.append(hidden(enc, prompt(9), ADAM)))
            thread.start()
            thread.join()

    before = Graph.replays
    found.append(hidden(enc, prompt(8), ADAM, on_step=meanwhile))
    assert Graph.replays == before + ADAM.steps
    for words, each in zip((9, 8), found, strict=True):
        assert_equal(each, enc, prompt(words), ADAM)


# ---------------------------------------------------------------- who takes the ordinary way


def test_it_is_off_by_default(monkeypatch: pytest.MonkeyPatch):
    code = "from aesthetic_embeddings.text_encoder import cuda_graph; print(cuda_graph.enabled)"
    for value, expected in ((None, "False"), ("0", "False"), ("1", "True")):
        if value is not None:
            monkeypatch.setenv("AESTHETIC_CUDA_GRAPHS", value)
        said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
        assert said.strip() == expected


def test_preservation_waits_for_the_device(enc: Any):
    settings = replace(ADAM, preservation=0.5)
    for words in (3, 4, 5):
        assert_ordinary(enc, prompt(words), settings)
    assert cuda_graph.enabled


def test_where_the_weights_move_one_by_one(enc: Any, monkeypatch: pytest.MonkeyPatch):
    """They do on a device that has little room, so the graphs' memory is given back."""
    monkeypatch.setattr(tuning, "_moving_weights", MatrixByMatrix)
    assert_ordinary(enc, prompt(8))
    assert not cuda_graph._graphs


def test_without_room_for_the_graph(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(AllAtOnce, "has_room", staticmethod(lambda *_: False))
    for words in (3, 4, 5):
        assert_ordinary(encoder("text"), prompt(words))
    assert Graph.captures == 0
    assert cuda_graph.enabled


# ---------------------------------------------------------------- a capture that fails


def fails(at: int, error: Exception) -> Callable[[], None]:
    left = at

    def before_capture() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise error

    return before_capture


@pytest.mark.parametrize("at", [1, 50, 150, 250])
@pytest.mark.parametrize("error", [RuntimeError("CUDA error: unsupported\nMore."), torch.cuda.OutOfMemoryError("none")])
def test_a_capture_that_fails(at: int, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    """One line, the ordinary way from then on, and torch as it was."""
    monkeypatch.setattr(Graph, "before_capture", staticmethod(fails(at, error)))
    enc = encoder("text")
    with caplog.at_level(logging.INFO):
        for words in (3, 4, 5, 6):
            assert_ordinary(enc, prompt(words))
    (record,) = caplog.records
    assert str(error).partition("\n")[0] in record.message
    assert "\n" not in record.message
    assert Graph.captures == 1
    assert not cuda_graph._graphs
    assert Stream.current is DEFAULT


def test_an_activation_that_waits_for_the_device(monkeypatch: pytest.MonkeyPatch, caplog: Any):
    """What the pretend graph refuses is not replayed."""
    enc = encoder("text")
    for layer in enc.text.encoder.layers:
        layer.mlp.activation_fn.forward = lambda x: F.gelu(x) * (1.0 if float(x.detach().sum()) else 0.0)
    for words in (3, 4, 5):
        assert_ordinary(enc, prompt(words))
    assert "not permitted when stream is capturing" in caplog.text


# ---------------------------------------------------------------- memory


def test_two_graphs_are_kept():
    enc = encoder("text")
    kinds = [prompt(8), prompt(40), prompt(70), prompt(8, 8)]
    for ids in [*kinds, *kinds]:
        hidden(enc, ids, ADAM)
        assert len(cuda_graph._graphs) <= 2
    assert Graph.captures == len(kinds)
    for ids in (kinds[3], kinds[2]):
        assert_by_graph(enc, ids)
    assert Graph.captures == len(kinds)
    for ids in (kinds[0], kinds[2]):  # the first in place of the one used longest ago
        assert_by_graph(enc, ids)
    assert Graph.captures == len(kinds) + 1


def test_a_graph_goes_with_its_encoder(enc: Any):
    """And does not keep it."""
    model, other = weakref.ref(enc.model), encoder("projection")
    for words in (3, 4):
        hidden(other, prompt(words), ADAM)
    assert len(cuda_graph._graphs) == 2
    enc.model = None
    gc.collect()
    assert model() is None
    assert len(cuda_graph._graphs) == 1


def test_graphs_go_when_memory_runs_out(enc: Any):
    def full(k: int, similarity: float) -> None:
        raise torch.cuda.OutOfMemoryError("none")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        hidden(encoder("projection"), prompt(8), ADAM, on_step=full)
    assert not cuda_graph._graphs
    assert_by_graph(enc, prompt(8))  # captured anew
