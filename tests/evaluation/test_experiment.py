"""The paper's experiment on the pocket model, small: pictures, scores, tests, page; stopped and continued."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket

pytest.importorskip("diffusers")
pytest.importorskip("scipy")

from matplotlib.colors import to_rgb

from aesthetic_embeddings import Experiment, Scorer, Variant, evaluate
from aesthetic_embeddings.diffusion.png_metadata import read_metadata
from aesthetic_embeddings.engines import _start_process
from aesthetic_embeddings.evaluation.experiment import read_prompts, variants
from aesthetic_embeddings.evaluation.paired_test import compare
from aesthetic_embeddings.evaluation.report import _curves, _distributions

ROOT = Path(__file__).parents[2]
PROMPTS = ("a castle in a meadow", "a ship at sea", "a tree in the snow")


@pytest.fixture(scope="module")
def aesthetic() -> ae.AestheticEmbedding:
    folder = sorted(pocket.SAMPLES.iterdir())[0]
    return ae.create(folder, str(pocket.MODEL), name=folder.name)


def small(aesthetic: ae.AestheticEmbedding, **changed: object) -> Experiment:
    names = variants("original,keyword,personalized", ae.Settings(steps=2))
    values = {"prompts": PROMPTS, "images": 1, "sampler_steps": 2, "aesthetics": [aesthetic], "variants": names}
    return Experiment("pocket", **values | changed)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_an_interrupted_run_continues_without_repeating(aesthetic, tmp_path, monkeypatch):
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
    about = read_metadata(tmp_path / "a" / lines[2]["picture"])
    assert (about["prompt"], about["aesthetic_hash"]) == (PROMPTS[0], aesthetic.content_hash)
    text = page.read_text()
    assert all(prompt in text for prompt in PROMPTS)
    assert read_metadata(tmp_path / "a" / lines[2]["picture"])["scored_by"] == ["pocket"]
    assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")


class Brightness:
    """A judge that can be sent to a process."""

    def __call__(self, image: Image.Image, prompt: str) -> dict[str, float]:
        assert prompt in PROMPTS
        return {"brightness": float(np.asarray(image).mean()), "style aivazovsky": 0.5, "style other": 0.5}


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
import aesthetic_embeddings as ae
from tests.evaluation.test_experiment import small
torch.set_num_threads(1)
output, aesthetic, last = Path(sys.argv[1]), ae.load(sys.argv[2]), int(sys.argv[3])
def kill(done, total):
    if done == last:
        os.kill(os.getpid(), signal.SIGKILL)
ae.evaluate(small(aesthetic), output, encoder="pocket", on_progress=kill)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_run_continues_with_equal_bytes(aesthetic, tmp_path):
    file = aesthetic.save(tmp_path / "aesthetic.safetensors")
    for last, left in ((2, 2), (7, 7)):
        command = [sys.executable, "-c", KILLED, *map(str, (tmp_path / "killed", file, last))]
        assert subprocess.run(command, capture_output=True, cwd=ROOT).returncode == -signal.SIGKILL
        assert len(list((tmp_path / "killed").rglob("*.png"))) == left
    evaluate(small(ae.load(file)), tmp_path / "killed", encoder="pocket")
    evaluate(small(ae.load(file)), tmp_path / "whole", encoder="pocket")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_existing_pictures_are_scored_by_new_scorers(aesthetic, tmp_path, monkeypatch):
    experiment = small(aesthetic, prompts=PROMPTS[:1])
    evaluate(experiment, tmp_path / "both", encoder="pocket", judge=Brightness())
    evaluate(experiment, tmp_path / "later")
    monkeypatch.setattr("aesthetic_embeddings.diffusion.sampling.load_pipeline", None)
    head = Scorer("head", ((torch.ones(1, len(*aesthetic.vectors.values())), torch.zeros(1)),), 1.0)
    evaluate(experiment, tmp_path / "later", encoder="pocket", scorers={"head": head})
    line = json.loads((tmp_path / "later/results.jsonl").read_text().splitlines()[0])
    assert set(line["scores"]) == {"head", "prompt", "similarity aivazovsky"}
    evaluate(experiment, tmp_path / "later", encoder="pocket", judge=Brightness())
    assert files(tmp_path / "later") == files(tmp_path / "both")


def test_a_judge_has_a_column_for_each_aesthetic(aesthetic, tmp_path):
    other = dataclasses.replace(aesthetic, name="other")
    experiment = small(aesthetic, prompts=PROMPTS[:1], aesthetics=(aesthetic, other), variants=(Variant("original"),))
    text = evaluate(experiment, tmp_path / "a", judge=Brightness(), jobs=2).read_text()
    assert text.count("brightness</text>") + text.count("<!-- brightness -->") == 2
    assert text.count("<!-- style -->") == 2
    assert "style other" not in text


def test_a_folder_belongs_to_one_experiment(aesthetic, tmp_path):
    output = tmp_path / "a"
    evaluate(small(aesthetic, prompts=PROMPTS[:1]), output)
    with pytest.raises(ae.AestheticError, match="another prompts"):
        evaluate(small(aesthetic), output)
    with pytest.raises(ae.EncoderError):  # nothing was made there yet, so another may have the folder
        evaluate(small(aesthetic), tmp_path / "c", encoder="nobody/nothing")
    evaluate(small(aesthetic, prompts=PROMPTS[:1]), tmp_path / "c")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine.txt").write_text("mine")
    with pytest.raises(ae.AestheticError, match="is not empty"):
        evaluate(small(aesthetic), tmp_path / "b")


def test_several_processes_make_the_same_bytes_and_warn_as_their_parent_does(aesthetic, tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, jobs in (("one", 1), ("two", 2)):
            evaluate(small(aesthetic, prompts=PROMPTS[:1]), tmp_path / name, jobs=jobs)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert "Warning" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "fault"),
    [("", "holds no prompt"), ("\n\n", "holds no prompt"), ("a" * 3000, "a prompt of 3000 characters")],
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


def test_a_scorer_needs_its_clip(aesthetic, tmp_path):
    head = Scorer("head", ((torch.ones(1, 768), torch.zeros(1)),), 1.0)
    with pytest.raises(ae.AestheticError, match="The scorer head needs the CLIP that it was made for"):
        evaluate(small(aesthetic), tmp_path / "a", scorers={"head": head})
    with pytest.raises(ae.AestheticError, match="The scorer head is for CLIP features of 768 numbers, not 64"):
        evaluate(small(aesthetic), tmp_path / "a", encoder="pocket", scorers={"head": head})


FULL_DISK = """
import resource, sys
from aesthetic_embeddings.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on the size of files are POSIX")
def test_a_full_disk_is_one_line_and_the_same_command_continues(aesthetic, tmp_path):
    library = ae.Library([tmp_path / "library"])
    library.save(aesthetic)
    (tmp_path / "prompts.txt").write_text(PROMPTS[0])
    words = ["--library", tmp_path / "library", "evaluate", "--aesthetic", aesthetic.name, "--output", tmp_path / "out"]
    words += ["--prompts", tmp_path / "prompts.txt", "--images", 1, "--sampler-steps", 1, "--steps", 1]
    command = [sys.executable, "-c", FULL_DISK, *map(str, words)]
    full = subprocess.run(command, capture_output=True, text=True)
    assert full.returncode == 2
    said = " ".join(full.stderr.split())
    assert said.startswith("error: ")
    assert "cannot be written: File too large" in said
    assert not list((tmp_path / "out/pictures").rglob("*.*"))
    command[2] = FULL_DISK.replace("(4000, 4000)", "(-1, -1)")
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    assert len(list((tmp_path / "out/pictures").rglob("*.png"))) == 3


def test_processes_take_turns_on_the_gpus(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    started = multiprocessing.Value("i", 0)
    for _ in range(3):
        _start_process(lambda: print, started, warnings.filters)
    assert taken == [0, 1, 0]


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


def test_a_variant_has_one_color_in_every_figure_also_without_originals():
    lines = [
        {"prompt_number": i, "scores": {"prompt": 0.1 * i}, "similarities": {"clip": [0.1, 0.2 * i]}} for i in (1, 2)
    ]
    of_variant = {"original": [], "keyword": [{**line, "similarities": {}} for line in lines], "tuned": lines}
    (axes,) = _distributions(of_variant, ["prompt"], "").axes
    histogram = axes.get_legend_handles_labels()
    colors = {name: bar.get_facecolor()[:3] for bar, name in zip(*histogram, strict=True)}
    (curve,) = [line for line in _curves(of_variant).axes[0].lines if line.get_label() == "tuned (clip)"]
    assert list(colors) == ["keyword", "tuned"]
    assert to_rgb(curve.get_color()) == colors["tuned"] != colors["keyword"]
