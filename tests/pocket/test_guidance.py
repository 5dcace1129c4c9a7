"""Guidance of the picture at every step, as it was tried on the pocket model."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from pocket_model.evaluate import Bench
from pocket_model.guidance import Guidance, guided, uphill

PROMPT = "a castle in a meadow"


def test_guidance_climbs_and_leaves_the_sampler_as_it_was():
    def right_half(x0: torch.Tensor) -> torch.Tensor:
        return x0[..., 8:].mean((1, 2, 3))

    bench = Bench()
    made = [bench.plain(PROMPT)]
    plain = bench.pictures(made, 0)
    with guided(bench.pipeline, right_half, Guidance(0.0)):
        assert bench.pictures(made, 0)[0].tobytes() == plain[0].tobytes()
    with guided(bench.pipeline, right_half, Guidance(1.0)):
        assert bench.pictures(made, 0)[0].tobytes() != plain[0].tobytes()
    with pytest.raises(ZeroDivisionError), guided(bench.pipeline, right_half, Guidance(1.0)):
        raise ZeroDivisionError
    assert "step" not in vars(bench.pipeline.scheduler)
    assert bench.pictures(made, 0)[0].tobytes() == plain[0].tobytes()
    assert uphill(torch.randn(3, 8, 16, 16), right_half, 1).square().mean((1, 2, 3)) == pytest.approx([1, 1, 1])
