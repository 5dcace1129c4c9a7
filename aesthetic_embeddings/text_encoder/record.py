"""What a tower was really given and really returned: the owner encodes its own way, and hooks listen.

Emphasis, textual inversion, chunking and lazily applied LoRAs are the owner's business. What tuning needs of them are
the input embeddings that came out of all that, and the hidden states that the owner got for them, which also tell
whether our forward computes the same thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EncoderError
from ..torch_states import autocast_dtype, gradients, no_inference
from .hooks import Hook, hooked
from .towers import FP8, Tower

# How far two correct forwards of the same weights stray from each other, relative to the hidden states' norm: other
# attention kernels, other orders of summing, softmax in fp32 whatever the dtype. An adapter that matters is far above.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 6e-2}


@dataclass(frozen=True)
class Recording:
    """One call of a tower: `ids` `[batch, length]`; `inputs` (token embeddings) and `hidden` (after the final norm),
    both `[batch, length, width]`; and the coarsest dtype that the owner computed in."""

    ids: Tensor
    inputs: Tensor
    hidden: Tensor
    precision: torch.dtype

    def to(self, device: str) -> Recording:
        """The same on another device; tuning runs where its recording is."""
        return Recording(self.ids.to(device), self.inputs.to(device), self.hidden.to(device), self.precision)


@contextmanager
def recording(*towers: Tower) -> Iterator[list[list[Recording]]]:
    """While the block runs, note every call of each tower by this thread; yields one list of recordings per tower."""
    records: list[list[Recording]] = [[] for _ in towers]
    hooks = [hook for tower, found in zip(towers, records, strict=True) for hook in _recorders(tower, found)]
    with hooked(hooks):
        yield records


def _recorders(tower: Tower, found: list[Recording]) -> list[tuple[nn.Module, Hook]]:
    last: dict[str, Tensor] = {}

    def inputs(ids: Tensor, out: Tensor) -> None:
        last.update(ids=ids, inputs=out)

    def hidden(_: Tensor, out: Tensor) -> None:
        if "inputs" in last:  # hosts also call the final norm alone, on an earlier layer's output
            clones = {name: _detached_clone(x) for name, x in last.items()}
            found.append(Recording(hidden=_detached_clone(out), precision=_precision(tower, out), **clones))
            last.clear()

    return [(tower.embedding, inputs), (tower.final_norm.weight.module, hidden)]


def _detached_clone(x: Tensor) -> Tensor:
    """A normal tensor with the values of `x`, also of one made under inference_mode, which autograd refuses."""
    with no_inference():
        return x.detach().clone()


def _precision(tower: Tower, out: Tensor) -> torch.dtype:
    """The coarsest dtype that the owner computes in. Never raises: the owner is in the middle of its call."""
    autocast = autocast_dtype(out.device.type) or out.dtype
    weight = getattr(tower.final_norm.weight.module, "weight", out)
    stored = out.dtype if weight is None or weight.dtype in FP8 else weight.dtype
    return coarsest((out.dtype, stored, autocast))


@contextmanager
def embeddings_replaced(tower: Tower, inputs: Tensor) -> Iterator[None]:
    """While the block runs, the token embedding returns `inputs` `[batch, length, width]`, whatever its ids."""
    with hooked([(tower.embedding, lambda _, out: inputs.to(out))]):
        yield


def record_once(tower: Tower, encode: Callable[[], Any]) -> Recording:
    """Run `encode` and return what the tower was called with. Raises EncoderError where it was not called just once."""
    with recording(tower) as (found,), gradients(False):
        encode()
    return only_call(found)


def of_text(calls: list[Recording], row: int) -> Recording:
    """What one text of a batch went into: its row of every call, as the chunks of one prompt.

    Hosts encode the texts of a batch side by side, one chunk of each text in a call. Raises EncoderError where the
    tower was not called, or the calls do not fit together.
    """
    if not calls or any(call.ids.shape != calls[0].ids.shape for call in calls):
        raise EncoderError("The text encoder was not called as CLIP's are: chunk after chunk, all of one length.")

    def rows(name: str) -> Tensor:
        return torch.stack([getattr(call, name)[row] for call in calls])

    return Recording(rows("ids"), rows("inputs"), rows("hidden"), coarsest(call.precision for call in calls))


def only_call(found: list[Recording]) -> Recording:
    """The one call of a tower that encoding one text makes. Raises EncoderError where it made none, or several."""
    if len(found) != 1:
        raise EncoderError(f"Encoding the prompt should call its text encoder once, but called it {len(found)} times.")
    return found[0]


def coarsest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    return max(dtypes, key=lambda dtype: TOLERANCE.get(dtype, math.inf))
