"""Tuning by CUDA graphs: the card repeats a whole step by itself, instead of being told each of its operations.

Off, unless the environment variable AESTHETIC_CUDA_GRAPHS is 1: this has not run on a graphics card yet. To measure it
on one: `python -m benchmarks.device`, with and without `--cuda-graphs`.

A graph repeats its operations on the memory that they used when it was captured. So a `StepGraph` owns the memory of
everything that a step reads or writes. For each prompt, weights, tokens and aesthetic are copied there, the graph is
replayed once per step, and the moved weights are copied back. Weights that a LoRA has changed are copied like any
others. See https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.

- Prompts of similar length share a graph. This is exact: attention is causal, so no position that is read depends on
  the padding after it, and the padding gets no gradient.
- A graph is captured for the second prompt of its kind. The two graphs used last are kept, each with some five to
  seven copies of the moving weights (CLIP-L: about 2 GB). They go when their encoder does, and when memory is short.
- A step must not wait for the card. With `preservation` it does, so such prompts are tuned the ordinary way; so is a
  prompt while another thread uses a graph. Modules of the host play no part: a step reads weights alone (forward.py),
  whatever hooks, dropout or checkpointing its encoder has.
- If a capture fails, one line is logged, and this process takes the ordinary way from then on.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from threading import Lock
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import out_of_memory
from ..torch_states import gradients
from .all_at_once import AllAtOnce
from .moving_weights import MovingWeights
from .prompt import Prompt
from .update_rules import Step

#: What prompts have in common that can share a graph.
Kind: TypeAlias = "tuple[Any, ...]"
#: `step(theta, y, e, P)` moves theta, and returns the similarity before the step, `[]`.
StepFunction: TypeAlias = Callable[[Any, Prompt, Tensor, Tensor], Tensor]

#: The switch. A capture that fails turns it off.
enabled = os.environ.get("AESTHETIC_CUDA_GRAPHS") == "1"
DEVICE = "cuda"
BUCKET = 32  # lengths are rounded up to a multiple of it
KEPT = 2  # graphs; SDXL has two encoders

_graphs: OrderedDict[Kind, StepGraph] = OrderedDict()
_seen: deque[Kind] = deque(maxlen=32)
_in_use = Lock()  # one prompt at a time


@contextmanager
def replayed(
    step: StepFunction, theta: MovingWeights, y: Prompt, e: Tensor, P: Tensor
) -> Iterator[Callable[[], Tensor]]:
    """A block with a function that does what `step(theta, y, e, P)` does, by a graph where that is possible.

    theta has moved when the block ends.
    """
    allowed = enabled and theta.like.device.type == DEVICE and _in_use.acquire(blocking=False)
    try:
        graph = _graph(step, theta, y, e, P) if allowed else None
        if graph and isinstance(theta, AllAtOnce):
            graph.load(theta, y, e, P)
            yield graph.step
            graph.store(theta)
        else:
            yield partial(step, theta, y, e, P)
    except Exception as error:
        if allowed and out_of_memory(error):
            _graphs.clear()
        raise
    finally:
        if allowed:
            _in_use.release()


def _graph(step: StepFunction, theta: MovingWeights, y: Prompt, e: Tensor, P: Tensor) -> StepGraph | None:
    """The kept graph for such prompts, or a new one if this is the second of them."""
    global enabled
    if theta.settings.preservation:
        return None
    if not isinstance(theta, AllAtOnce):
        _graphs.clear()  # the card had no room for it
        return None
    kind = _kind(theta, y, P)
    if kind in _graphs:
        _graphs.move_to_end(kind)
        return _graphs[kind]
    if kind not in _seen:
        _seen.append(kind)
        return None
    while len(_graphs) >= KEPT:
        _graphs.popitem(last=False)
    if not AllAtOnce.has_room(theta.tower, theta.like, theta.settings):
        _graphs.clear()
        return None
    try:
        return _graphs.setdefault(kind, StepGraph(kind[-1], step, theta, y, e, P))
    except Exception as error:
        enabled = False
        _graphs.clear()
        reason = str(error).partition("\n")[0]
        logging.getLogger(__name__).warning("Tuning goes on without CUDA graphs, since a capture failed: %s", reason)
        return None


def _kind(theta: AllAtOnce, y: Prompt, P: Tensor) -> Kind:
    """It begins with the encoder, and ends with the length that each chunk is padded to."""
    tower, (chunks, length) = theta.tower, y.index.shape
    length = min(-(-length // BUCKET) * BUCKET, len(tower.positions.read()))
    encoder = weakref.ref(tower.table.module, _forget)
    return encoder, P.device, P.shape, theta.settings.update, theta.first, len(tower.layers), chunks, length


def _forget(encoder: weakref.ref[Any]) -> None:
    for kind in [kind for kind in _graphs if kind[0] is encoder]:
        _graphs.pop(kind, None)


class StepGraph:
    """A step for prompts of one kind: its operations, and the memory that they work on.

    It holds no reference to the encoder.
    """

    def __init__(self, length: int, step: StepFunction, theta: AllAtOnce, y: Prompt, e: Tensor, P: Tensor) -> None:
        self.length = length
        own_y, own_e, own_P = _padded(y, length), e.clone(), P.clone()
        own = _OwnWeights(theta.tower, own_y, theta.settings)
        self.inputs = _inputs(own, own_y, own_e, own_P)
        self.leaves, self.moments, self.sizes = own.leaves, own.moments, (own.sizes_on_device, own.blocks)
        self.scalars: tuple[Any, ...] = own.step.count, own.step.n, own.step.eps
        self.load(theta, y, e, P)
        self.replay, self.similarity = _capture(partial(step, own, own_y, own_e, own_P), P.device)

    def load(self, theta: AllAtOnce, y: Prompt, e: Tensor, P: Tensor) -> None:
        """Begin with a prompt: copy all that differs between prompts."""
        with gradients(False):
            for own, x in zip(self.inputs, _inputs(theta, _padded(y, self.length), e, P), strict=True):
                if own.shape != x.shape:
                    own.zero_()  # the padding
                own[tuple(map(slice, x.shape))].copy_(x)
            for moment in self.moments:
                moment.zero_()
            for scalar, value in zip(self.scalars, (1, theta.settings.steps, theta.settings.epsilon), strict=True):
                scalar.fill_(value)

    def step(self) -> Tensor:
        self.replay()
        return self.similarity.clone()  # the next replay overwrites it

    def store(self, theta: AllAtOnce) -> None:
        """End with a prompt: copy the moved weights back."""
        with gradients(False):
            for own, w in zip(self.leaves, theta.leaves, strict=True):
                w.copy_(own[: len(w)])


class _OwnWeights(AllAtOnce):
    """Weights whose step is made of tensors, which a graph can count up."""

    def set_step(self, k: Any) -> None:
        if isinstance(k, Tensor):
            self.step.count.copy_(k)
        else:
            numbers: Any = [self.like.new_zeros((), dtype=torch.float32) for _ in range(3)]  # filled by `load`
            count, n, eps = numbers
            self.step = Step(count, n, eps, count)

    def ascend(self, objective: Tensor) -> None:
        super().ascend(objective)
        del self.x  # autograd's graph behind it belongs to the current stream, which is another one in the capture


def _padded(y: Prompt, length: int) -> Prompt:
    """The prompt with `length` positions in each chunk, and as many rows as these could have distinct tokens."""
    padded, chunks, more = copy(y), len(y.index), length - y.length
    padded.length, padded.any_constant = length, True
    padded.inputs = F.pad(y.inputs, (0, 0, 0, more))
    padded.index, padded.constant = F.pad(y.index, (0, more)), F.pad(y.constant, (0, more))
    padded.rows = F.pad(y.rows, (0, 0, 0, chunks * length - len(y.rows)))
    padded.flat_ends = torch.arange(chunks, device=y.ends.device) * length + y.ends
    return padded


def _inputs(theta: AllAtOnce, y: Prompt, e: Tensor, P: Tensor) -> list[Tensor]:
    """All that a step reads, in a fixed order."""
    tables = [theta.rows, theta.positions] if theta.tables_move else []
    return [*theta.weights.values(), *tables, theta.fixed_x, y.inputs, y.index, y.constant, y.flat_ends, e, P]


def _capture(work: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """Capture `work` as torch's notes on CUDA graphs ask. Returns a function that repeats it, and its result."""
    with torch.cuda.device(device):
        before, side, graph = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(before)
        with torch.cuda.stream(side):
            for _ in range(3):  # libraries set themselves up in the first calls, which a graph cannot hold
                work()
        before.wait_stream(side)
        # An error at a capture's end leaves the wrong stream behind, hence the first block. Others' threads may use the
        # card during a capture, hence the mode.
        with torch.cuda.stream(before), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = work()
    return graph.replay, result
