"""The paper's experiment on the pocket model, small: pictures, scores, tests, page; stopped and continued."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket

pytest.importorskip("diffusers")
pytest.importorskip("scipy")

from aesthetic_embeddings.diffusion.png_metadata import read_about
from aesthetic_embeddings.evaluation.evaluate import evaluate
from aesthetic_embeddings.evaluation.experiment import Experiment, read_prompts, variants
from aesthetic_embeddings.evaluation.paired_test import compare

PROMPTS = ("a castle in a meadow", "a ship at sea", "a tree in the snow")


@pytest.fixture(scope="module")
def aesthetic() -> ae.AestheticEmbedding:
    folder = sorted(pocket.SAMPLES.iterdir())[0]
    return ae.create(folder, str(pocket.MODEL), name=folder.name)


def small(aesthetic: ae.AestheticEmbedding, **changed: object) -> Experiment:
    values = {"prompts": PROMPTS, "images": 1, "sampler_steps": 2} | changed
    names = variants("original,keyword,personalized", ae.Settings(steps=2))
    return Experiment("pocket", (aesthetic,), names, **values)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_that_was_stopped_goes_on_and_makes_nothing_twice(aesthetic, tmp_path, monkeypatch):
    experiment, seen = small(aesthetic), []

    def stop(done: int, total: int) -> None:
        seen.append(total)
        if done == 4:
            raise ae.Interrupted("stopped")

    with pytest.raises(ae.Interrupted):
        evaluate(experiment, tmp_path / "a", encoder="pocket", on_progress=stop)
    before = files(tmp_path / "a")
    assert len([name for name in before if name.endswith(".png")]) == 4
    page = evaluate(experiment, tmp_path / "a", encoder="pocket")
    after = files(tmp_path / "a")
    assert {name: after[name] for name in before} == before
    assert set(seen) == {9}
    monkeypatch.setattr("aesthetic_embeddings.diffusion.sampling.load_pipeline", None)  # everything is there
    evaluate(experiment, tmp_path / "a", encoder="pocket")
    assert files(tmp_path / "a") == after

    lines = [json.loads(line) for line in (tmp_path / "a/results.jsonl").read_text().splitlines()]
    assert [line["variant"] for line in lines[:3]] == ["original", "keyword", "personalized"]
    assert all(set(line["scores"]) == {"prompt", f"similarity {aesthetic.name}"} for line in lines)
    assert [len(run) for line in lines[2::3] for run in line["similarities"].values()] == [3, 3, 3]
    about = read_about(tmp_path / "a" / lines[2]["picture"])
    assert (about["prompt"], about["aesthetic_hash"]) == (PROMPTS[0], aesthetic.content_hash)
    text = page.read_text()
    assert all(prompt in text for prompt in PROMPTS)
    assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")


def test_a_folder_belongs_to_one_experiment(aesthetic, tmp_path):
    output = tmp_path / "a"
    evaluate(small(aesthetic, prompts=PROMPTS[:1]), output)
    with pytest.raises(ae.AestheticError, match="another prompts"):
        evaluate(small(aesthetic), output)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine.txt").write_text("mine")
    with pytest.raises(ae.AestheticError, match="is not empty"):
        evaluate(small(aesthetic), tmp_path / "b")


def test_several_processes_make_the_same_bytes(aesthetic, tmp_path):
    for name, jobs in (("one", 1), ("two", 2)):
        evaluate(small(aesthetic, prompts=PROMPTS[:1]), tmp_path / name, jobs=jobs)
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize(
    ("text", "fault"),
    [("", "holds no prompt"), ("\n\n", "holds no prompt"), ("a" * 3000, "a prompt of 3000 letters")],
)
def test_prompt_files(tmp_path, text, fault):
    (tmp_path / "prompts.txt").write_text(text)
    with pytest.raises(ae.AestheticError, match=fault):
        read_prompts(tmp_path / "prompts.txt")


def test_ten_thousand_prompts_are_too_many(aesthetic):
    with pytest.raises(ae.AestheticError, match="10000 prompts are too many"):
        small(aesthetic, prompts=tuple(f"a tree {i}" for i in range(10_000)))


def test_variants_have_names_or_values():
    base = ae.Settings(steps=7)
    found = {v.name: v.settings for v in variants("original, personalized,strong,mine:steps=3:update=normalized", base)}
    assert found["original"] is None
    assert found["personalized"] == base
    assert found["strong"].steps == 20
    assert (found["mine"].steps, found["mine"].update) == (3, "normalized")
    for wrong in ("what", "mine:stepz=3", "mine:steps=x", "mine:steps=1000"):
        with pytest.raises(ae.AestheticError):
            variants(wrong, base)


def test_a_missing_clip_is_one_sentence_before_the_model_is_loaded(aesthetic, tmp_path, monkeypatch):
    monkeypatch.setattr("aesthetic_embeddings.diffusion.sampling.load_pipeline", None)
    with pytest.raises(ae.EncoderError, match="nobody/nothing"):
        evaluate(small(aesthetic), tmp_path / "a", encoder="nobody/nothing")


def test_the_paired_test_knows_its_answers():
    rng = np.random.default_rng(0)
    before = rng.normal(size=25)
    same = compare(before, before + rng.normal(size=25) * 0.5)
    assert same is not None
    assert same.p > 0.05
    assert same.low < 0 < same.high
    higher = compare(before, before + 1 + rng.normal(size=25) * 0.5)
    assert higher is not None
    assert higher.p < 0.001
    assert higher.low < 1 < higher.high
    assert higher.effect == pytest.approx(2, abs=0.7)
    assert compare([1, 2], [2, 3]) is None
