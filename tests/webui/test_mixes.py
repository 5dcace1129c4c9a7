"""Mixes, chosen in the accordion."""

from __future__ import annotations

import pytest
import torch

import aesthetic_embeddings as ae

from .fake_host import Host
from .outside import cond

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both


def test_a_mix_tunes_towards_the_blend(host: Host):
    library = host.webui("host").library
    library.save(ae.blend([(library.get("dusk"), 0.7), (library.get("dawn"), -0.3)], "ready"))
    (mixed,) = host.generate(host.job("a castle", embedding="dusk:0.7 dawn:-0.3", steps=2))
    (ready,) = host.generate(host.job("a castle", embedding="ready", steps=2))
    assert torch.equal(cond(mixed), cond(ready))
