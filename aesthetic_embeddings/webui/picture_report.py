"""Reports what a job tuned: in the comments under the picture, and in its infotext."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from . import host, infotext
from .conditioner import PromptResult

_SATURATED = 0.9  # the pictures of an aesthetic themselves rarely reach this cosine with their mean
ADETAILER = (
    "ADetailer repaints its parts of the picture without the aesthetic. To include it, add aesthetic_gradients to "
    "'Script names to apply to ADetailer' under Settings, ADetailer."
)


class PictureReport:
    """Collects the results of a job. As more come in, it replaces its comments and updates the infotext."""

    def __init__(self, p: Any) -> None:
        self._p = p
        self._errors = [text for key, text in p.extra_generation_params.items() if key == infotext.ERROR]
        self._shown: list[str] = []
        self._results: list[tuple[PromptResult, bool]] = []  # with whether the host had cached it
        self._failures: dict[tuple[bool, bool], list[str]] = {}  # of this batch, by (negative, hires)
        self._similarities: dict[bool, list[str]] = {}  # of each picture of this batch, by negative

    def add_error(self, sentence: str) -> None:
        """Report an error of the whole job. The infotext gets it too, since API responses have no comments."""
        self._p.comment(f"Aesthetic gradients: {sentence}")
        if sentence not in self._errors:
            self._errors.append(sentence)
        self._write_errors()

    def expect(self, sentence: str) -> None:
        """Report an error that holds unless a conditioning is reported."""
        self._failures[False, False] = [sentence]
        self._show([f"Aesthetic gradients: {sentence}"])
        self._write_errors()

    def __call__(
        self, rows: list[list[PromptResult]], cached: bool, negative: bool = False, hires: bool = False
    ) -> None:
        """Report one conditioning.

        rows: for each prompt of the batch, the results of its texts; empty if the conditioning is plain on purpose.
        cached: whether it came from the host's cache.
        """
        results = list({id(result): result for row in rows for result in row}.values())  # equal prompts share theirs
        self._results += [(result, cached) for result in results]
        self._show(self._lines())
        self._failures[negative, hires] = [" ".join(result.notes) for result in results if not result.tuned]
        self._write_errors()
        if not hires:
            self._similarities[negative] = [_similarity([result for result in row if result.tuned]) for row in rows]
            pairs = zip_longest(self._similarities.get(False, []), self._similarities.get(True, []), fillvalue="")
            infotext.write_similarity(self._p.extra_generation_params, [line or other for line, other in pairs])

    def _show(self, lines: Iterable[str]) -> None:
        """Show these lines under the picture in place of those before."""
        for line in self._shown:
            self._p.comments.pop(line, None)
        self._shown = list(dict.fromkeys(lines))
        self._p.comments.update(dict.fromkeys(self._shown, 1))

    def _write_errors(self) -> None:
        failures = [sentence for failures_of_pass in self._failures.values() for sentence in failures_of_pass]
        infotext.write_errors(self._p.extra_generation_params, [*self._errors, *failures])

    def _lines(self) -> Iterable[str]:
        targets = {result.target.content: result.target for result, _ in self._results}
        for content, target in targets.items():
            of_target = [
                (result, cached)
                for result, cached in self._results
                if result.tuned and result.target.content == content
            ]
            if of_target:
                similarity = _similarity([result for result, _ in of_target])
                yield f"Aesthetic gradients: {target.embedding.name}, similarity {similarity} ({_timing(of_target)})."
        for result, _ in self._results:
            for note in result.notes:
                yield f"Aesthetic gradients: {note}"
            if advice := _advice(result):
                yield f"Aesthetic gradients: {advice}"
        if any(result.tuned for result, _ in self._results) and host.adetailer_skips_us(self._p):
            yield f"Aesthetic gradients: {ADETAILER}"


def _similarity(results: list[PromptResult]) -> str:
    """The similarity before and after tuning for each encoder. Empty without results."""
    lines = []
    for family in dict.fromkeys(family for result in results for family in result.similarities):
        runs = [result.similarities[family] for result in results if family in result.similarities]
        before, after = ([run[i] for run in runs] for i in (0, -1))
        name = f" ({family})" if len(results[0].similarities) > 1 else ""
        lines.append(f"{_range(before)} → {_range(after)}{name}")
    return "; ".join(lines)


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


def _timing(results: list[tuple[PromptResult, bool]]) -> str:
    tuned = [result for result, cached in results if result.seconds and not cached]
    reused = len(results) - len(tuned)
    if not tuned:
        return "reused"
    prompts = f"{len(tuned)} prompts " if len(tuned) > 1 else ""
    also = f", {reused} reused" if reused else ""
    return f"{prompts}tuned in {sum(result.seconds for result in tuned):.1f} s{also}"


def _advice(result: PromptResult) -> str:
    """Advice to take fewer or smaller steps, where that would do better. Empty otherwise."""
    for run in result.similarities.values():
        if run[-1] < run[0]:
            return "the similarity fell. Epsilon is too large for this update rule: take a smaller one."
        if max(run) > _SATURATED:
            steps = next(step for step, similarity in enumerate(run) if similarity > _SATURATED)
            return f"saturated after {steps} steps. Fewer keep more of the prompt."
    return ""
