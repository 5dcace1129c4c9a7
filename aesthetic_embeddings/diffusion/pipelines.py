"""Conditioning for diffusers pipelines: Stable Diffusion 1, 2 and 3, SDXL and Flux.

Nothing here imports diffusers: a pipeline is whatever has `encode_prompt` and text encoders.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.families import family
from ..errors import EncoderError
from ..settings import Settings
from ..text_encoder.missing_parts import complete, lacks_last_layer
from ..text_encoder.personalize import all_applied, blended, personalize_each
from ..text_encoder.record import Recording, only_call, recording
from ..text_encoder.towers import find_tower


@dataclass(frozen=True)
class Conditioning:
    """What a pipeline takes in place of a prompt: `pipeline(**conditioning.arguments)`.

    Attributes:
        arguments: Keyword arguments of the pipeline: prompt embeddings, and those of the negative prompt.
        similarities: CLIP family that was tuned -> `steps + 1` cosines: before tuning, then after each step.
        notes: Sentences for the user, such as which encoder stayed plain and why.
    """

    arguments: dict[str, Tensor]
    similarities: dict[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()


def personalized_prompt(
    pipeline: Any,
    prompt: str,
    embedding: AestheticEmbedding,
    settings: Settings | None = None,
    *,
    negative_prompt: str | None = None,
    projection: str | Path | Tensor | None = None,
    clip_skip: int | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> Conditioning:
    """Encode a prompt with the pipeline's text encoders tuned towards an aesthetic.

    Every CLIP for which the embedding has a vector is tuned towards that vector. The others and T5 stay plain, and so
    does the negative prompt. Afterwards the pipeline is as it was.

    Args:
        pipeline: A diffusers pipeline of Stable Diffusion 1, 2 or 3, SDXL or Flux.
        prompt: The prompt, for every text encoder of the pipeline.
        embedding: The aesthetic.
        settings: How to tune; by default `Settings()`.
        negative_prompt: The negative prompt, where the pipeline takes one.
        projection: The text projection `[dim, width]` of an encoder that has none of its own, or a file or folder that
            holds it. By default one beside the pipeline's own files, or in the local caches.
        clip_skip: As in the pipeline's own call.
        on_step: Called with the number of steps done and the similarity, for each encoder in turn. What it raises ends
            the tuning.

    Returns:
        What the pipeline takes in place of the prompt.

    Raises:
        EncoderError: No text encoder of the pipeline can be tuned towards the embedding.
    """
    settings = settings or Settings()
    models = [getattr(pipeline, name, None) for name in _TEXT_ENCODERS]
    towers = [find_tower(model) for model in models if model is not None and not _is_t5(model)]
    known = inspect.signature(pipeline.encode_prompt).parameters
    guided = "do_classifier_free_guidance" in known  # encodes the negative prompt as well; Flux's does not

    def encode(text: str, **more: Any) -> dict[str, Tensor]:
        """What the pipeline makes of a prompt, by the names under which it takes it."""
        # every encoder gets the same prompt
        wanted = {"prompt_2": None, "prompt_3": None, "clip_skip": clip_skip, "do_classifier_free_guidance": False}
        options = {name: value for name, value in (wanted | more).items() if name in known}
        with torch.no_grad():
            encoded = pipeline.encode_prompt(
                text, device=pipeline._execution_device, num_images_per_prompt=1, **options
            )
        names = _GUIDED if guided else _FLUX
        return {name: x for name, x in zip(names, encoded, strict=False) if x is not None}

    def recorded(text: str) -> tuple[list[Recording], dict[str, Tensor]]:
        with recording(*towers) as found:
            encoded = encode(text)
        return [only_call(calls) for calls in found], encoded

    records, plain = recorded(prompt)
    texts = recorded(settings.text)[0] if settings.text and settings.text_strength else None
    matrix = beside(pipeline) if projection is None else projection
    tuned, notes = personalize_each(towers, records, embedding, settings, matrix, texts, on_step)

    if not prompt.strip():
        notes = [*notes, "The prompt is empty, so nothing was tuned: the picture is the plain one."]

    with all_applied(tuned.values()):
        personal = encode(prompt)
    arguments = {name: blended(x, personal[name], settings) for name, x in plain.items()}
    if guided:
        both = encode(prompt, do_classifier_free_guidance=True, negative_prompt=negative_prompt)
        arguments |= {name: x for name, x in both.items() if name.startswith("negative")}
    elif negative_prompt is not None:
        arguments |= {f"negative_{name}": x for name, x in encode(negative_prompt).items()}
    return Conditioning(arguments, {name: each.similarities for name, each in tuned.items()}, tuple(notes))


_TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
# what `encode_prompt` returns
_GUIDED = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
_FLUX = ("prompt_embeds", "pooled_prompt_embeds")


def _is_t5(model: Any) -> bool:
    """SD3 and Flux have one beside their CLIPs. It was not trained on pictures, so no aesthetic lives in its space."""
    return "T5" in type(model).__name__


def beside(pipeline: Any) -> Path | None:
    """The pipeline's own folder, where that also holds the CLIP that its text encoder is half of."""
    folder = Path(getattr(pipeline.config, "_name_or_path", "") or "")
    return folder if (folder / "config.json").is_file() and (folder / "model_index.json").is_file() else None


def clip_families(pipeline: Any, projection: Path | None) -> set[str]:
    """The CLIP families of a pipeline's text encoders."""
    models = [getattr(pipeline, name, None) for name in _TEXT_ENCODERS]
    given, found = beside(pipeline) if projection is None else projection, set()
    for model in filter(None, models):
        with suppress(EncoderError):  # not a CLIP
            tower = find_tower(model)
            layers, dim = len(tower.layers) + lacks_last_layer(tower), tower.width
            with suppress(EncoderError):  # a missing projection is reported when it is needed
                tower, matrix = complete(tower, given)
                layers, dim = len(tower.layers), matrix.shape[0]
            found.add(family(tower.width, layers, dim))
    return found
