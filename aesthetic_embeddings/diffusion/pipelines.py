"""Conditioning for diffusers pipelines: Stable Diffusion 1, 2 and 3, SDXL and Flux.

Nothing here imports diffusers: a pipeline is whatever has `encode_prompt` and text encoders.
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
from .threads import threads_for


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
        cache: Whether equal inputs are tuned once, and their conditioning is kept: 64 MB of it, the last used.

    Returns:
        What the pipeline takes in place of the prompt.

    Raises:
        EncoderError: No text encoder of the pipeline can be tuned towards the embedding.
        AestheticError: The result is not finite.
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

    matrix = beside(pipeline) if projection is None else projection

    def tune() -> tuple[dict[str, Tuned], list[str]]:
        texts = recorded(settings.text)[0] if settings.text and settings.text_strength else None
        return personalize_each(towers, records, embedding, settings, matrix, texts, on_step)

    with threads_for(pipeline):
        records, plain = recorded(prompt)
        source = fingerprint(matrix) if isinstance(matrix, Tensor) else str(matrix)
        target = (embedding.tuning_hash, source)
        found, hit = tuned_conditioning(
            records, plain, target, settings, tune, lambda: encode(prompt), CACHE if cache else None
        )
        if hit and on_step:
            for similarities in found.similarities.values():
                for k, similarity in enumerate(similarities):
                    on_step(k, similarity)
        arguments = {name: blended(x, found.arguments[name].to(x), settings) for name, x in plain.items()}
        if guided:
            both = encode(prompt, do_classifier_free_guidance=True, negative_prompt=negative_prompt)
            arguments |= {name: x for name, x in both.items() if name.startswith("negative")}
        elif negative_prompt is not None:
            arguments |= {f"negative_{name}": x for name, x in encode(negative_prompt).items()}
    notes = found.notes if prompt.strip() else (*found.notes, EMPTY)
    return Conditioning(arguments, found.similarities, notes)


EMPTY = "The prompt is empty, so nothing was tuned: the picture is the plain one."
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
                tower, matrix = with_missing_parts(tower, given)
                layers, dim = len(tower.layers), matrix.shape[0]
            found.add(family(tower.width, layers, dim))
    return found
