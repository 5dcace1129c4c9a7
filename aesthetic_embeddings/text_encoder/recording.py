"""What a tower was really given and really returned: the owner encodes its own way, and hooks listen.

Emphasis, textual inversion, chunking and lazily applied LoRAs are the owner's business. What tuning needs of them are
the input embeddings that came out of all that, and the hidden states that the owner got for them, which also tell
whether our forward computes the same thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EncoderError
from ..torch_states import autocast_dtype, no_autocast_or_inference
from .towers import FP8, Tower, Weights, hidden_states

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
    """While the block runs, note every call of each tower; yields one list of recordings per tower."""
    records: list[list[Recording]] = [[] for _ in towers]
    with ExitStack() as hooks:
        for tower, found in zip(towers, records, strict=True):
            _listen(tower, found, hooks)
        yield records


def _listen(tower: Tower, found: list[Recording], hooks: ExitStack) -> None:
    last: dict[str, Tensor] = {}

    def inputs(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], out: Tensor) -> None:
        last.update(ids=args[0] if args else kwargs["input"], inputs=out)

    def hidden(_: nn.Module, __: Any, out: Tensor) -> None:
        if "inputs" in last:  # hosts also call the final norm alone, on an earlier layer's output
            found.append(
                Recording(
                    hidden=_detached_clone(out),
                    precision=_precision(tower, out),
                    **{k: _detached_clone(v) for k, v in last.items()},
                )
            )
            last.clear()

    for handle in (
        tower.embedding.register_forward_hook(inputs, with_kwargs=True),
        tower.final_module.register_forward_hook(hidden),
    ):
        hooks.callback(handle.remove)


def _detached_clone(x: Tensor) -> Tensor:
    """A normal tensor with the values of `x`, also of one made under inference_mode, which autograd refuses."""
    with torch.inference_mode(False):
        return x.detach().clone()


def _precision(tower: Tower, out: Tensor) -> torch.dtype:
    """The coarsest dtype that the owner computes in. Never raises: the owner is in the middle of its call."""
    autocast = autocast_dtype(out.device.type) or out.dtype
    weight = getattr(tower.final_module, "weight", out)
    stored = out.dtype if weight is None or weight.dtype in FP8 else weight.dtype
    return _coarsest((out.dtype, stored, autocast))


def _coarsest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    return max(dtypes, key=lambda dtype: TOLERANCE.get(dtype, math.inf))


@contextmanager
def embeddings_replaced(tower: Tower, inputs: Tensor) -> Iterator[None]:
    """While the block runs, the token embedding returns `inputs` `[batch, length, width]`, whatever its ids."""
    handle = tower.embedding.register_forward_hook(lambda _, __, out: inputs.to(out))
    try:
        yield
    finally:
        handle.remove()


def record_once(tower: Tower, encode: Callable[[], Any]) -> Recording:
    """Run `encode` and return what the tower was called with. Raises EncoderError where it was not called just once."""
    with recording(tower) as (found,), torch.no_grad():
        encode()
    return only(found)


def of_text(calls: list[Recording], row: int) -> Recording:
    """What one text of a batch went into: its row of every call, as the chunks of one prompt.

    Hosts encode the texts of a batch side by side, one chunk of each text in a call. Raises EncoderError where the
    tower was not called, or the calls do not fit together.
    """
    if not calls or any(call.ids.shape != calls[0].ids.shape for call in calls):
        raise EncoderError("The text encoder was not called as CLIP's are: chunk after chunk, all of one length.")

    def rows(name: str) -> Tensor:
        return torch.stack([getattr(call, name)[row] for call in calls])

    return Recording(rows("ids"), rows("inputs"), rows("hidden"), _coarsest(call.precision for call in calls))


def only(found: list[Recording]) -> Recording:
    """The one call of a tower that encoding one text makes. Raises EncoderError where it made none, or several."""
    if len(found) != 1:
        raise EncoderError(f"Encoding the prompt should call its text encoder once, but called it {len(found)} times.")
    return found[0]


def check(tower: Tower, record: Recording) -> Recording:
    """Raise EncoderError unless our forward, on the recorded inputs, gives the recorded hidden states.

    A LoRA that is applied at call time, a patched layer, other attention: whatever changes a tower in a way that its
    weights do not show would be lost by tuning, so it is found here, before anything is tuned.

    Returns the recording with the hidden states of the whole tower, up to the last end-of-text token. They differ where
    the owner leaves the last layer out, as SD2 does: the objective needs it, while the conditioning does not.
    """
    end = int(tower.end_of_text(record.ids).max()) + 1  # causal: what follows does not matter
    inputs, hidden = record.inputs[:, :end], record.hidden[:, :end]
    with no_autocast_or_inference(inputs.device.type), torch.no_grad():
        x = first_layer_input(tower, inputs.to(working_dtype(tower)))
        weights, last = Weights(x), len(tower.layers) - 1
        x = hidden_states(tower, x, weights, 0, last)
        whole = hidden_states(tower, x, weights, last)
        early = weights.norm(tower.final_norm, x)
        error = min(float((ours - hidden.to(ours)).norm() / hidden.to(ours).norm()) for ours in (whole, early))
    tolerance = TOLERANCE.get(record.precision, 0.0)
    if inputs.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32:
        tolerance = max(tolerance, TOLERANCE[torch.float16])  # TF32 has fp16's mantissa
    if not error <= tolerance:
        raise EncoderError(
            f"The text encoder does not compute what its weights say (it is off by {error:.1%}): something patches it, "
            "such as a LoRA applied on the fly or an adapter. Merge or unload that, then try again."
        )
    return replace(record, inputs=inputs, ids=record.ids[:, :end], hidden=whole)


def working_dtype(tower: Tower) -> torch.dtype:
    """fp64 stays fp64; everything coarser is tuned in fp32."""
    return torch.float64 if tower.table.parameter.dtype == torch.float64 else torch.float32


def first_layer_input(tower: Tower, inputs: Tensor) -> Tensor:
    """Token embeddings `[batch, length, width]` plus the positions': what the first layer sees."""
    return inputs + Weights(inputs).read(tower.positions)[: inputs.shape[1]]
