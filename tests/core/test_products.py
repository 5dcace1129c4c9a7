import pytest
import torch

from aesthetic_embeddings.products import outer, product


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
