"""One job at a time, each with its own pictures."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.diffusion import job as jobs
from aesthetic_embeddings.diffusion.job import Cell, Job, Progress
from aesthetic_embeddings.diffusion.sampling import load_pipeline, pictures
from aesthetic_embeddings.studio import engine as engines
from aesthetic_embeddings.studio.engine import Engine

from ..core.test_pipelines import G, L, sdxl, vectors

PROMPT = "a castle in a meadow"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_pipeline(pocket.MODEL), "pocket")


@pytest.fixture(scope="module")
def gloomcore() -> ae.AestheticEmbedding:
    return ae.create(pocket.SAMPLES / "gloomcore", str(pocket.MODEL), name="gloomcore")


@pytest.fixture(autouse=True)
def _nothing_left(engine: Engine) -> Iterator[None]:
    yield
    idle(engine)


def idle(engine: Engine) -> None:
    """Wait until nobody is in line."""
    end = time.monotonic() + 20
    while engine._queue:
        assert time.monotonic() < end
        time.sleep(0.01)


def plain(*prompts: str, seed: int = 1, steps: int = 3) -> Job:
    return Job((tuple(Cell(prompt, seed) for prompt in prompts),), sampler_steps=steps)


LONG = Job((tuple(Cell(PROMPT, seed) for seed in range(50)),), sampler_steps=1000)


def last(states: Iterator[Progress]) -> Progress:
    return list(states)[-1]


def pixels(image: Any) -> bytes:
    return image.tobytes()


def test_a_pair_equals_direct_calls(engine: Engine, gloomcore: Any):
    settings = ae.Settings(steps=4)
    job = Job(((Cell(PROMPT, 7), Cell(PROMPT, 7, gloomcore, settings, "dark")),), "a tree", sampler_steps=3, cfg=4.0)
    state = last(engine.run(job))
    conditioning = ae.personalized_prompt(engine.pipeline, PROMPT, gloomcore, settings, negative_prompt="a tree")
    asked = [{"prompt": PROMPT, "negative_prompt": "a tree"}, conditioning.arguments]
    wanted = [next(pictures(engine.pipeline, each, [7], steps=3, cfg=4.0)) for each in asked]
    assert [pixels(image) for image in state.pictures[0]] == [pixels(image) for image in wanted]
    assert state.curves == {"dark": conditioning.similarities["clip-192x3-64"]}
    assert state.fraction == 1


def test_equal_cells_are_one_picture(engine: Engine, gloomcore: Any):
    nothing = Cell(PROMPT, 1, gloomcore, ae.Settings(steps=0), "n = 0")
    state = last(engine.run(Job(((Cell(PROMPT, 1), nothing), (nothing, Cell(PROMPT, 2))), sampler_steps=2)))
    (a, b), (c, d) = state.pictures
    assert a is b is c
    assert d is not a
    assert state.curves == {}


def test_it_reports_progress(engine: Engine, gloomcore: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engines, "_REPORT_INTERVAL", 0.001)
    cells = (Cell(PROMPT, 1), Cell(PROMPT, 1, gloomcore, ae.Settings(steps=30), "dark"))
    states = list(engine.run(Job((cells,), sampler_steps=30)))
    shares = [state.fraction for state in states]
    assert shares == sorted(shares)
    assert len(set(shares)) > 3
    assert states[0].seconds_left is None
    assert states[-1].seconds_left == 0
    assert any(state.message.startswith("Tuning towards gloomcore: step") for state in states)
    assert any([image is None for image in state.pictures[0]] == [False, True] for state in states if state.pictures)


def test_cancelled_jobs_end_at_their_next_step(engine: Engine):
    states = engine.run(LONG)
    assert list(islice(states, 3))
    started = time.monotonic()
    states.close()
    assert time.monotonic() - started < 0.1  # whoever closes it does not wait
    idle(engine)
    assert time.monotonic() - started < 5


def test_a_client_cancels_only_its_own_jobs(engine: Engine):
    mine, theirs = engine.run(LONG, "me"), engine.run(plain(PROMPT), "they")
    next(mine), next(theirs)
    engine.cancel("me")
    with pytest.raises(ae.Interrupted, match="Cancelled"):
        list(mine)
    assert last(theirs).pictures[0][0] is not None


def test_a_job_that_is_waiting_can_be_cancelled(engine: Engine):
    first = engine.run(LONG)
    next(first)
    second = engine.run(plain(PROMPT))
    assert list(islice(second, 3))[-1].message == "Waiting: 1 before you"
    second.close()
    first.close()


def test_jobs_are_done_in_turn_and_do_not_mix(engine: Engine, gloomcore: Any):
    prompts = ["a ship at sea", "a tree in the snow", "a chair in a meadow"]

    def job(number: int) -> Job:
        settings = ae.Settings(steps=3 + number)
        rows = [(Cell(prompts[number], s), Cell(prompts[number], s, gloomcore, settings, "dark")) for s in range(2)]
        return Job(tuple(rows), sampler_steps=3)

    def result(state: Progress) -> Any:
        return [[pixels(image) for image in row] for row in state.pictures], state.curves

    alone = [result(last(engine.run(job(number)))) for number in range(3)]
    together: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: together.update({n: result(last(engine.run(job(n))))})) for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(3)] == alone


def test_a_curve_for_each_text_encoder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "pictures", lambda *_, **__: iter([Image.new("RGB", (8, 8))]))
    engine = Engine(sdxl(), "small", torch.randn(24, 32))
    assert engine.families == {L, G}
    e = vectors(**{L: 24, G: 28})
    job = Job(((Cell(PROMPT, 1, e, ae.Settings(steps=3), "random"),),))
    state = last(engine.run(job))
    assert sorted(state.curves) == [f"random ({L})", f"random ({G})"]
    half = Job(((Cell(PROMPT, 1, vectors(**{G: 28}), ae.Settings(steps=3), "half"),),))
    state = last(engine.run(half))
    assert [*state.curves] == ["half"]
    assert "stays plain" in state.notes[0]


def test_the_queue_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engines, "_QUEUE_LIMIT", 2)
    running = [engine.run(LONG) for _ in range(2)]
    for states in running:
        next(states)
    with pytest.raises(ae.AestheticError, match="Too many are waiting"):
        next(engine.run(plain(PROMPT)))
    for states in running:
        states.close()


def test_errors_reach_the_client_and_the_next_job_runs(engine: Engine):
    stranger = ae.AestheticEmbedding({"clip-vit-l-14": torch.ones(768)}, name="stranger")
    assert not engine.supports(stranger)
    with pytest.raises(ae.EncoderError, match="stranger"):
        last(engine.run(Job(((Cell(PROMPT, 1, stranger, label="x"),),), sampler_steps=2)))
    assert last(engine.run(plain(PROMPT))).pictures[0][0] is not None
