"""What a form asks for, and what is kept of it, without a browser."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import CLIPTokenizer

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.aesthetics.library import Library
from aesthetic_embeddings.settings import Settings
from aesthetic_embeddings.studio import plots
from aesthetic_embeddings.studio.compare import tab, vocabulary
from aesthetic_embeddings.studio.compare.comparison import make_comparison
from aesthetic_embeddings.studio.compare.form import EXAMPLES, example_prompts
from aesthetic_embeddings.studio.compare.history import MAX_PAGES, MAX_RESULTS, History
from aesthetic_embeddings.studio.compare.request import GRID, MAX_ROWS, PAIRS, STRIP, parse_request
from aesthetic_embeddings.ui import widgets

FORM: dict[str, Any] = {
    **{name: getattr(Settings(), name) for name in widgets.FIELDS},
    "layout": PAIRS,
    "prompt": "a ship",
    "negative_prompt": "",
    "aesthetic": "a",
    "grid": ["a", "b"],
    "seed": 3,
    "count": 2,
    "sampler_steps": 4,
    "cfg": 5,
}


@pytest.fixture
def library(tmp_path: Any) -> Library:
    library = Library([tmp_path])
    for seed, name in enumerate("ab"):
        vector = torch.randn(64, generator=torch.Generator().manual_seed(seed))
        library.save(ae.AestheticEmbedding({"clip-192x3-64": vector}, name=name))
    return library


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("prompt", "", "Write a prompt first."),
        ("prompt", "x" * 2001, "The prompt can have at most 2000 characters; it has 2001."),
        ("prompt", {"a": 1}, "The prompt should be text."),
        ("negative_prompt", "x" * 10**6, "The negative prompt can have at most"),
        ("text", "x" * 10**6, "The text can have at most"),
        ("aesthetic", "a:" + "1" * 10**6, "The aesthetic can have at most"),
        ("grid", ["x" * 10**6], "A name can have at most"),
        ("grid", ["x"] * 9, f"A grid has at most {MAX_ROWS} aesthetics."),
        ("grid", "ab" * 9, f"A grid has at most {MAX_ROWS} aesthetics."),
        ("layout", "spiral", "The layout should be one of"),
        ("layout", ["pairs"], "The layout should be one of"),
        ("seed", 2**32, "seed should be a whole number between -1 and 4294967295"),
        ("seed", 1.5, "seed should be a whole number"),
        ("count", 9, "count should be a whole number between 1 and 8, not 9."),
        ("sampler_steps", 0, "sampler steps should be a whole number between 1 and 100"),
        ("cfg", float("nan"), "cfg should be a number between 0 and 30"),
        ("cfg", "5", "cfg should be a number"),
        ("epsilon", 2.0, "epsilon"),
    ],
)
def test_values_that_the_page_would_not_send(name: str, value: Any, words: str):
    with pytest.raises(ae.AestheticError, match=re.escape(words)):
        parse_request({**FORM, name: value})


def test_a_random_seed_is_settled_once():
    asked = parse_request({**FORM, "seed": -1})
    assert asked.seed >= 0
    assert [*asked.seeds] == [asked.seed, asked.seed + 1]
    assert {parse_request({**FORM, "seed": -1}).seed for _ in range(5)} != {asked.seed}


def test_pairs_strip_and_grid(library: Library):
    pairs = make_comparison(parse_request(FORM), library)
    assert [[(cell.seed, cell.target is None) for cell in row] for row in pairs.job.rows] == [
        [(3, True), (3, False)],
        [(4, True), (4, False)],
    ]
    strip = make_comparison(parse_request({**FORM, "layout": STRIP, "update": "normalized"}), library)
    assert strip.columns == ("n = 0", "n = 5", "n = 10", "n = 15", "n = 20")
    assert strip.rows == ("seed 3", "seed 4")
    assert [cell.settings for cell in strip.job.rows[1]] == [
        Settings(steps=steps, update="normalized") for steps in (0, 5, 10, 15, 20)
    ]
    assert {cell.seed for cell in strip.job.rows[1]} == {4}
    grid = make_comparison(parse_request({**FORM, "layout": GRID}), library)
    assert grid.rows == ("a", "b")
    assert [cell.prompt for cell in grid.job.rows[1]] == ["a ship", "a ship, b style", "a ship"]
    assert [cell.embedding.name if cell.embedding else "" for cell in grid.job.rows[1]] == ["", "", "b"]
    assert {cell.seed for row in grid.job.rows for cell in row} == {3}
    with pytest.raises(ae.AestheticError, match="Choose the aesthetics of the grid first"):
        make_comparison(parse_request({**FORM, "layout": GRID, "grid": None}), library)
    with pytest.raises(ae.AestheticError, match="Choose an aesthetic first"):
        make_comparison(parse_request({**FORM, "aesthetic": None}), library)


def test_only_valid_stored_values_are_restored():
    kept = {**FORM, "steps": 12, "cfg": "x", "count": 99, "aesthetic": ["a"], "other": 1, "prompt": "a tree"}
    assert dict(tab._valid_values(kept, FORM)) == {
        name: value for name, value in kept.items() if name not in ("cfg", "count", "aesthetic", "other")
    }
    for nothing in (None, [], "x", 3):
        assert dict(tab._valid_values(nothing, FORM)) == {}


def test_the_history_is_each_pages_own_and_bounded(tmp_path: Any):
    history, file = History(), tmp_path / "a.png"
    file.touch()
    mine, other = history.key(None), history.key("guessed")
    assert len({mine, other, "guessed"}) == 3
    results = [SimpleNamespace(file=str(file), number=i) for i in range(MAX_RESULTS + 3)]
    for result in results:
        history.add(mine, result)
    assert history.results(mine) == results[:2:-1]
    assert history.results(other) == history.results("guessed") == history.results({"a": 1}) == []
    assert history.key(mine) == mine
    history.add("guessed", results[0])
    assert history.results("guessed") == []
    for _ in range(MAX_PAGES):
        history.key(None)
    assert history.results(mine) == []
    again = history.key(None)
    history.add(again, results[0])
    file.unlink()
    assert history.results(again) == []  # its pictures are gone


def test_words_that_the_pocket_model_may_not_know():
    tokenizer = CLIPTokenizer.from_pretrained(pocket.MODEL)
    prompts = (pocket.MODEL.parent / "prompts.txt").read_text(encoding="utf-8").splitlines()
    assert vocabulary.unknown_words(" ".join([*EXAMPLES, *prompts]), tokenizer) == []
    assert vocabulary.unknown_words("A Zebra, a zebra and a ship", tokenizer) == ["zebra"]
    assert vocabulary.warning("a ship at sea", tokenizer) == ""
    assert len(vocabulary.warning("x" * 2000, tokenizer)) < 300


def test_examples_are_of_aesthetics_that_there_are():
    assert example_prompts([]) == {}
    assert list(example_prompts(["mine"]).values()) == ["mine"]
    assert example_prompts([*pocket.AESTHETICS, "mine"]) == EXAMPLES


def test_axes_have_whole_steps():
    for steps in (1, 2, 3, 5, 7, 10, 20, 50, 100):
        ticks = plots.ticks(0, steps, min_step=1)
        assert all(tick == int(tick) for tick in ticks)
        assert ticks[0] == 0
        assert ticks[-1] >= steps
        assert len(ticks) <= 7
    assert plots.ticks(-0.065, 0.305) == [-0.1, 0.0, 0.1, 0.2, 0.3, 0.4]
    svg = plots.curves({"a <b>": [0.1, 0.2, 0.3], "c": [0.1]})
    assert svg.count("<polyline") == 2
    assert svg.count("<circle") == 4
    assert "a &lt;b&gt;: 0.100 to 0.300" in svg
    assert plots.curves({}) == ""
