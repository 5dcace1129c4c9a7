"""The conditioning that a host makes of a prompt with tuned encoders. Equal inputs are tuned once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..errors import AestheticError
from ..settings import Settings
from ..storage.lru_cache import LRUCache, fingerprint
from .missing_parts import PARTS
from .personalize import all_applied
from .record import Recording
from .replay import Tuned


@dataclass(frozen=True)
class Conditioning:
    """What a model takes in place of a prompt. In diffusers: `pipeline(**conditioning.arguments)`.

    Attributes:
        arguments: Keyword arguments of the pipeline: embeddings of the prompt and of the negative prompt.
        similarities: Tuned CLIP family -> `steps + 1` cosines: before tuning, then after each step.
        notes: Sentences for the user, such as which encoder stayed plain and why.
    """

    arguments: dict[str, Tensor]
    similarities: dict[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()


#: Keyed by all inputs. It holds some two hundred prompts of SD1, on the CPU.
CACHE: LRUCache[Conditioning] = LRUCache(64 * 2**20)


def tuned_conditioning(
    records: Sequence[Recording],
    plain: Mapping[str, Tensor],
    target: Hashable,
    settings: Settings,
    tune: Callable[[], tuple[Mapping[str, Tuned], Sequence[str]]],
    encode: Callable[[], Mapping[str, Tensor]],
    cache: LRUCache[Conditioning] | None = CACHE,
    places: Sequence[Path] = (),
) -> tuple[Conditioning, bool]:
    """The conditioning of one prompt by tuned encoders, on the CPU, before blending; and whether it was in the cache.

    records: the recordings of the plain encoding. plain: its result.
    target: identifies the aesthetic by its content.
    tune: tunes, and returns what `personalize_each` returns. encode: has the host encode the prompt again.
    places: where parts that an encoder lacks may be (see `Part.find`). The existing ones belong to the cache's key.

    Raises AestheticError if the conditioning is not finite. Nothing is cached then.
    """
    recorded = (x for record in records for x in (record.ids, record.inputs, record.hidden))
    parts = tuple(place for part in PARTS.values() for place in part.places(places))
    key = target, replace(settings, weight=1.0, blend="lerp"), parts, fingerprint(*recorded, *plain.values())
    if cache is not None and (kept := cache.get(key)) is not None:
        return kept, True
    tuned, notes = tune()
    with all_applied(tuned.values()):
        made = encode()
    if not all(bool(x.isfinite().all()) for x in made.values()):
        raise AestheticError(
            "The tuned text encoder's output is not finite. Take fewer steps or a smaller epsilon, or load the text "
            "encoder in fp32."
        )
    found = Conditioning(
        {name: x.to("cpu", copy=True) for name, x in made.items()},  # not a view that keeps a whole batch
        {name: each.similarities for name, each in tuned.items()},
        tuple(notes),
    )
    if cache is not None:
        cache.put(key, found, sum(x.nbytes for x in found.arguments.values()))
    return found, False
