from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aesthetic_embeddings import AestheticError, Settings, blended
from aesthetic_embeddings.aesthetics.vectors import mix, slerp, unit

numbers = st.lists(st.floats(-100, 100), min_size=3, max_size=3).map(lambda x: torch.tensor(x, dtype=torch.float64))
directions = numbers.filter(lambda x: float(x.norm()) > 1e-3)
fractions = st.floats(0, 1)


@given(directions, directions, fractions)
def test_slerp_goes_that_fraction_of_the_way(a, b, t):
    whole = torch.acos((unit(a) @ unit(b)).clamp(-1, 1))
    turned = slerp(a, b, t)
    assert float(turned.norm()) == pytest.approx(1)
    if 1e-3 < float(whole) < 3.14:  # opposite vectors span no single arc
        assert float(torch.acos((unit(a) @ turned).clamp(-1, 1))) == pytest.approx(t * float(whole), abs=1e-5)


def test_slerp_of_equal_and_opposite_vectors_is_a_unit_vector():
    a = torch.tensor([3.0, 4.0])
    assert torch.allclose(slerp(a, 2 * a, 0.3), unit(a))
    assert torch.allclose(slerp(a, -a, 0.3), unit(a))
    assert torch.allclose(slerp(a, -a, 0.9), -unit(a))


@given(directions, st.floats(0.1, 10))
def test_only_directions_are_mixed(a, scale):
    b = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    if float(unit(a) @ b) > -0.99:
        assert torch.allclose(mix([a, b], [0.7, 0.3]), mix([scale * a, b], [0.7, 0.3]))


def test_a_mix_that_cancels_is_an_error():
    a = torch.randn(768)
    with pytest.raises(AestheticError, match="cancels"):
        mix([a, 3 * a], [0.5, -0.5])
    with pytest.raises(AestheticError, match="cancels"):
        mix([a], [0.0])


@pytest.mark.parametrize("bad", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_what_points_nowhere_is_an_error(bad):
    with pytest.raises(AestheticError, match="no direction"):
        unit(torch.tensor(bad))


@pytest.mark.parametrize("blend", ["lerp", "slerp"])
def test_blending_conditionings(blend):
    plain, tuned = torch.randn(2, 77, 8), torch.randn(2, 77, 8)
    assert blended(plain, tuned, Settings(weight=0, blend=blend)) is plain
    assert blended(plain, tuned, Settings(weight=1, blend=blend)) is tuned
    almost = blended(plain, tuned, Settings(weight=0.999999, blend=blend))
    assert torch.allclose(almost, tuned, atol=1e-4)
    assert torch.allclose(blended(plain, plain, Settings(weight=0.5, blend=blend)), plain, atol=1e-6)
