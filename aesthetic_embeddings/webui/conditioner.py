"""One prompt, encoded by the host's own code and tuned in between: record, check, tune, replay (see ../text_encoder/).

Emphasis, BREAK, AND, prompt editing, clip skip, LoRA and textual inversion all work because the host does them itself,
the second time with the tuned weights laid over its text encoder.
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
from ..text_encoder.personalize import blended, personalize_each
from ..text_encoder.record import Recording, of_text, recording
from ..text_encoder.replay import Tuned
from ..text_encoder.towers import Tower, find_tower, without_clip_l_projection
from . import host
from .request import Target

Cond: TypeAlias = "Tensor | dict[str, Tensor]"  # SDXL's has parts; `[batch, ...]` each


@dataclass(frozen=True)
class PromptResult:
    """What became of one text. Where `tuned` is False it stayed plain, and `notes` say why.

    similarities: for each CLIP family, `steps + 1` cosines; seconds: what tuning took, 0 where it was cached.
    """

    target: Target
    tuned: bool
    similarities: dict[str, tuple[float, ...]]
    seconds: float
    notes: tuple[str, ...] = ()


OLD_IS_ON = "the old extension is on for this picture, so this one stands back. Set its dropdown to None."
ALL_PLAIN = "The other prompts encoded with it stayed plain too."

#: Some two hundred prompts of SD1; on the CPU, where it is nothing.
tuned_prompts: LRUCache[Conditioning] = LRUCache(64 * 2**20)


def loaded_families() -> set[str]:
    """The CLIP families of the loaded model's text encoders; empty where there is no model yet, or an unknown one."""
    model = host.loaded_model()
    with suppress(AestheticError, AttributeError):
        widths = [find_tower(encoder).width for encoder in host.text_encoders(model)]
        return {family for width in widths if (family := family_of_dimension(width))}  # their projections are square
    return set()


def personalized_conditioning(
    function: Callable[..., Any], model: Any, prompts: Any, targets: Sequence[Target | None], *rest: Any, **more: Any
) -> tuple[Any, list[list[PromptResult]]]:
    """What the host's `function` makes of a batch of prompts, each tuned towards its target; and each one's results.

    Where one text cannot be tuned all stay plain: parts of one picture may be prompts of their own (AND, regions), and
    a picture is not half personalized. function: of modules/prompt_parser.py, called as the host calls it.
    """
    if len(targets) != len(prompts):  # another extension has changed the prompts on their way
        targets = [targets[0]] * len(prompts)
    conditioner = Conditioner(model)
    each = list(zip(prompts, targets, strict=True))
    made: dict[tuple[str, Target | None], Any] = {}
    results: dict[tuple[str, Target | None], list[PromptResult]] = {}
    distinct = list(dict.fromkeys(each))
    for prompt, target in distinct:
        conditioner._target, conditioner._results = target, []
        some = prompts if len(distinct) == 1 else host.like(prompts, [prompt])
        made[prompt, target] = function(conditioner, some, *rest, **more)
        results[prompt, target] = conditioner._results
        failures = [result for result in conditioner._results if not result.tuned]
        if failures:
            conditioner._target = None  # from here on it returns what it has recorded
            if len(conditioner._plain) > 1 or len(distinct) > 1:
                failures[-1] = replace(failures[-1], notes=(*failures[-1].notes, ALL_PLAIN))
            return function(conditioner, prompts, *rest, **more), [failures for _ in each]
    if len(distinct) == 1:
        return made[distinct[0]], [results[one] for one in each]
    return host.joined([made[one] for one in each]), [results[one] for one in each]


class Conditioner:
    """Stands in for the host's model while it turns prompts into conditioning; everything else is the model's own."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._target: Target | None = None  # without a target, texts stay plain
        self._results: list[PromptResult] = []
        self._plain: dict[tuple[str, ...], Cond] = {}  # by texts, what the host makes of them

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def get_learned_conditioning(self, texts: Any) -> Cond:
        """The host's conditioning of `texts` (all schedules of one prompt), each text tuned by itself.

        What goes wrong on our side is a result, not an exception: the conditioning is then the plain one.
        """
        encode, target = self._model.get_learned_conditioning, self._target
        if target is None or any(not result.tuned for result in self._results):
            key = tuple(texts)
            if key not in self._plain:
                self._plain[key] = encode(texts)
            return self._plain[key]
        if host.old_extension_is_on(self._model):
            return self._failed(texts, encode(texts), target, OLD_IS_ON)
        try:
            towers = [without_clip_l_projection(find_tower(encoder)) for encoder in host.text_encoders(self._model)]
            if not towers:
                raise EncoderError(
                    "There is no CLIP text encoder in this model. Choose another, such as one of SD1 or SDXL."
                )
        except Exception as error:
            return self._failed(texts, encode(texts), target, _explain(error))
        with recording(*towers) as calls:
            plain = self._plain[tuple(texts)] = encode(texts)
        try:
            found = self._tuned(texts, target, towers, calls, plain)
        except Exception as error:
            return self._failed(texts, plain, target, _explain(error))
        self._results += [result for _, result in found.values()]
        return _joined([found[text][0] for text in texts], plain)

    def _failed(self, texts: Any, plain: Cond, target: Target, reason: str) -> Cond:
        self._plain[tuple(texts)] = plain
        self._results.append(PromptResult(target, False, {}, 0.0, (reason,)))
        return plain

    def _tuned(
        self, texts: Any, target: Target, towers: list[Tower], calls: list[list[Recording]], plain: Cond
    ) -> dict[str, tuple[dict[str, Tensor], PromptResult]]:
        """By text: its conditioning, blended, and its result. Raises where one of them cannot be tuned."""
        settings, places = target.settings, self._places(towers)
        direction: list[Recording] | None = None
        found: dict[str, tuple[dict[str, Tensor], PromptResult]] = {}
        for row, text in enumerate(texts):
            if text in found:
                continue
            records = [of_text(each, row) for each in calls]
            before = _row(plain, row)

            def tune(records: list[Recording] = records) -> tuple[dict[str, Tuned], list[str]]:
                nonlocal direction
                if direction is None and settings.text and settings.text_strength:
                    direction = self._recorded(host.like(texts, [settings.text]), towers)
                return self._tune(target, towers, records, direction, places)

            def encode(row: int = row) -> dict[str, Tensor]:
                with host.without_infotext():
                    return _row(self._model.get_learned_conditioning(texts), row)

            started = time.perf_counter()
            made, cached = tuned_conditioning(
                records, before, target.content, settings, tune, encode, tuned_prompts, places
            )
            seconds = 0.0 if cached else time.perf_counter() - started
            mixed = {
                name: blended(x, made.arguments[name].to(x), _blend_of(name, settings)) for name, x in before.items()
            }
            found[text] = mixed, PromptResult(target, True, made.similarities, seconds, made.notes)
        return found

    def _places(self, towers: list[Tower]) -> list[Path]:
        """Where parts of CLIP that the towers lack may be in this host."""
        checkpoint = host.checkpoint(self._model) if any(map(lacks_last_layer, towers)) else None
        return [*([Path(checkpoint)] if checkpoint else []), *host.clip_folders()]

    def _recorded(self, texts: Any, towers: list[Tower]) -> list[Recording]:
        with host.without_infotext(), recording(*towers) as calls:
            self._model.get_learned_conditioning(texts)
        return [of_text(each, 0) for each in calls]

    def _tune(
        self,
        target: Target,
        towers: list[Tower],
        records: list[Recording],
        direction: list[Recording] | None,
        places: list[Path],
    ) -> tuple[dict[str, Tuned], list[str]]:
        """Where the encoder lives, or the user wants it; where memory is short there, on the CPU."""

        def tune(device: str | None = None) -> tuple[dict[str, Tuned], list[str]]:
            moved = [[r if device is None else r.to(device) for r in some] for some in (records, direction or [])]
            with host.progress(target.settings.steps) as on_step:
                return personalize_each(
                    towers, moved[0], target.embedding, target.settings, None, moved[1] or None, on_step, places
                )

        try:
            return tune(host.tuning_device)
        except Exception as error:
            if not out_of_memory(error) or records[0].inputs.device.type == "cpu":
                raise
        host.free_memory()  # outside of `except`, whose traceback would hold on to it
        tuned, notes = tune("cpu")
        return tuned, [*notes, "Tuned on the CPU, since the GPU's memory was short."]


def _explain(fault: BaseException) -> str:
    if isinstance(fault, Interrupted):
        return "Interrupted, so the prompt stayed plain."
    if isinstance(fault, AestheticError):
        return f"{fault} The prompt stayed plain."
    if out_of_memory(fault):
        return "Memory ran out, so the prompt stayed plain. Fewer tokens or the update rule 'normalized' need less."
    traceback.print_exception(type(fault), fault, fault.__traceback__)
    return f"Something unexpected went wrong, so the prompt stayed plain: {fault!r}. The console has more."


def _blend_of(part: str, settings: Settings) -> Settings:
    """SDXL's `vector` holds the picture's size beside the pooled feature: on an arc, that would change as well."""
    return replace(settings, blend="lerp") if part == "vector" else settings


def _row(cond: Cond, row: int) -> dict[str, Tensor]:
    """One text's part. SDXL's has several, such as `crossattn` and `vector`."""
    return {name: x[row] for name, x in _parts(cond).items()}


def _joined(rows: list[dict[str, Tensor]], like: Cond) -> Cond:
    parts = {name: torch.stack([row[name] for row in rows]) for name in _parts(like)}
    return parts if isinstance(like, dict) else parts[""]


def _parts(cond: Cond) -> dict[str, Tensor]:
    return cond if isinstance(cond, dict) else {"": cond}
