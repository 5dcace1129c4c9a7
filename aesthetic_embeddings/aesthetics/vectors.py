"""Arithmetic on directions of CLIP space. Vectors are `[dim]`, of any float dtype. None is changed in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import AestheticError


def unit(x: Tensor) -> Tensor:
    """`x / ||x||` over the last dimension.

    Raises AestheticError if the norm is zero or not finite.
    """
    norm: Tensor = x.norm(dim=-1, keepdim=True)
    if not bool(torch.isfinite(norm).all()) or bool((norm == 0).any()):
        raise AestheticError("A vector of length zero, or with values that are not finite, has no direction.")
    return x / norm


def without(x: Tensor, n: Tensor | None) -> Tensor | None:
    """The unit vector of the component of x that is orthogonal to n; None if there is none.

    n: None, or one of norm zero, takes nothing from x.
    """
    u = unit(x)
    if n is not None and bool(n.norm()):
        u = u - (u @ unit(n)) * unit(n)
    return unit(u) if float(u.norm()) > 1e-3 else None


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The unit vector at fraction `t` of the arc from `a` to `b` (Shoemake 1985); both are normalized first.

    Opposite vectors have no unique arc: the result is then `a` up to t = 1/2, and `b` after it.
    """
    a, b = unit(a), unit(b)
    omega = torch.acos((a * b).sum(-1, keepdim=True).clamp(-1, 1))
    sin = torch.sin(omega)
    along = (torch.sin((1 - t) * omega) * a + torch.sin(t * omega) * b) / sin
    straight = a if t <= 0.5 else b
    return torch.where(sin.abs() < 1e-6, straight, along)


def mix(vectors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mix of directions `sum_i w_i e_i / ||e_i||`, `[dim]`. A negative weight pushes away.

    Raises AestheticError if the terms cancel.
    """
    total = sum((w * unit(e) for e, w in zip(vectors, weights, strict=True)), torch.zeros_like(vectors[0]))
    if float(total.norm()) <= 1e-6 * sum(abs(w) for w in weights):
        raise AestheticError("The mix cancels to zero. Change the weights, or leave one of the aesthetics out.")
    return total
