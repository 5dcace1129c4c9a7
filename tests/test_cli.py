"""The command line on the pocket model, as its user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

click_testing = pytest.importorskip("click.testing")

from aesthetic_embeddings import AestheticEmbedding, __version__, load, pocket  # noqa: E402
from aesthetic_embeddings.cli import main  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def run(folder, monkeypatch) -> Any:
    """Runs a command; gives its output, and fails where its exit status is not the one expected."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object, status: int = 0, input: str | None = None) -> str:
        arguments = ["--library", str(folder), *map(str, words)]
        result = click_testing.CliRunner().invoke(main, arguments, input=input)
        assert result.exit_code == status, (result.output, result.exception)
        return result.output

    return run


@pytest.fixture
def sac(run) -> None:
    run("create", "sac", pocket.SAMPLES / "glowwave")


def test_create_list_and_show(run, sac, folder):
    made = load(folder / "sac.safetensors")
    assert (made.images, made.encoder) == (12, "pocket")
    run("create", "moods/gloom", pocket.SAMPLES / "gloomcore")
    listed = run("list")
    assert "sac" in listed
    assert "moods/gloom" in listed
    shown = run("show", "sac")
    assert "12 images" in shown
    assert "moods/gloom" in shown
    assert "norm" in shown


def test_a_vector_from_each_encoder_and_one_more_later(run, folder, tmp_path):
    others = []
    for seed, dim in ((1, 8), (2, 12)):
        torch.manual_seed(seed)
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        vision = {**sizes, "image_size": 32, "patch_size": 16}
        text = {**sizes, "vocab_size": 99}
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=dim)
        others.append(tmp_path / f"clip-{dim}")
        transformers.CLIPModel(config).save_pretrained(others[-1])
    run("create", "dusk", pocket.SAMPLES / "glowwave", "--encoder", pocket.MODEL, "--encoder", others[0])
    first = load(folder / "dusk.safetensors")
    assert (len(first.vectors), first.encoder) == (2, "pocket, clip-8")
    run("create", "dusk", pocket.SAMPLES / "glowwave", "--encoder", others[1], status=2)
    run("create", "dusk", pocket.SAMPLES / "glowwave", "--encoder", others[1], "--add")
    both = load(folder / "dusk.safetensors")
    assert (len(both.vectors), both.images) == (3, 12)
    assert all(torch.equal(both.vectors[family], vector) for family, vector in first.vectors.items())
    assert "no aesthetic called 'dawn'" in run("create", "dawn", pocket.SAMPLES, "--add", status=2)


def test_an_existing_name_is_kept_unless_asked(run, sac, folder):
    before = (folder / "sac.safetensors").read_bytes()
    assert "already" in run("create", "sac", pocket.SAMPLES / "gloomcore", status=2)
    assert (folder / "sac.safetensors").read_bytes() == before
    run("create", "sac", pocket.SAMPLES / "gloomcore", "--overwrite")
    assert (folder / "sac.safetensors").read_bytes() != before


def test_pictures_that_cannot_be_read_are_listed(run, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (80, 60), "teal").save(pictures / "good.png")
    (pictures / "bad.jpg").write_bytes(b"\xff\xd8 cut")
    said = run("create", "mine", pictures)
    assert "bad.jpg" in said
    assert "1 pictures" in said


def test_blend_rename_delete_and_import(run, sac, folder, tmp_path):
    run("create", "gloom", pocket.SAMPLES / "gloomcore")
    run("blend", "dusk", "sac=0.7", "gloom=-0.3")
    sac_, gloom, dusk = (load(folder / f"{name}.safetensors").vectors for name in ("sac", "gloom", "dusk"))
    (family,) = dusk
    mixed = 0.7 * sac_[family] / sac_[family].norm() - 0.3 * gloom[family] / gloom[family].norm()
    assert torch.allclose(dusk[family], mixed)
    assert "number" in run("blend", "x", "sac=much", status=2)
    assert "cancels" in run("blend", "x", "sac=1", "sac=-1", status=2)
    run("rename", "dusk", "evening/dusk")
    assert (folder / "evening" / "dusk.safetensors").is_file()
    run("delete", "evening/dusk", status=1, input="n\n")
    run("delete", "evening/dusk", "--yes")
    assert not (folder / "evening" / "dusk.safetensors").exists()
    torch.save(torch.randn(1, 768).half(), tmp_path / "legacy.pt")
    run("import", tmp_path / "legacy.pt")
    assert list(load(folder / "legacy.safetensors").vectors) == ["clip-vit-l-14"]


def test_generate_writes_its_settings_into_the_picture(run, sac, folder, tmp_path):
    path = tmp_path / "picture.png"
    options = ("--steps", 2, "--sampler-steps", 2, "--seed", 7, "--negative-prompt", 'fog, "rain"\n')
    said = run("generate", "a ship at sea", "--aesthetic", "sac", *options, "--output", path)
    assert "similarity" in said
    with Image.open(path) as image:
        assert image.size == (128, 128)
        about = json.loads(image.text["aesthetic-gradients"])
    assert about["prompt"] == "a ship at sea"
    assert about["negative_prompt"] == 'fog, "rain"\n'
    assert about["seed"] == 7
    assert about["settings"]["steps"] == 2
    assert about["aesthetic_hash"] == load(folder / "sac.safetensors").content_hash
    before = path.read_bytes()
    run("generate", "a ship at sea", "--aesthetic", "sac", *options, "--output", path)
    assert path.read_bytes() == before


def test_generate_many_and_compare(run, sac, tmp_path):
    options = ("--aesthetic", "sac", "--steps", 1, "--sampler-steps", 1, "--seed", 3, "--count", 2)
    run("generate", "a tree", *options, "--output", tmp_path / "many")
    assert sorted(p.name for p in (tmp_path / "many").iterdir()) == ["3.png", "4.png"]
    run("generate", "a tree", *options, "--output", tmp_path / "tree.png")
    assert (tmp_path / "tree-3.png").is_file()
    run("generate", "a tree", *options, "--compare", "--output", tmp_path / "compare.png")
    with Image.open(tmp_path / "compare.png") as image:
        assert image.width > 2 * 256
        assert image.height > 2 * 256


def test_a_mix_on_the_fly(run, sac, tmp_path):
    run("create", "gloom", pocket.SAMPLES / "gloomcore")
    options = ("--steps", 1, "--sampler-steps", 1, "--seed", 3, "--output", tmp_path / "mix.png")
    said = run("generate", "a tree", "--aesthetic", "sac=0.7", "--aesthetic", "gloom=0.3", *options)
    assert "sac:0.7 gloom:0.3" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "sax"), "sac"),
        (("generate", "a tree", "--aesthetic", "nothing"), "no aesthetic called"),
        (("generate", "a tree", "--aesthetic", "sac", "--steps", "101"), "steps"),
        (("generate", "a tree", "--aesthetic", "sac", "--model", "nobody/nothing"), "nobody/nothing"),
        (("create", "../out", "PICTURES"), "cannot be a name"),
        (("create", "x", "PICTURES", "--encoder", "nobody/nothing"), "nobody/nothing"),
        (("rename", "sac", "CON"), "CON"),
        (("--library", "nowhere", "list"), "nowhere does not exist"),
        (("--library", "nowhere", "generate", "a tree", "--aesthetic", "sac"), "nowhere does not exist"),
        (("generate", "a tree", "--aesthetic", "sac", "--output", "x.jpg"), "--output x.png"),
        (("generate", "a tree", "--aesthetic", "sac", "--output", __file__), "is a file"),
        (("generate", "a tree", "--aesthetic", "sac", "--size", "12", "8"), "multiples of 8"),
    ],
)
def test_errors_are_one_line_and_exit_status_2(run, sac, words, said):
    words = [pocket.SAMPLES / "glowwave" if word == "PICTURES" else word for word in words]
    output = run(*words, status=2)
    assert said in output
    assert "Traceback" not in output
    assert len(output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "a tree", "--seed", "-1"), "--seed"),
        (("generate", "a tree", "--seed", "18446744073709551616"), "--seed"),
        (("generate", "a tree", "--size", "7", "7"), "--size"),
        (("generate", "a tree", "--size", "0", "0"), "--size"),
        (("generate", "a tree", "--cfg", "nan"), "--cfg"),
        (("generate", "a tree", "--device", "toaster"), "'toaster' is no device"),
        (("generate", "a tree", "--dtype", "int8"), "--dtype"),
        (("generate",), "PROMPT"),
        (("create", "dusk=0.5", "PICTURES"), "the weight 0.5"),
        (("blend", "dusk=0.5", "sac=1"), "the weight 0.5"),
        (("rename", "sac", "dusk=-.5"), "the weight -.5"),
    ],
)
def test_values_out_of_range_are_refused_before_any_work(run, sac, folder, words, said):
    words = [pocket.SAMPLES / "glowwave" if word == "PICTURES" else word for word in words]
    more = ("--aesthetic", "sac") if words[0] == "generate" else ()
    output = run(*words, *more, status=2)
    assert said in output.splitlines()[-1]
    assert "Traceback" not in output
    assert [path.name for path in folder.iterdir()] == ["sac.safetensors"]


def test_text_from_files_is_printed_as_text(run, folder, tmp_path):
    for name in ("a[/b]", "[red]x[/red]", ":smile:"):
        notes = "[/bold] \x1b[31mred\x1b[0m\u202e"
        e = AestheticEmbedding({"clip-vit-l-14": torch.randn(768)}, name=name, encoder="[/bold]", notes=notes)
        e.save(folder / f"{name}.safetensors")
    listed = run("list")
    shown = run("show", "a[/b]")
    assert "a[/b]" in listed
    assert "[red]x[/red]" in listed
    assert ":smile:" in listed
    assert "encoder [/bold]   [/bold] \\x1b[31mred\\x1b[0m\\u202e" in shown
    torch.save(torch.randn(1, 768), tmp_path / "[red]y[red].pt")
    (folder / "[red]damaged[red].pt").write_text("nothing")
    assert str(folder / "[red]y[red].safetensors") in run("import", tmp_path / "[red]y[red].pt")
    assert "error: [red]damaged[red]: " in run("list")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_the_terminal_cannot_show_is_escaped(folder, encoding):
    AestheticEmbedding({"clip-vit-l-14": torch.randn(768)}, notes="× 夕").save(folder / "夕焼け.safetensors")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "aesthetic_embeddings", "--library", folder]
    for words in (["list"], ["show", "夕焼け"], ["list", "--json"], ["show", "夜"]):
        done = subprocess.run([*command, *words], capture_output=True, env=environment)
        assert done.returncode == (2 if "夜" in words else 0), done.stderr
        assert b"Traceback" not in done.stderr
        assert b"\\u5915" in done.stdout + done.stderr


def test_without_a_terminal_each_row_is_a_line(run, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    AestheticEmbedding({"clip-vit-l-14": torch.randn(768)}).save(folder / f"{'long ' * 30}name.safetensors")
    (_, row) = run("list").strip().splitlines()
    assert row.strip().startswith("long " * 30)


def test_the_version(run):
    assert run("--version") == f"aesthetic-gradients {__version__}\n"


def test_a_list_for_programs(run, sac, folder):
    (folder / "damaged.safetensors").write_text("nothing")
    damaged, made = json.loads(run("list", "--json"))
    assert (damaged["name"], made["name"]) == ("damaged", "sac")
    assert "damaged.safetensors" in damaged["fault"]
    e = load(folder / "sac.safetensors")
    assert made["hash"] == e.content_hash
    assert made["families"] == {family: len(vector) for family, vector in e.vectors.items()}


def test_several_prompts_and_a_file_of_them(run, sac, tmp_path):
    (tmp_path / "prompts.txt").write_text("a ship at sea\n\na castle\n", encoding="utf-8")
    options = ("--aesthetic", "sac", "--steps", 1, "--sampler-steps", 1, "--seed", 3, "--count", 2)
    run("generate", "a tree", "--prompts", tmp_path / "prompts.txt", *options, "--output", tmp_path / "many")
    made = sorted((tmp_path / "many").iterdir())
    assert [path.name for path in made] == ["1-3.png", "1-4.png", "2-3.png", "2-4.png", "3-3.png", "3-4.png"]
    with Image.open(made[3]) as image:
        about = json.loads(image.text["aesthetic-gradients"])
    assert (about["prompt"], about["seed"]) == ("a ship at sea", 4)


@pytest.mark.parametrize(("flag", "columns"), [("--strip", 5), ("--grid", 3)])
def test_a_strip_and_a_grid(run, sac, tmp_path, flag, columns):
    run("create", "gloom", pocket.SAMPLES / "gloomcore")
    path = tmp_path / "sheet.png"
    chosen = ("--aesthetic", "sac", *(("--aesthetic", "gloom") if flag == "--grid" else ()))
    options = ("--steps", 1, "--sampler-steps", 1, "--seed", 3, "--device", "cpu", "--dtype", "bfloat16")
    run("generate", "a tree", *chosen, flag, *options, "--output", path)
    with Image.open(path) as image:
        assert columns * 256 < image.width < (columns + 1) * 264
        about = json.loads(image.text["aesthetic-gradients"])
    assert (about["sheet"], about["seeds"]) == (flag[2:], [3])
    if flag == "--grid":
        assert about["aesthetics"] == ["sac", "gloom"]
        assert image.height > 2 * 256


def test_an_empty_prompt_reports_that_nothing_was_tuned(run, sac, tmp_path):
    options = ("--aesthetic", "sac", "--steps", 1, "--sampler-steps", 1, "--output", tmp_path / "empty.png")
    assert "nothing was tuned" in run("generate", " ", *options)


def test_ctrl_c_keeps_the_finished_rows_of_a_sheet(run, sac, tmp_path, monkeypatch):
    from aesthetic_embeddings.diffusion import job

    make, calls = job.pictures, []

    def interrupted(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return make(*arguments, **options)

    monkeypatch.setattr(job, "pictures", interrupted)
    path = tmp_path / "compare.png"
    options = ("--steps", 1, "--sampler-steps", 1, "--seed", 3, "--count", 9, "--compare", "--output", path)
    assert "Aborted" in run("generate", "a tree", "--aesthetic", "sac", *options, status=1)
    with Image.open(path) as image:
        assert 2 * 256 < image.height < 3 * 256
        assert json.loads(image.text["aesthetic-gradients"])["seeds"] == [3, 4]


def test_ctrl_c_leaves_nothing_behind(run, sac, folder, tmp_path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "out" / "picture.png"
    monkeypatch.setattr("aesthetic_embeddings.diffusion.job.pictures", interrupted)
    assert "Aborted" in run("generate", "a tree", "--aesthetic", "sac", "--steps", 1, "--output", path, status=1)
    assert not path.parent.exists()
    monkeypatch.setattr("aesthetic_embeddings.large_sets.creation.create", interrupted)
    run("create", "new", pocket.SAMPLES / "gloomcore", status=1)
    assert [p.name for p in folder.iterdir()] == ["sac.safetensors"]


def test_debug_shows_the_traceback(run, folder):
    result = click_testing.CliRunner().invoke(main, ["--debug", "--library", str(folder), "show", "nothing"])
    assert result.exit_code == 1
    assert type(result.exception).__name__ == "AestheticError"


def test_an_aesthetic_of_another_clip_is_refused(run, folder):
    AestheticEmbedding({"clip-vit-l-14": torch.randn(768)}, name="sd1").save(folder / "sd1.safetensors")
    assert "clip-vit-l-14" in run("generate", "a tree", "--aesthetic", "sd1", status=2)


# ---- evaluate ----


@pytest.fixture
def evaluating(run, sac, tmp_path) -> Any:
    pytest.importorskip("scipy")
    (tmp_path / "prompts.txt").write_text("a castle in a meadow\n")
    words = ["--aesthetic", "sac", "--images", 1, "--sampler-steps", 2, "--steps", 2, "--output", tmp_path / "out"]

    def evaluating(*more: object, status: int = 0, prompts: str | None = None) -> str:
        if prompts is not None:
            (tmp_path / "prompts.txt").write_text(prompts)
        return run("evaluate", *words, "--prompts", tmp_path / "prompts.txt", *more, status=status)

    return evaluating


def test_evaluate_writes_a_page(evaluating, tmp_path):
    assert evaluating().split()[-1] == str(tmp_path / "out" / "index.html")
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("more", "prompts", "said"),
    [
        (["--scorer", "simulacra"], None, "no scorer 'simulacra', and no such file. There are simulacra-l14"),
        (["--scorer", "simulacra-l14"], None, "aesthetic-gradients fetch simulacra-l14"),
        (["--scorer", "HEAD"], None, "is for CLIP features of 768 numbers, not 64"),
        (["--encoder", "nobody/nothing"], None, "hf download nobody/nothing"),
        (["--model", "nobody/model", "--scorer", "HEAD"], None, "The scorer head needs the CLIP"),
        (["--variants", "stronk"], None, "There is no variant 'stronk'"),
        (["--engine", "ray", "--jobs", "2"], None, "--jobs is for this machine."),
        ([], "\n \n", "holds no prompt. Write one per line."),
        ([], "a tree\n" * 10_000, "10000 prompts are too many: take at most 1000."),
    ],
)
def test_errors_of_evaluate_are_one_line(evaluating, tmp_path, monkeypatch, more, prompts, said):
    monkeypatch.setenv("AESTHETIC_CACHE", str(tmp_path / "cache"))
    torch.save({"weight": torch.ones(1, 768), "bias": torch.zeros(1)}, tmp_path / "head.pth")
    more = [str(tmp_path / "head.pth") if word == "HEAD" else word for word in more]
    shown = evaluating(*more, status=2, prompts=prompts)
    line = shown.strip().splitlines()[-1] if "\n" in shown.strip() else shown.strip()
    assert said in " ".join(shown.split())
    assert "Traceback" not in line
    assert not list(tmp_path.rglob("out/pictures/*"))
