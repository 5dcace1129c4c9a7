"""A fault or an interrupt at any moment, on the way in, inside, or on the way out, leaves the encoder as it was."""

from __future__ import annotations

import pytest

from ..attack import encoder


@pytest.mark.parametrize(("kind", "update", "mode"), encoder.VARIANTS)
def test_an_interrupt_at_any_line(kind: str, update: str, mode: str) -> None:
    assert encoder.interrupts_at_lines(kind, update, mode) > 200


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["text", "open_clip"])
def test_an_interrupt_at_any_registration_of_a_hook(kind: str, after: bool) -> None:
    assert encoder.interrupts_at_registrations(kind, after) > 15


@pytest.mark.parametrize(("kind", "update", "mode"), encoder.VARIANTS)
def test_a_fault_of_torch(kind: str, update: str, mode: str) -> None:
    """At every seventh operation; at all of them: `python -m tests.attack`."""
    assert encoder.faults_at_operations(kind, update, mode, every=7) > 30
