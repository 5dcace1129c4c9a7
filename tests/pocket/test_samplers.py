"""Samplers in place of Adam."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.text_encoder import tune
from aesthetic_embeddings.text_encoder.all_at_once import AllAtOnce

pytest.importorskip("diffusers")

from pocket_model.evaluate import Bench
from pocket_model.samplers import Sampler, cyclical, repulsion, variants

PROMPT = "a castle in a meadow"


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="module")
def aesthetic(bench: Bench) -> ae.AestheticEmbedding:
    return ae.create(pocket.SAMPLES / "gloomcore", bench.clip, name="gloomcore")


def test_without_temperature_every_sampler_is_adam_bit_for_bit(bench, aesthetic, monkeypatch):
    monkeypatch.setattr(tune, "_moving_weights", AllAtOnce)
    (e,) = aesthetic.vectors.values()
    settings = ae.Settings(steps=4)
    adam = ae.personalized_prompt(bench.pipeline, PROMPT, aesthetic, settings, cache=False).arguments["prompt_embeds"]
    for sampler in (Sampler(), Sampler(repulsion=0.1), Sampler(damping=1e-8)):
        for made in variants(bench.pipeline, PROMPT, e, settings, sampler, 2, seed=0):
            assert torch.equal(made, adam)


def test_samples_differ_by_their_seed_alone(bench, aesthetic):
    (e,) = aesthetic.vectors.values()
    for sampler in (
        Sampler(temperature=1e-5),
        Sampler(start=0.1),
        Sampler(1e-5, cycles=2),
        Sampler(1e-5, repulsion=0.1),
    ):
        runs = [list(variants(bench.pipeline, PROMPT, e, ae.Settings(steps=2), sampler, 2, seed)) for seed in (0, 0, 1)]
        assert all(map(torch.equal, runs[0], runs[1]))
        assert not torch.equal(runs[0][0], runs[0][1])
        assert not torch.equal(runs[0][0], runs[2][0])


def test_the_force_is_the_gradient_of_the_kernels():
    c = F.normalize(torch.randn(5, 7, generator=torch.Generator().manual_seed(0)), dim=-1)
    distances = torch.cdist(c, c).square()
    h = distances[~torch.eye(5, dtype=torch.bool)].median() / math.log(5)
    moved = c.clone().requires_grad_()
    kernels = torch.exp(-(moved[:, None] - c[None]).square().sum(-1) / h).mean(1)
    (towards,) = torch.autograd.grad(kernels.sum(), moved)
    torch.testing.assert_close(repulsion(c), -towards)
    assert repulsion(c[:1].expand(5, -1)).abs().max() == 0


def test_cycles_start_at_the_full_step_and_end_small():
    sizes = [cyclical(k, 20, 4, 1e-4) for k in range(1, 21)]
    assert sizes[:5] == sizes[5:10]
    assert sizes[0] == 1e-4
    assert sizes[4] < 1e-5
