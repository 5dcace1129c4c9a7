"""The issue's lines on generation, in both hosts."""

from __future__ import annotations

import torch

from .fake_host import Host


def test_off_is_the_hosts_own(host: Host):
    (plain,) = host.generate(host.job("a castle in a meadow", "blurred"))
    (again,) = host.generate(host.job("a castle in a meadow", "blurred", embedding="dusk", steps=3))
    assert not torch.equal(plain.c[0][0][0].cond, again.c[0][0][0].cond)
    assert torch.equal(plain.uc[0][0].cond, again.uc[0][0].cond)
