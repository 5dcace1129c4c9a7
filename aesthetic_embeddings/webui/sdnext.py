"""SD.Next's way from prompts to conditioning (modules/prompt_parser_diffusers.py).

Its jobs have no methods to wrap. For each pass it builds a PromptEmbedder, which encodes each prompt together with its
negative prompt, by one of two functions, and keeps the result in a cache of the module. Here `build_embedder` builds
it. For a job with a hook, both functions are replaced meanwhile by ours, and the cache is emptied before and after: it
knows nothing of targets, nor of the parser. For other jobs nothing is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import EncoderError
from ..text_encoder.record import Recording, coarsest, recording
from ..text_encoder.replay import Tuned
from ..text_encoder.towers import Tower
from . import host, tags
from .conditioner import (
    OTHERS_PLAIN,
    PromptResult,
    part_locations,
    text_towers,
    tune_in_host,
    tuned_text,
    why_plain,
)
from .request import Target

ENCODERS = ("get_weighted_text_embeddings", "get_xhinker_text_embeddings")
#: What they return. What a model has no use for is None.
PARTS = ("prompt_embeds", "pooled", "mask", "negative_prompt_embeds", "negative_pooled", "negative_mask")
NOT_ENCODED = (
    "SD.Next did not use its prompt parser, so the picture stayed plain. Choose a model of Stable Diffusion or Flux, "
    "and another prompt attention than fixed."
)

_installed = False


def install() -> bool:
    """Let SD.Next build its embedders with `build_embedder`. Returns False in a host that has none.

    Done once: another extension may have wrapped ours since.
    """
    global _installed
    if not _installed and hasattr(host.prompt_parser, "PromptEmbedder"):
        host.prompt_parser.PromptEmbedder = partial(build_embedder, host.prompt_parser.PromptEmbedder)
        _installed = True
    return _installed


@dataclass
class Side:
    """The prompts of a pass, or its negative prompts: what they are tuned towards, and the result for each text."""

    negative: bool
    target: Target
    results: list[PromptResult] = field(default_factory=list)

    def alone(self, text: str) -> tuple[str, str]:
        """The prompt and the negative prompt with which an encoder encodes `text` on this side, and no other words."""
        return ("", text) if self.negative else (text, "")

    def conditioning(self, encoded: dict[str, Any]) -> dict[str, Tensor]:
        """This side's tensors of what an encoder returned."""
        of_side = {name: x for name, x in encoded.items() if name.startswith("negative") == self.negative}
        return {name: x for name, x in of_side.items() if isinstance(x, Tensor)}


def build_embedder(
    hosts_embedder: Callable[..., Any],
    prompts: list[str],
    negative_prompts: list[str],
    steps: int,
    clip_skip: int,
    p: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The host's embedder of these prompts, tuned as the job's hook wants it.

    If one text of a side cannot be tuned, the whole side stays plain: a picture should not be half personalized.
    """

    def build() -> Any:
        return hosts_embedder(prompts, negative_prompts, steps, clip_skip, p, *args, **kwargs)

    hook = vars(p).get("aesthetic_hook")
    if hook is None:
        return build()
    hires = bool(getattr(p, "is_hr_pass", False))
    prompts, tags_of_prompts = tags.split_prompts(p, prompts, False, hires, p.network_data)
    negative_prompts, tags_of_negative_prompts = tags.split_prompts(p, negative_prompts, True, hires, None)
    sides = []
    for negative, found in ((False, tags_of_prompts), (True, tags_of_negative_prompts)):
        targets = hook.targets(negative, hires, found[:1])  # the host takes those of one prompt for a batch as well
        sides += [Side(negative, target) for target in targets if target]
    results: dict[bool, list[PromptResult]] = {False: [], True: []}
    while True:
        with encoders_replaced(sides):
            embedder = build()
        results |= {side.negative: side.results for side in sides}
        tuned = [side for side in sides if all(result.tuned for result in side.results)]
        if len(tuned) == len(sides):
            break
        sides = [Side(side.negative, side.target) for side in tuned]
    for negative, of_side in results.items():
        hook.report([_to_report(of_side)] if of_side else [], False, negative, hires)
    return embedder


def _to_report(results: list[PromptResult]) -> list[PromptResult]:
    """A side's results; or if it stayed plain, those that say why, with a note if there are others."""
    failures = [result for result in results if not result.tuned]
    if failures and len(results) > 1:
        failures[-1] = replace(failures[-1], notes=(*failures[-1].notes, OTHERS_PLAIN))
    return failures or results


@contextmanager
def encoders_replaced(sides: Sequence[Side]) -> Iterator[None]:
    """A block inside which the host encodes towards these sides' targets. Without sides, it changes nothing.

    The host's cache is empty before and after.
    """
    parser = host.prompt_parser
    before = {name: getattr(parser, name) for name in ENCODERS if sides and hasattr(parser, name)}
    try:
        for name, function in before.items():
            parser.cache.clear()
            setattr(parser, name, TunedEncoder(function, sides))
        yield
    finally:
        for name, function in before.items():
            parser.cache.clear()
            setattr(parser, name, function)


@dataclass(frozen=True)
class TunedEncoder:
    """One of the host's ENCODERS, with these sides of its result tuned."""

    function: Callable[..., Sequence[Any]]
    sides: Sequence[Side]

    def __call__(self, pipe: Any, *texts: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The result for a prompt and its negative prompt. `texts` may have more arguments, which are the host's.

        An error on our side becomes a result instead of an exception, and the conditioning is then the plain one.
        """
        prompt, negative_prompt, *others = texts

        def encode(*texts: str) -> dict[str, Any]:
            """The host's encoding of these two texts, by default of both that were given."""
            texts = texts or (prompt, negative_prompt)
            return dict(zip(PARTS, self.function(pipe, *texts, *others, **kwargs), strict=True))

        encoded = encode()
        for side in self.sides:
            try:
                text = negative_prompt if side.negative else prompt
                tuned, result = _tuned(pipe, side, text, side.conditioning(encoded), encode)
            except Exception as error:
                tuned, result = {}, PromptResult(side.target, False, {}, 0.0, (why_plain(error),))
            encoded |= tuned
            side.results.append(result)
        return tuple(encoded.values())


def _tuned(
    pipe: Any, side: Side, text: str, plain: dict[str, Tensor], encode: Callable[..., dict[str, Any]]
) -> tuple[dict[str, Tensor], PromptResult]:
    """The tuned conditioning of one side, whose text this is, and its result. Raises if it cannot be tuned."""
    if not plain:
        raise EncoderError("This model takes no negative prompt.")
    if any(x.device.type == "meta" for x in plain.values()):  # the host then encodes without its parser
        raise EncoderError("SD.Next does not use its prompt parser with this model offload mode. Choose another.")
    target, settings, towers = side.target, side.target.settings, text_towers(pipe)
    locations = part_locations(pipe, towers)

    def record(text: str) -> list[Recording]:
        with host.without_infotext(), recording(*towers) as calls:
            encode(*side.alone(text))
        return [chunks(tower, of_tower) for tower, of_tower in zip(towers, calls, strict=True)]

    def tune() -> tuple[dict[str, Tuned], list[str]]:
        direction = record(settings.text) if settings.text and settings.text_strength else None
        return tune_in_host(target, towers, records, direction, locations)

    def encode_again() -> dict[str, Tensor]:
        with host.without_infotext():
            return side.conditioning(encode())

    records = record(text)
    return tuned_text(records, plain, target, tune, encode_again, locations)


def chunks(tower: Tower, calls: Sequence[Recording]) -> Recording:
    """The chunks of the only text in these calls, each once.

    SD.Next encodes a chunk again to mask words in it (compel's way of emphasis below 1) and to pool it, and it also
    encodes chunks without words. Raises EncoderError if the tower was not called, or the chunks differ in length.
    """
    rows = [(call, row) for call in calls for row in range(len(call.ids))]
    different: dict[tuple[int, ...], tuple[Recording, int]] = {}
    for call, row in rows:
        different.setdefault(tuple(call.ids[row].tolist()), (call, row))  # the first call of a chunk masks nothing
    with_words = [(call, row) for call, row in different.values() if tower.end_of_text(call.ids[row : row + 1]) > 1]
    found = with_words or rows[:1]
    if len({call.ids.shape[1] for call, _ in found}) != 1:
        raise EncoderError("The text encoder was not called as CLIP's are: chunk after chunk, all of one length.")

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(call, name)[row] for call, row in found])

    return Recording(stacked("ids"), stacked("inputs"), stacked("hidden"), coarsest(call.precision for call in calls))
