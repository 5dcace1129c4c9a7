"""The update rules: how a weight w moves at step k = 1 ... n along g, the gradient of the objective, which is ascended.

To add a rule, write its equation as a function here, and name it in `UPDATE_RULES` and in settings.UPDATES.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

#: The fused kernel is there for the CPU from torch 2.4 on.
_FUSED = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4)


#: How many numbers a weight has; of several weights, a tensor.
Size: TypeAlias = "int | Tensor"


@dataclass(frozen=True)
class Step:
    """Step `k` of `n`, of size `eps`; `count` is k once more, as a tensor `[]` on the weights' device."""

    k: int
    n: int
    eps: float
    count: Tensor


def gradient(step: Step, norm: Callable[[], Tensor], numel: Size) -> float | Tensor:
    """w += eps * g   (Gallego 2022, equation 2)"""
    return step.eps


def normalized(step: Step, norm: Callable[[], Tensor], numel: Size) -> float | Tensor:
    """w += eps * (1 - (k-1)/n) * sqrt(numel(w)) * g / ||g||   (no step where g = 0)

    The first step has the root-mean-square size of Adam's; the decay ends the oscillation that a constant size shows.
    """
    size = step.eps * (1 - (step.k - 1) / step.n) * numel**0.5
    length = norm()
    return torch.where(length > 0, size / length, 0.0)


def adam(ws: list[Tensor], gs: list[Tensor], ms: list[Tensor], vs: list[Tensor], step: Step) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1), as torch.optim takes it in the published code:

    m += (1 - beta1) (g - m),   v += (1 - beta2) (g^2 - v)
    w += eps * m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k)) + 1e-8)
    """
    beta1, beta2, tiny, device = 0.9, 0.999, 1e-8, ws[0].device.type
    if device == "cuda" or (device == "cpu" and _FUSED):  # one pass over memory
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
    """factor: of a rule that is linear in g, the c of `w += c * g`, given the step, `||g||` when called, and numel(w);
    of several weights, `[n]` of each.
    The steps of such a rule add up to a matrix of low rank. None stands for Adam, which needs two moments of w's size.

    matrices_only: whether biases, norms and the embedding tables stay. The padding shares them, and the subject of the
        picture goes with them.
    """

    factor: Factor | None = None
    matrices_only: bool = False


UPDATE_RULES = {
    "adam": UpdateRule(),
    "normalized": UpdateRule(normalized, matrices_only=True),
    "gradient": UpdateRule(gradient),
}
