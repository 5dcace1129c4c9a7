"""Personalizes an encoder for one prompt: record, check, tune, and let the host encode again.

The *host* is whatever runs the encoder: a WebUI, a diffusers pipeline, the caller of `personalized`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.families import family
from ..aesthetics.vectors import slerp, unit
from ..errors import AestheticError, EncoderError, out_of_memory
from ..settings import Settings
from ..torch_states import evaluating
from .check import check
from .direction import direction, no_ordinary_pictures
from .missing_parts import with_missing_parts
from .record import Recording, embeddings_replaced, record_once
from .replay import Tuned
from .towers import Tower, find_tower
from .tune import text_feature, tune


@contextmanager
def personalized(
    text_encoder: nn.Module,
    input_ids: Tensor,
    embedding: AestheticEmbedding | Tensor,
    settings: Settings | None = None,
    projection: Tensor | str | Path | None = None,
    *,
    input_embeddings: Tensor | None = None,
    text_ids: Tensor | None = None,
    encode: Callable[[Tensor], Any] | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> Iterator[Tuned]:
    """Inside the block, `text_encoder` computes as if fine-tuned towards `embedding` for the prompt `input_ids`.

    The encoder's parameters are never written to. Other threads may use it meanwhile, plain or personalized in their
    own way: only the thread that entered the block sees the tuned weights.

    The encoder is run once, before the block, to record what it computes for the prompt. The settings `weight` and
    `blend` are not used here: they belong to the conditioning (see `blended`).

    Args:
        text_encoder: A transformers CLIPTextModel, CLIPTextModelWithProjection or CLIPModel, or an open_clip model.
        input_ids: `[chunks, length]`, the chunks of one prompt. Each begins with the beginning-of-text token.
        embedding: The aesthetic, or its vector `[dim]`.
        settings: How to tune; by default `Settings()`.
        projection: The text projection `[dim, width]`, for an encoder that has none, or a file or folder that holds
            it. By default that of CLIP ViT-L/14, if it is on this machine.
        input_embeddings: `[chunks, length, width]`, token embeddings to use instead of the table's rows. Those that
            differ from their token's row (textual inversion) stay constant.
        text_ids: `[chunks, length]`, the tokens of `settings.text`.
        encode: Runs the encoder on token ids, for a host in which `text_encoder(ids)` does not.
        on_step: Called with the number of steps done and the similarity. An exception in it ends the tuning.

    Yields:
        The result of the tuning. Its `similarities` are `steps + 1` cosines of prompt and aesthetic.

    Raises:
        EncoderError: Encoder, embedding and projection do not fit together, or the encoder does not compute what its
            weights say (see check.py). This is raised before any tuning.
        AestheticError: `settings.text` is set without `text_ids`, or the similarity became infinite or NaN.
    """
    settings = settings or Settings()
    tower = find_tower(text_encoder)
    run = encode or tower.encode

    def recorded(ids: Tensor, inputs: Tensor | None = None) -> Recording:
        if encode is None and tower.takes_any_length:  # causal: the padding does not matter
            end = int(tower.end_of_text(ids).max()) + 1
            ids, inputs = ids[:, :end], inputs if inputs is None else inputs[:, :end]
        replaced = nullcontext() if inputs is None else embeddings_replaced(tower, inputs)
        with evaluating(text_encoder), replaced:
            return record_once(tower, lambda: run(ids))

    record = recorded(input_ids, input_embeddings)
    text = None
    if settings.text and settings.text_strength:
        if text_ids is None:
            raise AestheticError("settings.text needs its tokens: pass them as text_ids.")
        text = recorded(text_ids)
    tower, matrix = with_missing_parts(tower, projection)
    _, tuned = personalize(tower, record, embedding, settings, matrix, text, on_step)
    with tuned.applied():
        yield tuned


def personalize(
    tower: Tower,
    record: Recording,
    embedding: AestheticEmbedding | Tensor,
    settings: Settings,
    projection: Tensor,
    text: Recording | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[str, Tuned]:
    """Check a recorded prompt and tune its tower. Returns the tower's CLIP family and the tuned tower.

    tower: complete (see `with_missing_parts`). text: the recording of `settings.text`.
    """
    name = family(tower.width, len(tower.layers), projection.shape[0])
    record = check(tower, record)
    e = direction(embedding, name, projection, settings)
    if text is not None:
        t = text_feature(tower, check(tower, text), projection).to(e)
        e = slerp(e, -t if settings.text_negative else t, settings.text_strength)
    return name, tune(tower, record, e, projection, settings.of_family(name), on_step)


def personalize_each(
    towers: Sequence[Tower],
    records: Sequence[Recording],
    embedding: AestheticEmbedding,
    settings: Settings,
    projection: Tensor | str | Path | None = None,
    texts: Sequence[Recording] | None = None,
    on_step: Callable[[int, float], None] | None = None,
    places: Sequence[Path] = (),
) -> tuple[dict[str, Tuned], list[str]]:
    """Tune every tower of a model for which `embedding` has a vector.

    projection, places: where missing parts may be (see missing_parts.py).
    Returns CLIP family -> tuned tower, and a sentence about each tower that stays plain.
    Raises EncoderError if no tower can be tuned.
    """
    tuned: dict[str, Tuned] = {}
    notes = []
    text_records: Sequence[Recording | None] = texts or [None] * len(towers)
    for tower, record, text in zip(towers, records, text_records, strict=True):
        try:
            whole, matrix = with_missing_parts(tower, projection, places)
            name = family(whole.width, len(whole.layers), matrix.shape[0])
            possible = settings
            if settings.contrast and name in embedding.vectors and name not in embedding.ordinary:
                notes.append(f"Tuned without contrast, as published. {no_ordinary_pictures(embedding, name)}")
                possible = replace(settings, contrast=0.0)
            name, tuned[name] = personalize(whole, record, embedding, possible, matrix, text, on_step)
        except EncoderError as error:
            if len(towers) == 1:
                raise
            notes.append(f"The text encoder {tower.width} wide stays plain. {error}")
    if not tuned:
        raise EncoderError(" ".join(notes))
    return tuned, notes


def tune_where_memory_allows(
    tune: Callable[[list[Recording], list[Recording]], tuple[dict[str, Tuned], list[str]]],
    records: Sequence[Recording],
    texts: Sequence[Recording],
    free_memory: Callable[[], None],
    device: str | None = None,
) -> tuple[dict[str, Tuned], list[str]]:
    """Call `tune(records, texts)` with the recordings on a device. If its memory runs out, call it on the CPU instead.

    device: None for the one that the recordings are on. free_memory: empties the host's caches on it.
    """

    def tune_on(device: str | None) -> tuple[dict[str, Tuned], list[str]]:
        prompt, text = ([r if device is None else r.to(device) for r in each] for each in (records, texts))
        return tune(prompt, text)

    try:
        return tune_on(device)
    except Exception as error:
        if not out_of_memory(error) or records[0].inputs.device.type == "cpu":
            raise
    free_memory()  # not within `except`: the traceback holds tensors
    tuned, notes = tune_on("cpu")
    return tuned, [*notes, "Tuned on the CPU, since the GPU's memory was short."]


@contextmanager
def all_applied(tuned: Iterable[Tuned]) -> Iterator[None]:
    """A block inside which the host computes with the tuned weights of all these towers."""
    with ExitStack() as blocks:
        for each in tuned:
            blocks.enter_context(each.applied())
        yield


def blended(plain: Tensor, tuned: Tensor, settings: Settings) -> Tensor:
    """Blend plain and personalized conditioning by `settings.weight` and `settings.blend`.

    `lerp` is `plain + weight * (tuned - plain)`. `slerp` does this to the length of each token's vector, and rotates
    its direction along the arc. Tokens that are equal in both stay as they are.

    Args:
        plain: `[..., width]`.
        tuned: `[..., width]`.
        settings: Only `weight` and `blend` are used.

    Returns:
        `[..., width]`. At weight 0 and 1 it is `plain` and `tuned` themselves.
    """
    if settings.weight in (0.0, 1.0):
        return tuned if settings.weight else plain
    if settings.blend == "lerp":
        return torch.lerp(plain, tuned, settings.weight)
    moved, out = (plain != tuned).any(-1), plain.clone()  # T5's tokens are zero in pipelines that run without it
    if moved.any():
        a, b = plain[moved], tuned[moved]
        length = torch.lerp(a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True), settings.weight)
        out[moved] = slerp(unit(a), unit(b), settings.weight) * length
    return out
