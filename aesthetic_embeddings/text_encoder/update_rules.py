"""The update rules: how a weight w moves at step k = 1 ... n, given g, the gradient of the objective to be maximized.

To add a rule, write its equation as a function here, and add its name to `UPDATE_RULES` and to settings.UPDATES.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

#: The CPU has the fused kernel from torch 2.4 on.
FUSED_ON_CPU = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4)


#: The number of elements of a weight; for n weights at once a tensor `[n]`.
Size: TypeAlias = "int | Tensor"


@dataclass(frozen=True)
class Step:
    """Step `k` of `n`, with learning rate `eps`. `count` is k as a tensor `[]` on the weights' device."""

    k: int
    n: int
    eps: float
    count: Tensor


def gradient(step: Step, norm: Callable[[], Tensor], numel: Size) -> float | Tensor:
    """w += eps * g   (Gallego 2022, equation 2)"""
    return step.eps


def normalized(step: Step, norm: Callable[[], Tensor], numel: Size) -> float | Tensor:
    """w += eps * (1 - (k-1)/n) * sqrt(numel(w)) * g / ||g||   (w stays if g = 0)

    The root mean square of the first step equals that of Adam's. The decay prevents oscillation around the maximum.
    """
    size = step.eps * (1 - (step.k - 1) / step.n) * numel**0.5
    length = norm()
    return torch.where(length > 0, size / length, 0.0)


def adam(ws: list[Tensor], gs: list[Tensor], ms: list[Tensor], vs: list[Tensor], step: Step) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1), as torch.optim implements it, which the published code uses:

    m += (1 - beta1) (g - m),   v += (1 - beta2) (g^2 - v)
    w += eps * m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k)) + 1e-8)
    """
    beta1, beta2, tiny, device = 0.9, 0.999, 1e-8, ws[0].device.type
    if device == "cuda" or (device == "cpu" and FUSED_ON_CPU):  # one pass over memory
        torch._fused_adam_(
            ws,
            gs,
            ms,
            vs,
            [],
            [step.count] * len(ws),
            amsgrad=False,
            lr=step.eps,
            beta1=beta1,
            beta2=beta2,
            weight_decay=0.0,
            eps=tiny,
            maximize=True,
        )
        return
    for w, g, m, v in zip(ws, gs, ms, vs, strict=True):
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        root = v.sqrt().div_(math.sqrt(1 - beta2**step.k)).add_(tiny)
        w.addcdiv_(m, root, value=step.eps / (1 - beta1**step.k))


Factor: TypeAlias = Callable[[Step, Callable[[], Tensor], Size], "float | Tensor"]


@dataclass(frozen=True)
class UpdateRule:
    """An update rule.

    factor: for a rule that is linear in g, the function that returns c of `w += c * g`. It is given the step, a
        function that returns `||g||`, and numel(w). For n weights at once the last two and c are `[n]`. The steps of
        such a rule add up to a matrix of low rank. None means Adam, which keeps two moments of w's size.
    matrices_only: True if biases, norms and the embedding tables stay. The padding depends on them as well, and the
        subject of the picture is lost with it.
    """

    factor: Factor | None = None
    matrices_only: bool = False


UPDATE_RULES = {
    "adam": UpdateRule(),
    "normalized": UpdateRule(normalized, matrices_only=True),
    "gradient": UpdateRule(gradient),
}
