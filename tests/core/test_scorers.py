"""Aesthetic scorers: their files, and what they compute."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import aesthetic_embeddings as ae
from aesthetic_embeddings import load_scorer
from aesthetic_embeddings.aesthetics.known_scorers import SCORERS
from aesthetic_embeddings.text_encoder.missing_parts import FETCHABLE

from .github import github

#: Scores of the paper's embeddings, taken as features: Simulacra's and LAION's heads for ViT-L/14.
KNOWN = {
    "aivazovsky": (6.87, 7.33),
    "cloudcore": (6.01, 6.43),
    "fantasy": (7.12, 8.08),
    "flower_plant": (7.13, 9.05),
    "gloomcore": (5.74, 6.41),
    "glowwave": (5.65, 6.88),
    "laion_7plus": (18.23, 19.21),
    "sac_8plus": (17.49, 13.82),
}


def simulacra(dim: int) -> nn.Module:
    module = nn.Module()
    module.linear = nn.Linear(dim, 1)
    return module


def improved(dim: int) -> nn.Module:
    layers = [nn.Linear(dim, 12), nn.Dropout(0.2), nn.Linear(12, 8), nn.Dropout(0.2), nn.Linear(8, 1)]
    module = nn.Module()
    module.layers = nn.Sequential(*layers)
    return module


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_each_kind_computes_its_formula(tmp_path: Path, suffix: str):
    x = torch.randn(3, 16)
    u = x / x.norm(dim=1, keepdim=True)
    a, b, c = simulacra(16), nn.Linear(16, 1), improved(16)
    for module, expected in ((a, a.linear(u * 4)), (b, b(u)), (c, c.layers.eval()(u))):
        path = tmp_path / f"head{suffix}"
        if suffix == ".pth":
            torch.save(module.state_dict(), path)
        else:
            safetensors.torch.save_file(module.state_dict(), path)
        torch.testing.assert_close(load_scorer(path)(x), expected[:, 0].detach())


def test_as_an_aesthetic_it_is_the_direction_in_which_the_score_grows(tmp_path: Path):
    module = improved(768)
    torch.save(module.state_dict(), tmp_path / "head.pth")
    scorer = load_scorer(tmp_path / "head.pth")
    x = torch.randn(1, 768, requires_grad=True)
    (gradient,) = torch.autograd.grad(module.layers.eval()(x).sum(), x)
    aesthetic = scorer.as_aesthetic()
    assert aesthetic.name == "head"
    torch.testing.assert_close(aesthetic.vectors["clip-vit-l-14"], gradient[0])


@pytest.mark.parametrize(
    "state",
    [
        {"weight": torch.zeros(2, 8), "bias": torch.zeros(2)},
        {"weight": torch.zeros(1, 8)},
        {"weight": torch.full((1, 8), float("nan")), "bias": torch.zeros(1)},
        {"layers.0.weight": torch.zeros(4, 8), "layers.0.bias": torch.zeros(4)},
        {
            "a.weight": torch.zeros(4, 8),
            "a.bias": torch.zeros(4),
            "b.weight": torch.zeros(1, 5),
            "b.bias": torch.zeros(1),
        },
        {"weight": torch.zeros(1, 8), "bias": torch.zeros(1), "more": torch.zeros(1)},
        {},
    ],
)
def test_files_that_are_not_scorers_are_refused(tmp_path: Path, state: dict[str, torch.Tensor]):
    torch.save(state, tmp_path / "head.pth")
    with pytest.raises(ae.FileError, match=r"head\.pth is not an aesthetic scorer"):
        load_scorer(tmp_path / "head.pth")


def test_no_code_in_a_file_runs(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"weight": Evil()}, tmp_path / "head.pth")
    with pytest.raises(ae.FileError, match="refused"):
        load_scorer(tmp_path / "head.pth")
    assert not (tmp_path / "evil").exists()


# ---- by name ----


def head_file(tmp_path: Path) -> bytes:
    torch.save(simulacra(768).state_dict(), tmp_path / "served.pth")
    return (tmp_path / "served.pth").read_bytes()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AESTHETIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_scorer_is_fetched_by_name_once_it_is_asked_for(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ae.FileError) as said:
        load_scorer("simulacra-l14")
    for part in ("4 kB", "aesthetic-gradients fetch simulacra-l14", "crowsonkb/simulacra-aesthetic-models", str(cache)):
        assert part in str(said.value)
    data, seen = head_file(tmp_path), []
    known = replace(SCORERS["simulacra-l14"], bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(FETCHABLE, "simulacra-l14", known)
    with github(data, "/crowsonkb/simulacra-aesthetic-models/master/" + known.path) as address:
        path = ae.fetch("simulacra-l14", lambda *done: seen.append(done), address)
    assert path == cache / "sac_public_2022_06_29_vit_l_14_linear.pth"
    assert seen[-1] == (len(data), len(data))
    torch.testing.assert_close(load_scorer("simulacra-l14")(torch.ones(1, 768)), load_scorer(path)(torch.ones(1, 768)))


def test_the_offline_way_is_as_the_error_says(tmp_path: Path, cache: Path):
    cache.mkdir()
    (cache / "sa_0_4_vit_l_14_linear.pth").write_bytes(head_file(tmp_path))
    assert load_scorer("laion-l14").dim == 768


@pytest.mark.parametrize("answer", [b"", b"<html>", b"x" * 4135, b"x" * 5000])
def test_an_unpublished_file_is_not_kept(cache: Path, answer: bytes):
    known = SCORERS["simulacra-l14"]
    with (
        github(answer, "/crowsonkb/simulacra-aesthetic-models/master/" + known.path) as address,
        pytest.raises(ae.FileError, match=re.escape(address)),
    ):
        known.fetch(endpoint=address)
    assert not cache.exists()


def test_an_unknown_scorer_says_which_there_are():
    with pytest.raises(ae.FileError, match=r"no scorer 'simulacra', and no such file\. There are simulacra-l14, "):
        load_scorer("simulacra")


def test_import_makes_an_aesthetic_of_a_scorer(tmp_path: Path):
    (tmp_path / "rated.pth").write_bytes(head_file(tmp_path))
    library = ae.Library([tmp_path / "library"])
    made = ae.load(library.import_(tmp_path / "rated.pth"))
    expected = load_scorer(tmp_path / "rated.pth").layers[0][0][0]
    torch.testing.assert_close(made.vectors["clip-vit-l-14"], expected)
    assert made.notes == "the direction in which the score of the aesthetic scorer rated grows; no pictures"
    torch.save(simulacra(512).state_dict(), tmp_path / "b16.pth")
    with pytest.raises(ae.AestheticError, match="no CLIP of a known model has these"):
        library.import_(tmp_path / "b16.pth")


def test_missing_and_damaged_files(tmp_path: Path):
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 50)
    (tmp_path / "b.pth").write_bytes(b"PK\x03\x04")
    head = b'{"linear.weight":{"dtype":"F8_E8M0","shape":[1,768],"data_offsets":[0,768]}}'  # torch has no such dtype
    (tmp_path / "d.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(768))
    for name in ("a.safetensors", "b.pth", "c.pth", "d.safetensors"):
        with pytest.raises(ae.FileError, match=name):
            load_scorer(tmp_path / name)


def test_features_of_another_clip(tmp_path: Path):
    torch.save(nn.Linear(16, 1).state_dict(), tmp_path / "head.pth")
    with pytest.raises(ae.AestheticError, match="for CLIP features of 16 numbers, not 8"):
        load_scorer(tmp_path / "head.pth")(torch.ones(2, 8))


@pytest.mark.skipif("AESTHETIC_DATA" not in os.environ, reason="AESTHETIC_DATA names no folder with the real files")
def test_known_answers_on_the_real_files():
    data = Path(os.environ["AESTHETIC_DATA"])
    heads = [load_scorer(data / f"scorers/{name}_vit_l_14_linear.pth") for name in ("sac_public_2022_06_29", "sa_0_4")]
    for file in (data / "scorers").iterdir():
        (known,) = [each for each in SCORERS.values() if each.file.name == file.name]
        assert (known.bytes, known.sha256) == (file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
    for name, expected in KNOWN.items():
        vector = ae.load(data / f"aesthetic_embeddings/{name}.pt").vectors["clip-vit-l-14"]
        assert [round(float(head(vector[None])), 2) for head in heads] == list(expected)
