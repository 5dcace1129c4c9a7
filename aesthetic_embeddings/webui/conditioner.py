"""One prompt, encoded by the host's own code and tuned in between: record, check, tune, replay (see ../text_encoder/).

Emphasis, BREAK, AND, prompt editing, clip skip, LoRA and textual inversion all work because the host does them itself.
The second time it does so with the tuned weights applied to its text encoder.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..aesthetics.families import family_of_dimension
from ..errors import AestheticError, EncoderError, Interrupted, out_of_memory
from ..settings import Settings
from ..storage.lru_cache import LRUCache
from ..text_encoder.conditioning import Conditioning, tuned_conditioning
from ..text_encoder.missing_parts import lacks_last_layer
from ..text_encoder.personalize import blended, personalize_each, tune_where_memory_allows
from ..text_encoder.record import Recording, of_text, recording
from ..text_encoder.replay import Tuned
from ..text_encoder.towers import Tower, find_tower, without_clip_l_projection
from . import host
from .request import Target

Cond: TypeAlias = "Tensor | dict[str, Tensor]"  # `[batch, ...]`; SDXL has a dict of them


@dataclass(frozen=True)
class PromptResult:
    """The result for one text. If `tuned` is False it stayed plain, and `notes` say why.

    similarities: for each CLIP family, `steps + 1` cosines. seconds: the time that tuning took, 0 if it was cached.
    """

    target: Target
    tuned: bool
    similarities: dict[str, tuple[float, ...]]
    seconds: float
    notes: tuple[str, ...] = ()


OLD_EXTENSION_ACTIVE = "the old extension is on for this picture, so this one stands back. Set its dropdown to None."
OTHERS_PLAIN = "The other prompts encoded with it stayed plain too."

#: In the CPU's memory. The default limit holds about two hundred SD1 prompts.
tuned_prompts: LRUCache[Conditioning] = LRUCache(64 * 2**20)


def loaded_families() -> set[str]:
    """The CLIP families of the loaded model's text encoders. Empty without a model, or for an unknown one."""
    model = host.loaded_model()
    with suppress(AestheticError, AttributeError):
        widths = [find_tower(encoder).width for encoder in host.text_encoders(model)]
        # these projections are square, so the width is also the family's dimension
        return {family for width in widths if (family := family_of_dimension(width))}
    return set()


def personalized_conditioning(
    function: Callable[..., Any], model: Any, prompts: Any, targets: Sequence[Target | None], *args: Any, **kwargs: Any
) -> tuple[Any, list[list[PromptResult]]]:
    """The conditioning of a batch of prompts, each tuned towards its target, and the results of each prompt.

    If one text cannot be tuned all stay plain: parts of one picture may be prompts of their own (AND, regions), and a
    picture should not be half personalized.
    function: a function of modules/prompt_parser.py, called as the host calls it, with `args` and `kwargs`.
    """
    if len(targets) != len(prompts):  # another extension has changed the prompts
        targets = [targets[0]] * len(prompts)
    conditioner = Conditioner(model)
    pairs = list(zip(prompts, targets, strict=True))
    conds: dict[tuple[str, Target | None], Any] = {}
    results: dict[tuple[str, Target | None], list[PromptResult]] = {}
    distinct = list(dict.fromkeys(pairs))
    for prompt, target in distinct:
        conditioner._target, conditioner._results = target, []
        batch = prompts if len(distinct) == 1 else host.copy_with_texts(prompts, [prompt])
        conds[prompt, target] = function(conditioner, batch, *args, **kwargs)
        results[prompt, target] = conditioner._results
        failures = [result for result in conditioner._results if not result.tuned]
        if failures:
            conditioner._target = None  # from here on it returns plain conditioning
            if len(conditioner._plain) > 1 or len(distinct) > 1:
                failures[-1] = replace(failures[-1], notes=(*failures[-1].notes, OTHERS_PLAIN))
            return function(conditioner, prompts, *args, **kwargs), [failures for _ in pairs]
    if len(distinct) == 1:
        return conds[distinct[0]], [results[pair] for pair in pairs]
    return host.join_conditioning([conds[pair] for pair in pairs]), [results[pair] for pair in pairs]


class Conditioner:
    """Replaces the host's model while it turns prompts into conditioning. All other attributes are the model's."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._target: Target | None = None  # without a target, texts stay plain
        self._results: list[PromptResult] = []
        self._plain: dict[tuple[str, ...], Cond] = {}  # texts -> the host's conditioning

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def get_learned_conditioning(self, texts: Any) -> Cond:
        """The host's conditioning of `texts` (all schedules of one prompt), with each text tuned separately.

        An error on our side becomes a result instead of an exception, and the conditioning is then the plain one.
        """
        encode, target = self._model.get_learned_conditioning, self._target
        if target is None or any(not result.tuned for result in self._results):
            key = tuple(texts)
            if key not in self._plain:
                self._plain[key] = encode(texts)
            return self._plain[key]
        if host.old_extension_is_active(self._model):
            return self._stay_plain(texts, encode(texts), target, OLD_EXTENSION_ACTIVE)
        try:
            towers = list(map(without_clip_l_projection, text_towers(self._model)))
        except Exception as error:
            return self._stay_plain(texts, encode(texts), target, why_plain(error))
        with recording(*towers) as calls:
            plain = self._plain[tuple(texts)] = encode(texts)
        try:
            by_text = self._tune_texts(texts, target, towers, calls, plain)
        except Exception as error:
            return self._stay_plain(texts, plain, target, why_plain(error))
        self._results += [result for _, result in by_text.values()]
        return _stacked([by_text[text][0] for text in texts], plain)

    def _stay_plain(self, texts: Any, plain: Cond, target: Target, reason: str) -> Cond:
        self._plain[tuple(texts)] = plain
        self._results.append(PromptResult(target, False, {}, 0.0, (reason,)))
        return plain

    def _tune_texts(
        self, texts: Any, target: Target, towers: list[Tower], calls: list[list[Recording]], plain: Cond
    ) -> dict[str, tuple[dict[str, Tensor], PromptResult]]:
        """Text -> its conditioning, blended with the plain one, and its result. Raises if one cannot be tuned."""
        settings, locations = target.settings, part_locations(self._model, towers)
        direction: list[Recording] | None = None
        by_text: dict[str, tuple[dict[str, Tensor], PromptResult]] = {}
        for row, text in enumerate(texts):
            if text in by_text:
                continue
            records = [of_text(tower_calls, row) for tower_calls in calls]
            plain_row = _row(plain, row)

            def tune(records: list[Recording] = records) -> tuple[dict[str, Tuned], list[str]]:
                nonlocal direction
                if direction is None and settings.text and settings.text_strength:
                    direction = self._record(host.copy_with_texts(texts, [settings.text]), towers)
                return tune_in_host(target, towers, records, direction, locations)

            def encode(row: int = row) -> dict[str, Tensor]:
                with host.without_infotext():
                    return _row(self._model.get_learned_conditioning(texts), row)

            by_text[text] = tuned_text(records, plain_row, target, tune, encode, locations)
        return by_text

    def _record(self, texts: Any, towers: list[Tower]) -> list[Recording]:
        with host.without_infotext(), recording(*towers) as calls:
            self._model.get_learned_conditioning(texts)
        return [of_text(tower_calls, 0) for tower_calls in calls]


def text_towers(model: Any) -> list[Tower]:
    """The CLIP text towers of the host's model. Raises EncoderError if it has none."""
    towers = [find_tower(encoder) for encoder in host.text_encoders(model)]
    if not towers:
        raise EncoderError("There is no CLIP text encoder in this model. Choose another, such as one of SD1 or SDXL.")
    return towers


def part_locations(model: Any, towers: list[Tower]) -> list[Path]:
    """Files and folders of this host that may hold parts of CLIP that the towers of `model` lack."""
    checkpoint = host.checkpoint_path(model) if any(map(lacks_last_layer, towers)) else None
    return [*([Path(checkpoint)] if checkpoint else []), *host.clip_folders()]


def tuned_text(
    records: list[Recording],
    plain: dict[str, Tensor],
    target: Target,
    tune: Callable[[], tuple[dict[str, Tuned], list[str]]],
    encode: Callable[[], dict[str, Tensor]],
    locations: list[Path],
) -> tuple[dict[str, Tensor], PromptResult]:
    """The conditioning of one text by tuned towers, blended with the plain one, and its result.

    The arguments are those of `tuned_conditioning`. Raises if the text cannot be tuned.
    """
    started = time.perf_counter()
    tuned, cached = tuned_conditioning(
        records, plain, target.content, target.settings, tune, encode, tuned_prompts, locations
    )
    seconds = 0.0 if cached else time.perf_counter() - started
    together = {
        name: blended(x, tuned.arguments[name].to(x), _settings_for_part(name, target.settings))
        for name, x in plain.items()
    }
    return together, PromptResult(target, True, tuned.similarities, seconds, tuned.notes)


def tune_in_host(
    target: Target,
    towers: list[Tower],
    records: list[Recording],
    direction: list[Recording] | None,
    locations: list[Path],
) -> tuple[dict[str, Tuned], list[str]]:
    """Tune on the encoder's device, or the one chosen in the settings. If its memory runs out, tune on the CPU."""

    def tune(prompt: list[Recording], text: list[Recording]) -> tuple[dict[str, Tuned], list[str]]:
        with host.progress(target.settings.steps) as on_step:
            return personalize_each(
                towers, prompt, target.embedding, target.settings, None, text or None, on_step, locations
            )

    return tune_where_memory_allows(tune, records, direction or [], host.free_memory, host.tuning_device)


def why_plain(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return "Interrupted, so the prompt stayed plain."
    if isinstance(error, AestheticError):
        return f"{error} The prompt stayed plain."
    if out_of_memory(error):
        return "Memory ran out, so the prompt stayed plain. Fewer tokens or the update rule 'normalized' need less."
    traceback.print_exception(type(error), error, error.__traceback__)
    return f"Something unexpected went wrong, so the prompt stayed plain: {error!r}. The console has more."


def _settings_for_part(part: str, settings: Settings) -> Settings:
    """Settings for one part. SDXL's `vector` also holds the picture's size, which blending on an arc would change."""
    return replace(settings, blend="lerp") if part == "vector" else settings


def _row(cond: Cond, row: int) -> dict[str, Tensor]:
    """The conditioning of one text, by part. SDXL has several parts, such as `crossattn` and `vector`."""
    return {name: x[row] for name, x in _parts(cond).items()}


def _stacked(rows: list[dict[str, Tensor]], like: Cond) -> Cond:
    parts = {name: torch.stack([row[name] for row in rows]) for name in _parts(like)}
    return parts if isinstance(like, dict) else parts[""]


def _parts(cond: Cond) -> dict[str, Tensor]:
    return cond if isinstance(cond, dict) else {"": cond}
