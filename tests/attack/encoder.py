"""A text encoder that is lent: faults at torch's operations, interrupts at our lines, and many threads at once.

Each raises AssertionError, and says where, as soon as an encoder is not as it was.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import aesthetic_embeddings
from aesthetic_embeddings import Settings, personalized
from aesthetic_embeddings.torch_states import autocast_dtype

from ..core.encoders import DIM, KINDS, encoder, prompt
from ..core.test_borrowed import MODES, assert_as_it_was, snapshot

OURS = str(Path(aesthetic_embeddings.__file__).parent)
IDS = prompt(3)
Place = tuple[str, int]  # file and line

#: (kind of encoder, update rule, mode of torch)
VARIANTS = [
    ("text", "adam", "inference_mode"),
    ("text", "gradient", "autocast, no_grad"),
    ("open_clip", "normalized", "plain"),
]
ALL_VARIANTS = [
    *VARIANTS,
    *(each for each in itertools.product(KINDS, ("adam", "normalized", "gradient"), MODES) if each not in VARIANTS),
]


def use(enc: Any, update: str) -> None:
    settings = Settings(steps=1, epsilon=1e-3, update=update)
    with personalized(enc.model, IDS, torch.ones(DIM), settings, enc.projection):
        enc.run(enc.model, IDS)


def state(enc: Any) -> Any:
    flags = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocast_dtype("cpu"))
    return snapshot(enc.model), flags, enc.run(enc.model, IDS)[0].clone()


def assert_unchanged(before: Any, enc: Any) -> None:
    assert_as_it_was(before[0], enc.model)
    after = state(enc)
    assert before[1] == after[1]
    assert torch.equal(before[2], after[2])


def ended(action: Callable[[], object], by: type[BaseException], before: Any, enc: Any, where: str = "") -> bool:
    """Whether the action ended by this exception. Either way the encoder has to be as it was before."""
    try:
        action()
        raised = False
    except by as error:
        raised, where = True, where or str(error)
    try:
        assert_unchanged(before, enc)
    except AssertionError as error:
        raise AssertionError(f"left changed by {by.__name__} before {where}") from error
    return raised


# ---- faults ---------------------------------------------------------------------------------------------------------


class Fault(Exception):
    """As an operation of torch raises it, out of memory say."""


class _FaultAt(TorchDispatchMode):
    """Raises in place of operation number `at`, those of the backward pass included."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.operations = at, itertools.count()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if next(self.operations) == self.at:
            raise Fault(f"operation {self.at}, {func}")
        return func(*args, **(kwargs or {}))


def faults_at_operations(kind: str, update: str, mode: str, every: int = 1) -> int:
    """A fault at every so manyth operation of one use of the encoder; returns how many there were."""
    enc = encoder(kind, torch.float32)
    enc.model.train()

    def failing(at: int) -> None:
        with _FaultAt(at):
            use(enc, update)

    with MODES[mode]():
        use(enc, update)
        before = state(enc)
        trials = takewhile(lambda at: ended(partial(failing, at), Fault, before, enc), itertools.count(step=every))
        return sum(1 for _ in trials)


# ---- interrupts -----------------------------------------------------------------------------------------------------


@contextmanager
def traced(on_line: Callable[[Place], None]) -> Iterator[None]:
    """`on_line` is called before every line of ours."""

    def trace(frame: Any, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            on_line((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def interrupts_at_lines(kind: str, update: str, mode: str) -> int:
    """An interrupt before the first and the last time that each line runs; returns how many there were."""
    enc = encoder(kind, torch.float32)
    enc.model.train()
    places: list[Place] = []

    def interrupted(at: int) -> None:
        lines = itertools.count()

        def on_line(place: Place) -> None:
            if next(lines) == at:
                raise KeyboardInterrupt(place)

        with traced(on_line):
            use(enc, update)

    with MODES[mode]():
        use(enc, update)
        before = state(enc)
        with traced(places.append):
            use(enc, update)
        first = {place: at for at, place in reversed(list(enumerate(places)))}
        last = {place: at for at, place in enumerate(places)}
        wanted = sorted({*first.values(), *last.values()})
        for at in wanted:
            if not ended(partial(interrupted, at), KeyboardInterrupt, before, enc, f"line {places[at]}"):
                raise AssertionError(f"line {places[at]} did not run again")
    return len(wanted)


def interrupts_at_registrations(kind: str, after: bool) -> int:
    """An interrupt before or after each hook that is registered; returns how many there were."""
    enc, register = encoder(kind, torch.float32), nn.Module.register_forward_hook

    def interrupted(at: int) -> None:
        calls = itertools.count()

        def registering(*args: Any, **kwargs: Any) -> Any:
            here = next(calls) == at
            if here and not after:
                raise KeyboardInterrupt
            handle = register(*args, **kwargs)
            if here:
                raise KeyboardInterrupt
            return handle

        with mock.patch.object(nn.Module, "register_forward_hook", registering):
            use(enc, "adam")

    use(enc, "adam")  # transformers 5 registers hooks of its own in a model's first forward
    before = state(enc)
    trials = takewhile(
        lambda at: ended(partial(interrupted, at), KeyboardInterrupt, before, enc, f"registration {at}"),
        itertools.count(),
    )
    return sum(1 for _ in trials)


# ---- threads --------------------------------------------------------------------------------------------------------


def threads(kind: str, update: str, rounds: int = 5, count: int = 2) -> tuple[int, int]:
    """So many threads tune, each towards its own aesthetic, and one encodes plainly; returns the runs of both kinds."""
    enc, ids = encoder(kind, torch.float32), prompt(8, 3)

    def plain() -> torch.Tensor:
        with torch.no_grad():
            return enc.run(enc.model, ids)[0]

    def tuned(seed: int) -> torch.Tensor:
        e = torch.randn(DIM, generator=torch.Generator().manual_seed(seed))
        settings, run = Settings(steps=2, epsilon=1e-3, update=update), lambda ids: enc.run(enc.model, ids)
        with torch.no_grad(), personalized(enc.model, ids, e, settings, enc.projection, encode=run):
            return enc.run(enc.model, ids)[0]

    expected, want = plain(), [tuned(seed) for seed in range(count)]
    before, faults, done, plain_runs = snapshot(enc.model), [], threading.Event(), 0

    def tuning(seed: int) -> None:
        for _ in range(rounds):
            if not torch.equal(tuned(seed), want[seed]):
                faults.append(f"thread {seed} did not get what it gets alone")

    def encoding() -> None:
        nonlocal plain_runs
        while not done.is_set() or not plain_runs:
            plain_runs += 1
            if not torch.equal(plain(), expected):
                faults.append("a plain run was not plain")

    def started(function: Callable[..., None], *args: Any) -> threading.Thread:
        def run() -> None:
            try:
                function(*args)
            except Exception as error:
                faults.append(repr(error))

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    beside = started(encoding)
    for thread in [started(tuning, seed) for seed in range(count)]:
        thread.join()
    done.set()
    beside.join()
    assert not faults, faults[:5]
    assert_as_it_was(before, enc.model)
    return plain_runs, rounds * count
