"""Tuned values laid over a tower while its owner encodes again, and taken off after every call.

The owner's parameters are never written to. A hook puts another parameter in its place for the length of one call of
its module; a second hook, which also runs when the call raises, puts the owner's own object back. A matrix that moved
by an update of low rank stays where it is: what the update does to its input is added to its module's output.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..torch_states import no_autocast
from .matmul import Factors
from .recording import working_dtype
from .towers import FP8, Slot, Tower

#: What a slot's rows become: a function that returns them, or the update of low rank that is added to a matrix.
Value: TypeAlias = "Callable[[], Tensor] | Factors"


@contextmanager
def tuned_weights_applied(
    tower: Tower,
    values: Mapping[Slot, Value],
    row_ids: Tensor | None = None,
    rows: Tensor | None = None,
) -> Iterator[None]:
    """While the block runs, the tower's owner computes with `values` in place of what these slots store.

    values: functions among them are called at each use, so that nothing need be kept whole.
    row_ids: sorted token ids `[n]` whose rows of the embedding table are `rows` `[n, width]`; the table is large.
    """
    updates = {s: value for s, value in values.items() if isinstance(value, Factors) and s.is_its_owners_product}
    dtype = working_dtype(tower)
    formed = {slot: _formed(slot, value, dtype) for slot, value in values.items() if slot not in updates}
    formed = {**_beside_fp8(formed), **formed}
    by_parameter: dict[tuple[nn.Module, str], list[Slot]] = defaultdict(list)
    for slot in formed:
        by_parameter[slot.owner, slot.name].append(slot)
    with ExitStack() as stack:
        for slot, update in updates.items():
            stack.callback(slot.owner.register_forward_hook(_adding(update, dtype)).remove)
        for (owner, name), parts in by_parameter.items():
            _lay(owner, name, parts, formed, stack)
        if row_ids is not None and rows is not None:
            hook = tower.table.owner.register_forward_hook(_row_hook(row_ids, rows))
            stack.callback(hook.remove)
        yield


def _adding(update: Factors, dtype: torch.dtype) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def add(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        with no_autocast(out.device.type):
            return out + update.times(args[0].to(dtype)).to(out.dtype)

    return add


def _formed(slot: Slot, value: Value, dtype: torch.dtype) -> Callable[[], Tensor]:
    return (lambda: value.plus(slot.read().to(dtype))) if isinstance(value, Factors) else value


def _beside_fp8(values: Mapping[Slot, Callable[[], Tensor]]) -> dict[Slot, Callable[[], Tensor]]:
    """What else the modules store in which fp8 is tuned: laid over as it is, so that all of it is of one dtype.

    AUTOMATIC1111's `manual_cast` casts a module for its call and then back, to the dtype of its first parameter.
    """
    taken = {(slot.owner, slot.name) for slot in values}
    of_owner = {slot.owner: slot for slot in values if slot.parameter.dtype in FP8}
    others = [replace(slot, name=name) for slot in of_owner.values() for name in slot.owner._parameters]
    return {s: s.read for s in others if (s.owner, s.name) not in taken and s.owner._parameters[s.name] is not None}


def _lay(
    owner: nn.Module,
    name: str,
    parts: list[Slot],
    values: Mapping[Slot, Callable[[], Tensor]],
    stack: ExitStack,
) -> None:
    borrowed: list[Tensor] = []

    def put(*_: Any) -> None:
        if borrowed:
            return
        stored = parts[0].parameter
        dtype = torch.float32 if stored.dtype in FP8 else stored.dtype  # fp8 would round the tuning away
        with torch.no_grad():
            tuned = values[parts[0]]().to(stored.device, dtype)
            if tuned.shape != stored.shape:  # some of its rows only
                tuned = stored.detach().to(dtype, copy=True)
                for part in parts:
                    tuned[part.rows] = values[part]().to(tuned)
        borrowed.append(stored)
        # without gradient, or autocast would keep its cast copy beyond the call
        owner._parameters[name] = nn.Parameter(tuned, requires_grad=False)

    def take(*_: Any) -> None:
        if borrowed:
            owner._parameters[name] = borrowed.pop()  # type: ignore[assignment]

    used_from, used_until = parts[0].used_from or owner, parts[0].used_until or owner
    if used_from is used_until:
        handles = [
            used_from.register_forward_pre_hook(put),
            used_until.register_forward_hook(take, always_call=True),
        ]
    else:  # read between two calls
        handles = [used_from.register_forward_pre_hook(put), used_until.register_forward_pre_hook(take)]
    stack.callback(take)
    for handle in handles:
        stack.callback(handle.remove)


def _row_hook(row_ids: Tensor, rows: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def put(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        ids = args[0].to(row_ids.device)
        at = torch.searchsorted(row_ids, ids).clamp(max=len(row_ids) - 1)
        return torch.where((row_ids[at] == ids)[..., None].to(out.device), rows[at].to(out), out)

    return put
