"""What stands under the picture."""

from __future__ import annotations

import re
import types
from typing import Any

import pytest
import torch

import aesthetic_embeddings as ae

from .conftest import embedding
from .fake_host import FAMILY, Host

WANTED = {"embedding": "dusk", "steps": 2}


def comments(host: Host, prompt: Any = "a castle", more: dict[str, Any] | None = None, **chosen: Any) -> list[str]:
    host.generate(p := host.job(prompt, "blurred", more=more, **{**WANTED, **chosen}))
    return list(p.comments)


def test_tuned_and_then_reused(host: Host):
    (first,) = comments(host)
    assert re.fullmatch(
        r"Aesthetic gradients: dusk, similarity -?0\.\d{3} → -?0\.\d{3} \(tuned in \d+\.\d s\)\.", first
    )
    (second,) = comments(host)
    assert second == re.sub(r"\(.*\)", "(reused)", first)


def test_it_is_the_similarity_of_the_prompt(host: Host, tunings: list):
    (line,) = comments(host)
    before, after = map(float, re.findall(r"-?\d\.\d{3}", line))
    ((_, _, e, settings, *_),) = tunings
    assert after > before
    assert settings.steps == 2
    assert torch.equal(e.vectors[FAMILY], embedding("dusk", 1).vectors[FAMILY])


def test_a_batch_has_one_line(host: Host):
    (line,) = comments(host, ["a castle", "the sea"], more={"batch_size": 2})
    assert re.search(r"similarity -?0\.\d{3} to -?0\.\d{3} → .* \(2 prompts tuned in", line)


def test_later_batches_of_a_job_replace_the_line(host: Host):
    (line,) = comments(host, ["a castle", "the sea", "a castle"], more={"n_iter": 3})
    assert "2 prompts tuned in" in line
    assert "1 reused" in line


def test_two_aesthetics_have_two_lines(host: Host):
    lines = comments(host, negative="dawn")
    assert [re.match(r"Aesthetic gradients: (\w+),", line)[1] for line in lines] == ["dawn", "dusk"]


def test_nothing_is_reported_when_it_is_off(host: Host):
    host.generate(p := host.job("a castle"))
    assert p.comments == {}


def test_progress_is_shown_while_tuning(host: Host):
    heard: list[str] = []
    host.state.on_text = heard.append
    comments(host)
    assert [re.match(r"Aesthetic gradients: step (\d) of 2, similarity -?0\.\d{3}$", text)[1] for text in heard] == [
        *"012"[-len(heard) :]
    ]


def outcome(host: Host, *similarities: float, **more: Any) -> Any:
    target = host.webui("request").Target(embedding("dusk", 1), ae.Settings())
    values = {"tuned": True, "similarities": {FAMILY: similarities}, "seconds": 1.0, **more}
    return host.webui("conditioner").PromptResult(target, **values)


def job(comments: dict[str, int]) -> Any:
    return types.SimpleNamespace(comments=comments, extra_generation_params={})


@pytest.mark.parametrize("flavor", ["a1111"])
@pytest.mark.parametrize(
    ("similarities", "word"),
    [((0.1, 0.5, 0.8), None), ((0.1, 0.5, 0.95, 0.97), "saturated after 2 steps"), ((0.3, 0.1), "similarity fell")],
)
def test_advice_where_fewer_steps_would_do_better(host: Host, similarities: tuple[float, ...], word: str | None):
    said = {"of another": 1}
    host.webui("picture_report").PictureReport(job(said))([[outcome(host, *similarities)]], False)
    assert len(said) == (3 if word else 2)
    assert word is None or word in list(said)[-1]


@pytest.mark.parametrize("flavor", ["a1111"])
def test_two_encoders_are_told_apart(host: Host):
    said: dict[str, int] = {}
    both = {"clip-a": (0.1, 0.2), "clip-b": (0.3, 0.4)}
    host.webui("picture_report").PictureReport(job(said))([[outcome(host, similarities=both)]], False)
    assert "similarity 0.100 → 0.200 (clip-a); 0.300 → 0.400 (clip-b)" in next(iter(said))
