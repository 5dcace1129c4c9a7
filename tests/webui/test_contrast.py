"""Contrast in a host: on every surface, in the caches' keys, and never left out without a word."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
import torch

import aesthetic_embeddings as ae
from aesthetic_embeddings.aesthetics.families import clip_signature
from aesthetic_embeddings.aesthetics.neutral import NEUTRAL
from aesthetic_embeddings.settings import PRESETS

from .conftest import embedding
from .fake_host import FAMILY, WIDTH, Host
from .outside import close, cond, outside

WANTED: dict[str, Any] = {"embedding": "dusk", "steps": 3}


@pytest.fixture(autouse=True)
def no_neutral(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NEUTRAL, "cached", "not-here.npy", raising=False)


def save(host: Host, e: ae.AestheticEmbedding) -> None:
    host.webui("host").library.save(e, overwrite=True)


def told_apart(host: Host) -> None:
    save(host, replace(embedding("dusk", 1), against=embedding("ordinary", 5).vectors))


def generate(host: Host, prompt: str = "a castle", **chosen: Any) -> tuple[torch.Tensor, list[str], dict[str, Any]]:
    p = host.job(prompt, **chosen)
    (picture,) = host.generate(p)
    return cond(picture), [*p.comments], p.extra_generation_params


def test_the_host_tunes_as_the_core_does(host: Host) -> None:
    told_apart(host)
    plain, *_ = generate(host)
    ours, comments, _ = generate(host, **WANTED, contrast=0.75)
    assert close(ours, outside(host, "a castle", steps=3, contrast=0.75), plain)
    assert "similarity" in comments[0]
    assert torch.equal(generate(host, **WANTED, contrast=0.0)[0], generate(host, **WANTED)[0])


def test_each_share_makes_its_own_picture(host: Host) -> None:
    told_apart(host)
    made = [generate(host, **WANTED, contrast=share)[0] for share in (0.0, 0.5, 1.0, 0.0)]
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[1], made[2])
    assert torch.equal(made[0], made[3])


def test_a_tag_may_ask_for_it(host: Host) -> None:
    told_apart(host)
    ours = generate(host, "a castle<aesthetic:dusk:1:steps=3:contrast=0.75>")[0]
    assert torch.equal(ours, generate(host, **WANTED, contrast=0.75)[0])


def test_what_is_missing_is_said_and_the_picture_is_as_published(host: Host) -> None:
    published, *_ = generate(host, **WANTED)
    ours, comments, _ = generate(host, **WANTED, contrast=1.0)
    assert torch.equal(ours, published)
    assert any("Contrast needs ordinary pictures" in comment and "'dusk'" in comment for comment in comments)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_works_without_a_neutral_embedding(host: Host, preset: str) -> None:
    wanted = {"embedding": "dusk"} | dataclasses.asdict(PRESETS[preset])
    ours, comments, _ = generate(host, **wanted)
    assert torch.equal(ours, generate(host, **wanted | {"contrast": 0.0})[0])
    said = [comment for comment in comments if "Tuned without contrast" in comment]
    assert len(said) == (PRESETS[preset].contrast > 0)


def test_a_neutral_embedding_in_the_library_is_used_at_once(host: Host) -> None:
    published, *_ = generate(host, **WANTED, contrast=1.0)
    save(host, embedding("neutral", 5))
    ours, comments, _ = generate(host, **WANTED, contrast=1.0)
    assert not torch.equal(ours, published)
    assert not any("Contrast needs" in comment for comment in comments)
    save(host, embedding("neutral", 6))
    assert not torch.equal(generate(host, **WANTED, contrast=1.0)[0], ours)


def test_another_clip_leaves_the_picture_plain_unless_the_user_insists(host: Host) -> None:
    plain, *_ = generate(host)
    save(host, replace(embedding("dusk", 3), clips={FAMILY: clip_signature(torch.randn(WIDTH, WIDTH))}))
    ours, comments, _ = generate(host, **WANTED)
    assert torch.equal(ours, plain)
    assert any("another CLIP" in comment for comment in comments)
    insisted, *_ = generate(host, **WANTED, any_clip=True)
    save(host, embedding("dusk", 3))
    assert torch.equal(insisted, generate(host, **WANTED)[0])


def test_the_stock_projection_matches_whatever_checkpoint_is_loaded(host: Host, projection: torch.Tensor) -> None:
    published, *_ = generate(host, **WANTED)
    save(host, replace(embedding("dusk", 1), clips={FAMILY: clip_signature(projection)}))
    assert torch.equal(generate(host, **WANTED)[0], published)
