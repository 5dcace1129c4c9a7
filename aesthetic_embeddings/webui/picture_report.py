"""What stands under the picture: one line for all that a job tuned; and its infotext."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from . import host, infotext
from .conditioner import PromptResult

_HIGH = 0.9  # a cosine that pictures of one aesthetic hardly reach with their own mean
ADETAILER = (
    "ADetailer repaints its parts of the picture without the aesthetic. To include it, add aesthetic_gradients to "
    "'Script names to apply to ADetailer' under Settings, ADetailer."
)


class PictureReport:
    """Collects the results of a job: shows them in one comment, which it replaces as more come, and in the infotext."""

    def __init__(self, p: Any) -> None:
        self._p = p
        self._errors = [text for key, text in p.extra_generation_params.items() if key == infotext.ERROR]
        self._shown: list[str] = []
        self._results: list[tuple[PromptResult, bool]] = []  # each with whether the host's cache had it
        self._failures: dict[tuple[bool, bool], list[str]] = {}  # of the batch, by side and pass
        self._similarities: dict[bool, list[str]] = {}  # of each picture of the batch; of the negative prompts, and not

    def add_error(self, sentence: str) -> None:
        """Of the whole job. Also into the infotext: the API's answers have no comments."""
        self._p.comment(f"Aesthetic gradients: {sentence}")
        if sentence not in self._errors:
            self._errors.append(sentence)
        self._write_errors()

    def __call__(
        self, rows: list[list[PromptResult]], cached: bool, negative: bool = False, hires: bool = False
    ) -> None:
        """One conditioning. rows: the results of each prompt of the batch; none where it was to be plain.

        cached: the host's cache had it.
        """
        results = list({id(result): result for row in rows for result in row}.values())  # equal prompts share theirs
        self._results += [(result, cached) for result in results]
        for line in self._shown:
            self._p.comments.pop(line, None)
        self._shown = list(dict.fromkeys(self._lines()))
        self._p.comments.update(dict.fromkeys(self._shown, 1))
        self._failures[negative, hires] = [" ".join(result.notes) for result in results if not result.tuned]
        self._write_errors()
        if not hires:
            self._similarities[negative] = [_similarity([result for result in row if result.tuned]) for row in rows]
            both = zip_longest(self._similarities.get(False, []), self._similarities.get(True, []), fillvalue="")
            infotext.write_similarity(self._p.extra_generation_params, [own or other for own, other in both])

    def _write_errors(self) -> None:
        failures = [sentence for some in self._failures.values() for sentence in some]
        infotext.write_errors(self._p.extra_generation_params, [*self._errors, *failures])

    def _lines(self) -> Iterable[str]:
        targets = {result.target.content: result.target for result, _ in self._results}
        for content, target in targets.items():
            some = [(r, cached) for r, cached in self._results if r.tuned and r.target.content == content]
            if some:
                similarity = _similarity([result for result, _ in some])
                yield f"Aesthetic gradients: {target.embedding.name}, similarity {similarity} ({_effort(some)})."
        for result, _ in self._results:
            for note in result.notes:
                yield f"Aesthetic gradients: {note}"
            if advice := _advice(result):
                yield f"Aesthetic gradients: {advice}"
        if any(result.tuned for result, _ in self._results) and host.adetailer_leaves_us_out(self._p):
            yield f"Aesthetic gradients: {ADETAILER}"


def _similarity(results: list[PromptResult]) -> str:
    """Before and after, of each encoder; empty for no results."""
    each = []
    for family in dict.fromkeys(family for result in results for family in result.similarities):
        runs = [result.similarities[family] for result in results if family in result.similarities]
        before, after = ([run[i] for run in runs] for i in (0, -1))
        name = f" ({family})" if len(results[0].similarities) > 1 else ""
        each.append(f"{_span(before)} → {_span(after)}{name}")
    return "; ".join(each)


def _span(values: list[float]) -> str:
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


def _effort(some: list[tuple[PromptResult, bool]]) -> str:
    tuned = [result for result, cached in some if result.seconds and not cached]
    reused = len(some) - len(tuned)
    if not tuned:
        return "reused"
    prompts = f"{len(tuned)} prompts " if len(tuned) > 1 else ""
    also = f", {reused} reused" if reused else ""
    return f"{prompts}tuned in {sum(result.seconds for result in tuned):.1f} s{also}"


def _advice(result: PromptResult) -> str:
    """Where fewer or smaller steps would do better; empty elsewhere."""
    for run in result.similarities.values():
        if run[-1] < run[0]:
            return "the similarity fell. Epsilon is too large for this update rule: take a smaller one."
        if max(run) > _HIGH:
            first = next(k for k, similarity in enumerate(run) if similarity > _HIGH)
            return f"saturated after {first} steps. Fewer keep more of the prompt."
    return ""
