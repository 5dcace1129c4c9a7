"""What is said under the picture: one line for all that a job tuned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import infotext
from .conditioner import Outcome

_HIGH = 0.9  # a cosine that pictures of one aesthetic hardly reach with their own mean


def say(p: Any, fault: str) -> None:
    """Under the picture, and in it: the API's answers have no comments."""
    p.comment(f"Aesthetic gradients: {fault}")
    infotext.add_error(p.extra_generation_params, fault)


class Report:
    """Collects the outcomes of a job: says them in one comment, which it replaces as more come, and in the infotext."""

    def __init__(self, p: Any) -> None:
        self._comments: dict[str, int] = p.comments  # the host's: text -> 1, in order
        self._params: dict[str, Any] = p.extra_generation_params
        self._said: list[str] = []
        self._outcomes: list[tuple[Outcome, bool]] = []
        self._similarity: dict[bool, str] = {}  # of the negative prompt, and not

    def __call__(self, outcomes: list[Outcome], cached: bool, negative: bool = False, hires: bool = False) -> None:
        """outcomes: of one conditioning, none where it was to be plain. cached: the host's cache had it."""
        self._outcomes += [(outcome, cached) for outcome in outcomes]
        for line in self._said:
            self._comments.pop(line, None)
        self._said = list(dict.fromkeys(self._lines()))
        self._comments.update(dict.fromkeys(self._said, 1))
        for outcome in outcomes:
            if not outcome.tuned:
                infotext.add_error(self._params, " ".join(outcome.notes))
        if not hires:
            self._similarity[negative] = _similarity([(outcome, cached) for outcome in outcomes if outcome.tuned])
            infotext.write_similarity(self._params, self._similarity.get(False) or self._similarity.get(True, ""))

    def _lines(self) -> Iterable[str]:
        targets = {outcome.target.content: outcome.target for outcome, _ in self._outcomes}
        for content, target in targets.items():
            some = [(o, cached) for o, cached in self._outcomes if o.tuned and o.target.content == content]
            if some:
                yield f"Aesthetic gradients: {target.embedding.name}, similarity {_similarity(some)} ({_effort(some)})."
        for outcome, _ in self._outcomes:
            for note in outcome.notes:
                yield f"Aesthetic gradients: {note}"
            if word := _verdict(outcome):
                yield f"Aesthetic gradients: {word}"


def _similarity(some: list[tuple[Outcome, bool]]) -> str:
    """Before and after, of each encoder."""
    each = []
    for family in dict.fromkeys(family for outcome, _ in some for family in outcome.similarities):
        runs = [outcome.similarities[family] for outcome, _ in some if family in outcome.similarities]
        before, after = ([run[i] for run in runs] for i in (0, -1))
        name = f" ({family})" if len(some[0][0].similarities) > 1 else ""
        each.append(f"{_span(before)} → {_span(after)}{name}")
    return "; ".join(each)


def _span(values: list[float]) -> str:
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


def _effort(some: list[tuple[Outcome, bool]]) -> str:
    tuned = [outcome for outcome, cached in some if outcome.seconds and not cached]
    reused = len(some) - len(tuned)
    if not tuned:
        return "reused"
    prompts = f"{len(tuned)} prompts " if len(tuned) > 1 else ""
    also = f", {reused} reused" if reused else ""
    return f"{prompts}tuned in {sum(outcome.seconds for outcome in tuned):.1f} s{also}"


def _verdict(outcome: Outcome) -> str:
    """A word where more would be less."""
    for run in outcome.similarities.values():
        if run[-1] < run[0]:
            return "the similarity fell. Epsilon is too large for this update rule: take a smaller one."
        if max(run) > _HIGH:
            first = next(k for k, similarity in enumerate(run) if similarity > _HIGH)
            return f"saturated after {first} steps. Fewer keep more of the prompt."
    return ""
