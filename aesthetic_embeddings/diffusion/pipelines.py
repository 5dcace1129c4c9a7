"""Conditioning for diffusers pipelines: Stable Diffusion 1, 2 and 3, SDXL and Flux.

This module does not import diffusers: a pipeline is any object with `encode_prompt` and text encoders.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.families import family
from ..errors import EncoderError
from ..settings import Settings
from ..storage.lru_cache import fingerprint
from ..text_encoder.conditioning import CACHE, Conditioning, tuned_conditioning
from ..text_encoder.missing_parts import lacks_last_layer, with_missing_parts
from ..text_encoder.personalize import blended, personalize_each
from ..text_encoder.record import Recording, only_call, recording
from ..text_encoder.replay import Tuned
from ..text_encoder.towers import find_tower
from .threads import limited_threads


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
    cache: bool = True,
) -> Conditioning:
    """Encode a prompt with the pipeline's text encoders tuned towards an aesthetic.

    Each CLIP text encoder for which the embedding has a vector is tuned towards that vector. Other encoders, such as
    T5, and the negative prompt stay plain. The pipeline itself is not changed.

    Args:
        pipeline: A diffusers pipeline of Stable Diffusion 1, 2 or 3, SDXL or Flux.
        prompt: The prompt, for every text encoder of the pipeline.
        embedding: The aesthetic.
        settings: How to tune; by default `Settings()`.
        negative_prompt: The negative prompt, if the pipeline takes one.
        projection: The text projection `[dim, width]` of an encoder that lacks one, or a file or folder that holds it.
            By default it is looked for beside the pipeline's own files and in the local caches.
        clip_skip: As in the pipeline's own call.
        on_step: Called with the number of steps done and the similarity, for each encoder in turn. An exception that it
            raises ends the tuning.
        cache: Whether to reuse the conditioning of equal inputs. The cache keeps the most recent 64 MB.

    Returns:
        The keyword arguments that the pipeline takes instead of the prompt, similarities and notes.

    Raises:
        EncoderError: No text encoder of the pipeline can be tuned towards the embedding.
        AestheticError: The result is not finite.
    """
    settings = settings or Settings()
    models = [getattr(pipeline, name, None) for name in _TEXT_ENCODERS]
    towers = [find_tower(model) for model in models if model is not None and not _is_t5(model)]
    parameters = inspect.signature(pipeline.encode_prompt).parameters
    encodes_negative = "do_classifier_free_guidance" in parameters  # as well as the prompt; Flux's does not

    def encode(text: str, **kwargs: Any) -> dict[str, Tensor]:
        """The pipeline's encoding of a prompt, by the names of its arguments. All encoders get the same prompt."""
        defaults = {"prompt_2": None, "prompt_3": None, "clip_skip": clip_skip, "do_classifier_free_guidance": False}
        options = {name: value for name, value in (defaults | kwargs).items() if name in parameters}
        with torch.no_grad():
            encoded = pipeline.encode_prompt(
                text, device=pipeline._execution_device, num_images_per_prompt=1, **options
            )
        names = _OUTPUTS if encodes_negative else _FLUX_OUTPUTS
        return {name: x for name, x in zip(names, encoded, strict=False) if x is not None}

    def record(text: str) -> tuple[list[Recording], dict[str, Tensor]]:
        with recording(*towers) as calls_by_tower:
            encoded = encode(text)
        return [only_call(calls) for calls in calls_by_tower], encoded

    projection_source = clip_folder(pipeline) if projection is None else projection

    def tune() -> tuple[dict[str, Tuned], list[str]]:
        text_records = record(settings.text)[0] if settings.text and settings.text_strength else None
        return personalize_each(towers, records, embedding, settings, projection_source, text_records, on_step)

    with limited_threads(pipeline):
        records, plain = record(prompt)
        source = fingerprint(projection_source) if isinstance(projection_source, Tensor) else str(projection_source)
        target = (embedding.tuning_hash, source)
        tuned, cached = tuned_conditioning(
            records, plain, target, settings, tune, lambda: encode(prompt), CACHE if cache else None
        )
        if cached and on_step:
            for similarities in tuned.similarities.values():
                for step, similarity in enumerate(similarities):
                    on_step(step, similarity)
        arguments = {name: blended(x, tuned.arguments[name].to(x), settings) for name, x in plain.items()}
        if encodes_negative:
            both = encode(prompt, do_classifier_free_guidance=True, negative_prompt=negative_prompt)
            arguments |= {name: x for name, x in both.items() if name.startswith("negative")}
        elif negative_prompt is not None:
            arguments |= {f"negative_{name}": x for name, x in encode(negative_prompt).items()}
    notes = tuned.notes if prompt.strip() else (*tuned.notes, EMPTY_PROMPT)
    return Conditioning(arguments, tuned.similarities, notes)


EMPTY_PROMPT = "The prompt is empty, so nothing was tuned: the picture is the plain one."
_TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
# what `encode_prompt` returns
_OUTPUTS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
_FLUX_OUTPUTS = ("prompt_embeds", "pooled_prompt_embeds")


def _is_t5(model: Any) -> bool:
    """Whether it is the T5 of SD3 or Flux. T5 was not trained on pictures, so no aesthetic is in its space."""
    return "T5" in type(model).__name__


def clip_folder(pipeline: Any) -> Path | None:
    """The pipeline's own folder, if it also holds the whole CLIP that its text encoder is part of."""
    folder = Path(getattr(pipeline.config, "_name_or_path", "") or "")
    return folder if (folder / "config.json").is_file() and (folder / "model_index.json").is_file() else None


def clip_families(pipeline: Any, projection: Path | None) -> set[str]:
    """The CLIP families of a pipeline's text encoders."""
    models = [getattr(pipeline, name, None) for name in _TEXT_ENCODERS]
    projection_source, families = clip_folder(pipeline) if projection is None else projection, set()
    for model in filter(None, models):
        with suppress(EncoderError):  # not a CLIP
            tower = find_tower(model)
            layers, dim = len(tower.layers) + lacks_last_layer(tower), tower.width
            with suppress(EncoderError):  # a missing projection is reported when it is needed
                tower, matrix = with_missing_parts(tower, projection_source)
                layers, dim = len(tower.layers), matrix.shape[0]
            families.add(family(tower.width, layers, dim))
    return families
