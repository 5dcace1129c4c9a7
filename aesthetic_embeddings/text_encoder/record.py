"""Records what a text tower was given and what it returned, while the host encodes a prompt its own way.

Emphasis, textual inversion, chunking and LoRAs are the host's business. Tuning needs only their outcome: the input
embeddings, and the hidden states that the host computed from them. The check compares our forward with the latter.
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

# How far two correct forwards of the same weights may differ, relative to the hidden states' norm: attention kernels
# and orders of summation vary, and some compute softmax in fp32. An adapter that matters is far above.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 6e-2}


@dataclass(frozen=True)
class Recording:
    """One call of a tower.

    ids: `[batch, length]`; inputs: token embeddings, `[batch, length, width]`; hidden: hidden states after the final
    norm, `[batch, length, width]`; precision: the coarsest dtype that the host computed in.
    """

    ids: Tensor
    inputs: Tensor
    hidden: Tensor
    precision: torch.dtype

    def to(self, device: str) -> Recording:
        """The same on another device. Tuning runs on the device of its recording."""
        return Recording(self.ids.to(device), self.inputs.to(device), self.hidden.to(device), self.precision)


@contextmanager
def recording(*towers: Tower) -> Iterator[list[list[Recording]]]:
    """While the block runs, record every call of each tower by this thread. Yields one list of recordings per tower."""
    records: list[list[Recording]] = [[] for _ in towers]
    hooks = [hook for tower, found in zip(towers, records, strict=True) for hook in _recorders(tower, found)]
    with hooked(hooks):
        yield records


def _recorders(tower: Tower, found: list[Recording]) -> list[tuple[nn.Module, Hook]]:
    last: dict[str, Tensor] = {}

    def inputs(ids: Tensor, out: Tensor) -> None:
        last.update(ids=ids, inputs=out)

    def hidden(_: Tensor, out: Tensor) -> None:
        if "inputs" in last:  # for clip skip, hosts call the final norm alone as well
            clones = {name: _detached_clone(x) for name, x in last.items()}
            found.append(Recording(hidden=_detached_clone(out), precision=_precision(tower, out), **clones))
            last.clear()

    return [(tower.embedding, inputs), (tower.final_norm.weight.module, hidden)]


def _detached_clone(x: Tensor) -> Tensor:
    """A normal tensor with the values of `x`, also of one made under inference_mode, which autograd refuses."""
    with no_inference():
        return x.detach().clone()


def _precision(tower: Tower, out: Tensor) -> torch.dtype:
    """The coarsest dtype that the host computes in. Never raises, since it runs within the host's call."""
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
    """Run `encode` and return the tower's call. Raises EncoderError unless there was exactly one."""
    with recording(tower) as (found,), gradients(False):
        encode()
    return only_call(found)


def of_text(calls: list[Recording], row: int) -> Recording:
    """The recording of one text of a batch: its row of every call, as the chunks of one prompt.

    Hosts encode the texts of a batch side by side: each call has one chunk of every text. Raises EncoderError if the
    tower was not called, or the calls have different shapes.
    """
    if not calls or any(call.ids.shape != calls[0].ids.shape for call in calls):
        raise EncoderError("The text encoder was not called as CLIP's are: chunk after chunk, all of one length.")

    def rows(name: str) -> Tensor:
        return torch.stack([getattr(call, name)[row] for call in calls])

    return Recording(rows("ids"), rows("inputs"), rows("hidden"), coarsest(call.precision for call in calls))


def only_call(found: list[Recording]) -> Recording:
    """The only call in the list. Raises EncoderError if there is none, or several."""
    if len(found) != 1:
        raise EncoderError(f"Encoding the prompt should call its text encoder once, but called it {len(found)} times.")
    return found[0]


def coarsest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    return max(dtypes, key=lambda dtype: TOLERANCE.get(dtype, math.inf))
