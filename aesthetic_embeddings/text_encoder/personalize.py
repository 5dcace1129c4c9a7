"""Personalizing an encoder for one prompt: record, check, tune, and let its owner encode again."""

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
from ..errors import AestheticError, EncoderError
from ..settings import Settings
from ..torch_states import evaluating
from .check import check
from .direction import direction, nothing_to_be_told_apart_from
from .missing_parts import complete
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

    The encoder's parameters are not written to at any time. Other threads may use it meanwhile, plainly or personalized
    in their own way: only the thread that entered the block sees the tuned weights.

    The encoder is run once, before the block, to record what it computes for the prompt. The settings `weight` and
    `blend` concern the conditioning (see `blended`) and are not used here.

    Args:
        text_encoder: A transformers CLIPTextModel, CLIPTextModelWithProjection or CLIPModel, or an open_clip model.
        input_ids: `[chunks, length]`, the chunks of one prompt. Each begins with the beginning-of-text token.
        embedding: The aesthetic, or its vector `[dim]`.
        settings: How to tune; by default `Settings()`.
        projection: The text projection `[dim, width]`, where the encoder has none of its own, or a file or folder that
            holds it. By default that of CLIP ViT-L/14, where it is on this machine.
        input_embeddings: `[chunks, length, width]`, recorded token embeddings, in place of the table's rows. Those that
            differ from their id's row (textual inversion) are constants.
        text_ids: `[chunks, length]`, the tokens of `settings.text`.
        encode: Runs the encoder on ids where `text_encoder(ids)` does not, say in a host that drives it piece by piece.
        on_step: Called with the number of steps done and the similarity. What it raises ends the tuning.

    Yields:
        What tuning did: its `similarities` are `steps + 1` cosines of prompt and aesthetic.

    Raises:
        EncoderError: Encoder, embedding and projection do not fit together, or the encoder does not compute what its
            weights say (see check.py). Nothing was tuned by then.
        AestheticError: `settings.text` is set and `text_ids` is not, or tuning did not stay finite.
    """
    settings = settings or Settings()
    tower = find_tower(text_encoder)
    run = encode or tower.encode

    def recorded(ids: Tensor, inputs: Tensor | None = None) -> Recording:
        if encode is None and tower.takes_any_length:  # what follows the end of the text does not matter
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
    tower, matrix = complete(tower, projection)
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
    """Check a recorded prompt and tune its tower: the CLIP family of that, and the tuned tower.

    tower: with all of its layers. text: the recording of `settings.text`.
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
    """Tune every tower of a model for which `embedding` has a vector: by CLIP family, and sentences on the others.

    projection, places: where missing parts may be (see missing_parts.py).
    Raises EncoderError where no tower can be tuned.
    """
    tuned: dict[str, Tuned] = {}
    notes = []
    directions: Sequence[Recording | None] = texts or [None] * len(towers)
    for tower, record, text in zip(towers, records, directions, strict=True):
        try:
            whole, matrix = complete(tower, projection, places)
            name = family(whole.width, len(whole.layers), matrix.shape[0])
            wanted = settings
            if settings.contrast and name in embedding.vectors and name not in embedding.ordinary:
                notes.append(f"Tuned without contrast, as published. {nothing_to_be_told_apart_from(embedding, name)}")
                wanted = replace(settings, contrast=0.0)
            name, tuned[name] = personalize(whole, record, embedding, wanted, matrix, text, on_step)
        except EncoderError as error:
            if len(towers) == 1:
                raise
            notes.append(f"The text encoder {tower.width} wide is left alone. {error}")
    if not tuned:
        raise EncoderError(" ".join(notes))
    return tuned, notes


@contextmanager
def all_applied(tuned: Iterable[Tuned]) -> Iterator[None]:
    """A block inside which the owners of all these towers compute with the tuned weights."""
    with ExitStack() as blocks:
        for each in tuned:
            blocks.enter_context(each.applied())
        yield


def blended(plain: Tensor, tuned: Tensor, settings: Settings) -> Tensor:
    """Blend plain and personalized conditioning by `settings.weight` and `settings.blend`.

    `lerp` is `plain + weight * (tuned - plain)`. `slerp` does so for each token's length, and moves its direction on
    the arc. Tokens that are alike in both stay as they are.

    Args:
        plain: `[..., width]`.
        tuned: `[..., width]`.
        settings: Its `weight` and `blend` count.

    Returns:
        `[..., width]`. At weight 0 and 1 it is `plain` and `tuned` themselves.
    """
    if settings.weight in (0.0, 1.0):
        return tuned if settings.weight else plain
    if settings.blend == "lerp":
        return torch.lerp(plain, tuned, settings.weight)
    moved, out = (plain != tuned).any(-1), plain.clone()  # not T5's, which are zero where it is off
    if moved.any():
        a, b = plain[moved], tuned[moved]
        length = torch.lerp(a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True), settings.weight)
        out[moved] = slerp(unit(a), unit(b), settings.weight) * length
    return out
