"""Aesthetic gradients (Gallego 2022, arXiv 2209.12330): a few steps of gradient ascent on the text tower's weights,

    c = CLIP_txt(y),   theta' <- theta' + eps * grad_theta'  cos(c, e)      (equation 2)

for one prompt y and a fixed unit vector e. `tune` below is the whole method. The modules it calls skip work that does
not change the result:

- Attention is causal, and the feature c is read at the end-of-text token. So later positions get no gradient, and the
  last layer needs only keys and values of the earlier ones (forward.py, prompt.py).
- Rows of the embedding tables that the prompt does not use get no gradient, and no rule moves a weight whose gradients
  were all zero (moving_weights.py).
- The gradient of a matrix is `delta^T x`, whose rank is at most the number of tokens. If the update is linear in the
  gradient, the sum of the updates has a low rank too, and the tuned matrix is never formed (matrix_by_matrix.py,
  low_rank.py).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..aesthetics.vectors import unit
from ..errors import AestheticError, EncoderError
from ..settings import Settings
from ..torch_states import gradients, no_autocast_or_inference
from .all_at_once import AllAtOnce
from .cuda_graph import replayed
from .matrix_by_matrix import MatrixByMatrix
from .moving_weights import MovingWeights
from .prompt import Prompt, detached_clone
from .record import Recording
from .replay import Tuned
from .towers import Tower


def tune(
    tower: Tower,
    record: Recording,
    e: Tensor,
    projection: Tensor,
    settings: Settings,
    on_step: Callable[[int, float], None] | None = None,
) -> Tuned:
    """Ascend the objective for one prompt. The tower is only read.

    record: the tower's call on the prompt, `[chunks, length]`. The objective is the mean over the chunks with text.
    e: `[dim]`, the aesthetic; only its direction matters. projection: `[dim, width]`.
    on_step: called with the number of steps done and the similarity. An exception in it ends the tuning.
    An empty prompt is not tuned, as published.
    Raises EncoderError if e or the projection do not fit the tower; AestheticError if a similarity is not finite.
    """
    _check_sizes(tower, e, projection)
    with no_autocast_or_inference(record.inputs.device.type):
        y = Prompt(tower, record)
        e = detached_clone(unit(e.flatten().cpu().double()), like=y.inputs)
        P = detached_clone(projection, like=y.inputs)

        n = 0 if settings.changes_nothing or y.empty else settings.steps
        theta = _moving_weights(tower, y, settings) if n else None
        similarities: list[Tensor] = []

        def report(similarity: Tensor) -> None:
            similarities.append(similarity)
            if on_step:
                on_step(len(similarities) - 1, float(similarity))

        if theta:
            with replayed(_step, theta, y, e, P) as step:
                for _ in range(n):
                    report(step())
        with gradients(False):
            report(_similarity(theta.hidden_states() if theta else y.hidden, y, e, P))

        found = torch.stack(similarities).cpu().tolist() if n else [float(similarities[0])] * (settings.steps + 1)
        if not torch.tensor(found).isfinite().all():
            raise AestheticError(
                "Tuning diverged: the similarity is not a finite number. Take fewer steps or a smaller epsilon."
            )
        return theta.tuned(tuple(found)) if theta else Tuned(tower, tuple(found))


def _step(theta: MovingWeights, y: Prompt, e: Tensor, P: Tensor) -> Tensor:
    """Take one step of ascent. Returns the similarity before it, `[]`."""
    with gradients(True):
        h = theta.hidden_states()
        similarity = objective = _similarity(h, y, e, P)
        if theta.settings.preservation:
            objective = similarity - theta.settings.preservation * y.drift(h)
    theta.ascend(objective)
    return similarity.detach()


def _similarity(h: Tensor, y: Prompt, e: Tensor, P: Tensor) -> Tensor:
    """The cosine of the prompt's feature and e, the mean over the chunks, `[]`."""
    c = y.pooled(h) @ P.T
    return torch.mean(c @ e / c.norm(dim=-1))


def text_feature(tower: Tower, record: Recording, projection: Tensor) -> Tensor:
    """The direction of a recorded text, `[dim]`: the mean over its chunks of `c / ||c||`."""
    with no_autocast_or_inference(record.inputs.device.type), gradients(False):
        y = Prompt(tower, record)
        return unit(y.pooled(y.hidden) @ detached_clone(projection, y.inputs).T).mean(0)


def _moving_weights(tower: Tower, prompt: Prompt, settings: Settings) -> MovingWeights:
    at_once = prompt.inputs.device.type != "cpu" and AllAtOnce.has_room(tower, prompt.inputs, settings)
    return (AllAtOnce if at_once else MatrixByMatrix)(tower, prompt, settings)


def _check_sizes(tower: Tower, e: Tensor, projection: Tensor) -> None:
    if projection.shape != (e.numel(), tower.width):
        raise EncoderError(
            f"An aesthetic of {e.numel()} numbers and a projection of {tuple(projection.shape)} do not fit a "
            f"text encoder {tower.width} wide. Use an aesthetic that was made for this model's CLIP."
        )
