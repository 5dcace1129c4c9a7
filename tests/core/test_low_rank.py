import pytest
import torch

from aesthetic_embeddings.text_encoder.low_rank import LowRank, Rows
from aesthetic_embeddings.text_encoder.matmul import outer, product
from aesthetic_embeddings.text_encoder.matrix_by_matrix import LowRankMatrix, gradient_norm, kept_like
from aesthetic_embeddings.text_encoder.towers import Slot
from aesthetic_embeddings.text_encoder.update_rules import Step, gradient


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("rows", [(3,), (10,), (77,), (2, 5)])
def test_product(rows):
    x, w = random(*rows, 48), random(32, 48)
    assert error(product(x, w), x.double() @ w.double().T) < 1e-6
    assert error(product(x, random(48, 32).T), x.double() @ random(48, 32).double()) < 1e-6
    wide = random(96, 48)[32:64]  # open_clip's queries, keys and values lie in one matrix
    assert error(product(x, wide), x.double() @ wide.double().T) < 1e-6


def test_product_of_nothing_and_of_other_dtypes():
    assert product(random(0, 48), random(32, 48)).shape == (0, 32)
    assert product(random(3, 48).double(), random(32, 48).double()).dtype == torch.float64


def test_product_has_its_gradient():
    x, w = random(3, 48).requires_grad_(), random(32, 48)
    (gradient,) = torch.autograd.grad(product(x, w).sum(), x)
    assert torch.allclose(gradient, w.sum(0).expand(3, -1))


@pytest.mark.parametrize("count", [1, 10, 63, 64, 231])
@pytest.mark.parametrize(("height", "width"), [(64, 48), (30, 48), (48, 2**15)])
def test_outer(count, height, width):
    a, b, found = random(count, height), random(count, width), torch.full((height, width), torch.nan)
    for rows, part in outer(a, b):
        found[rows] = part
    assert error(found, a.double().T @ b.double()) < 1e-6


@pytest.mark.parametrize("kept", [torch.float32, torch.float16, torch.bfloat16])
def test_a_low_rank_update(kept):
    update = LowRank(random(7, 32).to(kept), random(7, 48).to(kept), 0.25)
    formed = 0.25 * update.a.double().T @ update.b.double()
    x, delta, w = random(2, 5, 48), random(2, 5, 32), random(1)
    assert error(update.times(x), x.double() @ formed.T) < 1e-6
    assert error(update.times_transposed(delta), delta.double() @ formed) < 1e-6
    assert error(update.formed(like=w), formed) < 1e-6


def test_the_norm_of_a_gradient_that_is_never_formed():
    delta, x = random(7, 32), random(7, 48)
    assert error(gradient_norm(delta, x), (delta.double().T @ x.double()).norm()) < 1e-6
    assert float(gradient_norm(0 * delta, x)) == 0


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize(("stored", "bar"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_factors_are_kept_in_the_precision_of_the_weights_and_in_range(stored, bar, size):
    slot = Slot(torch.nn.Linear(48, 32).to(stored), "weight")
    working = torch.empty(32 * 48)
    inputs = Rows(kept_like(slot, working), 6, 48)
    matrix = LowRankMatrix(slot, gradient, working, inputs, 6)
    deltas, xs = size * random(6, 32), random(6, 48)
    for k in (0, 1):
        matrix.move(deltas[3 * k :][:3], xs[3 * k :][:3], Step(k + 1, 2, 1.0, torch.tensor(k + 1.0)))
    update = matrix.change()
    assert update.a.dtype == update.b.dtype == stored
    assert error(update.formed(like=working), deltas.double().T @ xs.double()) < bar
