"""Prompts encoded by ComfyUI's own code, and tuned in between: record, check, tune, replay.

ComfyUI's CLIP passes a tokenized prompt to its `cond_stage_model`. `PersonalizedModel` replaces that model in a clone
of the CLIP, so every node that encodes with the clone gets a tuned prompt. Prompt weights, LoRAs, embeddings and the
CLIP layer work because ComfyUI handles them itself. The second time it does so with the tuned weights.
"""

from __future__ import annotations

import logging
import numbers
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..aesthetics.embedding import AestheticEmbedding
from ..errors import EncoderError, quoted
from ..settings import Settings
from ..storage.lru_cache import LRUCache, fingerprint
from ..text_encoder.personalize import all_applied, blended, personalize_each, tune_where_memory_allows
from ..text_encoder.record import Recording, only_call, recording
from ..text_encoder.replay import Tuned
from ..text_encoder.towers import Tower, find_tower, without_clip_l_projection
from . import host

#: A tokenized prompt: chunks of (token, weight); for models with several encoders, a dict of them by encoder.
Tokens = Any


@dataclass(frozen=True)
class TunedPrompt:
    """A tuned prompt.

    conditioning: what the model returned with the tuned weights.
    similarities: for each CLIP family, the `steps + 1` cosines of prompt and aesthetic: before, and after each step.
    """

    conditioning: tuple[Any, ...]
    similarities: dict[str, tuple[float, ...]]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{name}: {cosines[0]:.4f} → {cosines[-1]:.4f}" for name, cosines in self.similarities.items()]
        return "\n".join([*lines, *self.notes])


#: In the CPU's memory. The limit holds about two hundred SD1 prompts.
tuned_prompts: LRUCache[TunedPrompt] = LRUCache(64 * 2**20)


class PersonalizedModel:
    """Replaces a CLIP's `cond_stage_model`. All attributes but `encode_token_weights` are the model's own.

    text: the tokens of `settings.text`, or None. last_prompt: the prompt that was encoded last.
    """

    last_prompt: TunedPrompt | None = None

    def __init__(self, model: Any, embedding: AestheticEmbedding, settings: Settings, text: Tokens = None) -> None:
        self._model: Any = (
            model._model if isinstance(model, PersonalizedModel) else model
        )  # of several nodes in a row, the last one wins
        self._embedding, self._settings, self._text = embedding, settings, text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_model":  # not set yet while it is being copied
            raise AttributeError(name)
        return getattr(self._model, name)

    def encode_token_weights(self, tokens: Tokens) -> tuple[Any, ...]:
        """The model's conditioning of a prompt, pooled feature and other outputs, tuned and blended.

        Raises EncoderError if none of its encoders can be tuned.
        """
        encoders = list(host.text_encoders(self._model))
        if not encoders:
            raise EncoderError(
                "There is no CLIP text encoder in this model. Choose another, such as one of SD1, SDXL, SD3 or Flux."
            )
        towers = [_tower(encoder) for encoder in encoders]
        plain, records = self._record(encoders, towers, tokens)
        towers = [tower for tower, record in zip(towers, records, strict=True) if record is not None]
        made_calls = [record for record in records if record is not None]
        tensors = [x for record in made_calls for x in (record.ids, record.inputs, record.hidden)]
        unblended = replace(self._settings, weight=1.0, blend="lerp")  # the cache holds results before blending
        key = (self._embedding.tuning_hash, unblended, fingerprint(*tensors, *_tensors(plain)))
        tuned_prompt = tuned_prompts.get(key)
        if tuned_prompt is None:
            tuned, notes = self._tune(encoders, towers, made_calls)
            with _inputs_through_towers(encoders, towers), all_applied(tuned.values()):
                conditioning = self._model.encode_token_weights(tokens)
            similarities = {name: tuned_encoder.similarities for name, tuned_encoder in tuned.items()}
            tuned_prompt = TunedPrompt(conditioning, similarities, tuple(notes))
            tuned_prompts.put(key, tuned_prompt, sum(x.nbytes for x in _tensors(conditioning)))
        self.last_prompt = tuned_prompt
        logging.info("Aesthetic gradients, %s:\n%s", quoted(self._embedding.name), tuned_prompt)
        return self._blend(plain, tuned_prompt.conditioning)

    def _blend(self, plain: tuple[Any, ...], tuned: tuple[Any, ...]) -> tuple[Any, ...]:
        """Blend the conditioning `[1, tokens, width]`, and the pooled feature `[1, dim]` linearly, not the rest."""
        linear = replace(self._settings, blend="lerp")
        settings = (self._settings, linear)
        pairs = zip(plain, tuned, settings, strict=False)
        result = [
            blended(plain_part, tuned_part, part_settings).clone() if isinstance(plain_part, Tensor) else plain_part
            for plain_part, tuned_part, part_settings in pairs
        ]
        return (*result, *plain[2:])

    def _record(
        self, encoders: Sequence[Any], towers: Sequence[Tower], tokens: Tokens
    ) -> tuple[tuple[Any, ...], list[Recording | None]]:
        """The plain conditioning, and the call of each tower, or None if it was not called (SD3 without its tokens)."""
        with _inputs_through_towers(encoders, towers), recording(*towers) as calls:
            plain = self._model.encode_token_weights(tokens)
        return plain, [only_call(tower_calls) if tower_calls else None for tower_calls in calls]

    def _tune(
        self, encoders: Sequence[Any], towers: list[Tower], records: list[Recording]
    ) -> tuple[dict[str, Tuned], list[str]]:
        """Tune on the encoder's device. If its memory runs out, tune on the CPU."""
        text_records: list[Recording] = []
        if self._settings.text and self._settings.text_strength:
            _, all_records = self._record(encoders, [_tower(encoder) for encoder in encoders], self._text)
            text_records = [record for record in all_records if record is not None]

        def tune(prompt: list[Recording], text: list[Recording]) -> tuple[dict[str, Tuned], list[str]]:
            advance = host.progress((self._settings.steps + 1) * len(towers))
            return personalize_each(
                towers,
                prompt,
                self._embedding,
                self._settings,
                host.projection_file(),
                texts=text or None,
                on_step=lambda *_: advance(),
            )

        return tune_where_memory_allows(tune, records, text_records, host.free_memory)


def _tensors(conditioning: tuple[Any, ...]) -> list[Tensor]:
    return [x for x in conditioning if isinstance(x, Tensor)]


# ---------------------------------------------------------------- ComfyUI's encoders


class InputEmbeddings(nn.Module):
    """Takes token ids `[chunks, length]` and their embeddings, and returns the embeddings, so that hooks see both.

    ComfyUI embeds each chunk and then inserts the vectors of textual inversion, outside of any module that could be
    recorded.
    """

    def forward(self, ids: Tensor, embeddings: Tensor) -> Tensor:
        return embeddings


def _tower(encoder: Any) -> Tower:
    """The text tower of an SDClipModel.

    Raises EncoderError if it is not built like CLIP's.
    """
    if not hasattr(encoder, "process_tokens"):
        raise EncoderError("This ComfyUI is too old for aesthetic gradients. Update it to 0.3.30 or later.")
    return replace(without_clip_l_projection(find_tower(encoder.transformer)), embedding=InputEmbeddings())


@contextmanager
def _inputs_through_towers(encoders: Sequence[Any], towers: Sequence[Tower]) -> Iterator[None]:
    """A context in which each encoder's input embeddings pass through its tower's `embedding`."""
    with ExitStack() as stack:
        for encoder in encoders:
            tower = next((tower for tower in towers if tower.table.module is _embedding_of(encoder)), None)
            if tower is not None:
                encoder.process_tokens = _through_module(encoder, tower.embedding)
                stack.callback(delattr, encoder, "process_tokens")
        yield


def _through_module(encoder: Any, embedding: nn.Module) -> Any:
    original = encoder.process_tokens

    def process_tokens(tokens: Any, device: Any) -> Any:
        embeddings, *rest = original(tokens, device)
        ids = torch.tensor([_ids(chunk, embeddings.shape[1]) for chunk in tokens], device=embeddings.device)
        return (embedding(ids, embeddings), *rest)

    return process_tokens


def _embedding_of(encoder: Any) -> Any:
    return encoder.transformer.get_input_embeddings()


def _ids(chunk: Sequence[Any], length: int) -> list[int]:
    """The token ids of a chunk. Each row of a vector of textual inversion gets id 0."""
    ids: list[int] = []
    for token in chunk:
        if isinstance(token, numbers.Integral):
            ids.append(int(token))
        else:
            vectors = token if isinstance(token, Tensor) else token.get("data")
            ids += [0] * (vectors.reshape(-1, vectors.shape[-1]).shape[0] if isinstance(vectors, Tensor) else 0)
    return (ids + [0] * length)[:length]
