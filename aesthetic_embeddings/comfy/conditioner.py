"""A CLIP's prompts, encoded by ComfyUI's own code and tuned in between: record, check, tune, replay.

A CLIP of ComfyUI hands its `cond_stage_model` a tokenized prompt. `PersonalizedModel` takes that model's place in a
clone of the CLIP, so every node that encodes with the clone gets a tuned prompt. Weights, LoRAs, embeddings and the
CLIP layer work because ComfyUI handles them itself, the second time with the tuned weights.
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
from ..errors import EncoderError, out_of_memory
from ..settings import Settings
from ..storage.lru_cache import LRUCache, fingerprint
from ..text_encoder.personalize import all_applied, blended, personalize_each
from ..text_encoder.record import Recording, only_call, recording
from ..text_encoder.replay import Tuned
from ..text_encoder.towers import Tower, find_tower, without_clip_l_projection
from . import host

#: What ComfyUI calls a tokenized prompt: chunks of (token, weight), for SDXL and its like by the encoder's name.
Tokens = Any


@dataclass(frozen=True)
class TunedPrompt:
    """conditioning: what the model returned with the tuned weights.

    similarities: by CLIP family, `steps + 1` cosines of prompt and aesthetic: before, after each step.
    """

    conditioning: tuple[Any, ...]
    similarities: dict[str, tuple[float, ...]]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{name}: {said[0]:.4f} → {said[-1]:.4f}" for name, said in self.similarities.items()]
        return "\n".join([*lines, *self.notes])


#: Some two hundred prompts of SD1, on the CPU.
memory: LRUCache[TunedPrompt] = LRUCache(64 * 2**20)


class PersonalizedModel:
    """Stands in for a CLIP's `cond_stage_model`; everything but `encode_token_weights` is the model's own.

    text: the tokens of `settings.text`, or None. last: what became of the prompt that was encoded last.
    """

    last: TunedPrompt | None = None

    def __init__(self, model: Any, embedding: AestheticEmbedding, settings: Settings, text: Tokens = None) -> None:
        self._model: Any = model._model if isinstance(model, PersonalizedModel) else model  # the later node counts
        self._embedding, self._settings, self._text = embedding, settings, text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_model":  # while it is being copied
            raise AttributeError(name)
        return getattr(self._model, name)

    def encode_token_weights(self, tokens: Tokens) -> tuple[Any, ...]:
        """The model's conditioning of a prompt, pooled feature and what else it returns, tuned and blended.

        Raises EncoderError where none of its encoders can be tuned.
        """
        encoders = list(host.text_encoders(self._model))
        if not encoders:
            raise EncoderError(
                "There is no CLIP text encoder in this model. Choose another, such as one of SD1, SDXL, SD3 or Flux."
            )
        towers = [_tower(encoder) for encoder in encoders]
        plain, records = self._recorded(encoders, towers, tokens)
        towers = [tower for tower, record in zip(towers, records, strict=True) if record is not None]
        made = [record for record in records if record is not None]
        tensors = [x for record in made for x in (record.ids, record.inputs, record.hidden)]
        alone = replace(self._settings, weight=1.0, blend="lerp")  # blending is done anew each time
        key = (self._embedding.tuning_hash, alone, fingerprint(*tensors, *_tensors(plain)))
        found = memory.get(key)
        if found is None:
            tuned, notes = self._tune(encoders, towers, made)
            with _inputs_given_to(encoders, towers), all_applied(tuned.values()):
                out = self._model.encode_token_weights(tokens)
            similarities = {name: each.similarities for name, each in tuned.items()}
            found = TunedPrompt(out, similarities, tuple(notes))
            memory.put(key, found, sum(x.nbytes for x in _tensors(out)))
        self.last = found
        logging.info("Aesthetic gradients, %s:\n%s", self._embedding.name, found)
        return self._blended(plain, found.conditioning)

    def _blended(self, plain: tuple[Any, ...], tuned: tuple[Any, ...]) -> tuple[Any, ...]:
        """Conditioning `[1, tokens, width]`; the pooled feature `[1, dim]` on a line; the rest is the plain one's."""
        on_a_line = replace(self._settings, blend="lerp")
        settings = (self._settings, on_a_line)
        pairs = zip(plain, tuned, settings, strict=False)
        mixed = [blended(a, b, s).clone() if isinstance(a, Tensor) else a for a, b, s in pairs]
        return (*mixed, *plain[2:])

    def _recorded(
        self, encoders: Sequence[Any], towers: Sequence[Tower], tokens: Tokens
    ) -> tuple[tuple[Any, ...], list[Recording | None]]:
        """The plain conditioning, and each tower's call; None for one that was not called (SD3 without its tokens)."""
        with _inputs_given_to(encoders, towers), recording(*towers) as calls:
            plain = self._model.encode_token_weights(tokens)
        return plain, [only_call(found) if found else None for found in calls]

    def _tune(
        self, encoders: Sequence[Any], towers: list[Tower], records: list[Recording]
    ) -> tuple[dict[str, Tuned], list[str]]:
        """Where the encoder is; where memory is short there, on the CPU."""
        turning: list[Recording] = []
        if self._settings.text and self._settings.text_strength:
            _, recorded = self._recorded(encoders, [_tower(encoder) for encoder in encoders], self._text)
            turning = [record for record in recorded if record is not None]

        def tune(device: str | None = None) -> tuple[dict[str, Tuned], list[str]]:
            moved = [[r if device is None else r.to(device) for r in some] for some in (records, turning)]
            advance = host.progress((self._settings.steps + 1) * len(towers))
            return personalize_each(
                towers,
                moved[0],
                self._embedding,
                self._settings,
                host.file_with_projection(),
                texts=moved[1] or None,
                on_step=lambda *_: advance(),
            )

        try:
            return tune()
        except Exception as error:
            if not out_of_memory(error) or records[0].inputs.device.type == "cpu":
                raise
        host.free_memory()  # outside of `except`, whose traceback would hold on to it
        tuned, notes = tune("cpu")
        return tuned, [*notes, "Tuned on the CPU, since the GPU's memory was short."]


def _tensors(conditioning: tuple[Any, ...]) -> list[Tensor]:
    return [x for x in conditioning if isinstance(x, Tensor)]


# ---------------------------------------------------------------- ComfyUI's encoders


class InputEmbeddings(nn.Module):
    """Called on token ids `[chunks, length]` and the embeddings that ComfyUI made of them, which it returns.

    ComfyUI embeds chunk by chunk and splices the vectors of textual inversion in afterwards, outside of any module.
    This is the module to listen to instead.
    """

    def forward(self, ids: Tensor, embeddings: Tensor) -> Tensor:
        return embeddings


def _tower(encoder: Any) -> Tower:
    """The text tower of an SDClipModel.

    Raises EncoderError where it is not built as CLIP's are.
    """
    if not hasattr(encoder, "process_tokens"):
        raise EncoderError("This ComfyUI is too old for aesthetic gradients. Update it to 0.3.30 or later.")
    return replace(without_clip_l_projection(find_tower(encoder.transformer)), embedding=InputEmbeddings())


@contextmanager
def _inputs_given_to(encoders: Sequence[Any], towers: Sequence[Tower]) -> Iterator[None]:
    """While the block runs, each encoder's input embeddings pass through `embedding` of its tower."""
    with ExitStack() as stack:
        for encoder in encoders:
            tower = next((tower for tower in towers if tower.table.module is _embedding_of(encoder)), None)
            if tower is not None:
                encoder.process_tokens = _passed_on(encoder, tower.embedding)
                stack.callback(delattr, encoder, "process_tokens")
        yield


def _passed_on(encoder: Any, embedding: nn.Module) -> Any:
    original = encoder.process_tokens

    def process_tokens(tokens: Any, device: Any) -> Any:
        embeddings, *rest = original(tokens, device)
        ids = torch.tensor([_ids(chunk, embeddings.shape[1]) for chunk in tokens], device=embeddings.device)
        return (embedding(ids, embeddings), *rest)

    return process_tokens


def _embedding_of(encoder: Any) -> Any:
    return encoder.transformer.get_input_embeddings()


def _ids(chunk: Sequence[Any], length: int) -> list[int]:
    """One chunk's token ids. Vectors of textual inversion stand among them: each of their rows has id 0 here."""
    ids: list[int] = []
    for token in chunk:
        if isinstance(token, numbers.Integral):
            ids.append(int(token))
        else:
            vectors = token if isinstance(token, Tensor) else token.get("data")
            ids += [0] * (vectors.reshape(-1, vectors.shape[-1]).shape[0] if isinstance(vectors, Tensor) else 0)
    return (ids + [0] * length)[:length]
