"""The direction in CLIP's shared space that a prompt is tuned towards."""

from __future__ import annotations

from torch import Tensor

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.families import clip_signature, same_clip
from ..aesthetics.neutral import NEUTRAL
from ..errors import AestheticError, EncoderError
from ..settings import Settings


def direction(embedding: AestheticEmbedding | Tensor, family: str, projection: Tensor, settings: Settings) -> Tensor:
    """`e - contrast n`, `[dim]`: the embedding's vector, less that of the pictures it is told apart from.

    projection: `[dim, width]`, of the text encoder, which tells which CLIP of this family that is.
    Raises EncoderError where the embedding has no vector for the family, or where another CLIP of the same shape made
    it and `settings.any_clip` is off; AestheticError where contrast finds nothing to be told apart from.
    """
    if isinstance(embedding, Tensor):
        if settings.contrast:
            raise AestheticError(
                "contrast needs to know what the aesthetic is told apart from, which a bare vector does not say. Pass "
                "an AestheticEmbedding."
            )
        return embedding.detach().flatten()
    if family not in embedding.vectors:
        raise EncoderError(
            f"The aesthetic {embedding.name!r} was made for {', '.join(embedding.vectors)}, but this model's text "
            f"encoder is {family}. Create the aesthetic again from its pictures, with that CLIP."
        )
    clip = embedding.clips.get(family)
    if clip and not settings.any_clip and not same_clip(clip, clip_signature(projection)):
        raise EncoderError(
            f"The aesthetic {embedding.name!r} was made with another CLIP of the shape {family} than this model's. "
            "Create it again with this model's CLIP, or switch on 'Any CLIP' to use it all the same."
        )
    e = embedding.vectors[family]
    if not settings.contrast:
        return e
    if family not in embedding.ordinary:
        raise AestheticError(nothing_to_be_told_apart_from(embedding, family))
    told_apart = e - settings.contrast * embedding.ordinary[family]
    if float(told_apart.norm()) < 1e-3 * float(e.norm()):
        raise AestheticError(
            f"Nothing is left of {embedding.name!r} once what ordinary pictures have is taken out. Lower the contrast."
        )
    return told_apart


def nothing_to_be_told_apart_from(embedding: AestheticEmbedding, family: str) -> str:
    """The sentence for an embedding that contrast cannot be used on."""
    how = NEUTRAL.how_to_get if family == NEUTRAL.family else ""
    return (
        f"Contrast needs ordinary pictures, and neither does {embedding.name!r} hold any for {family}, nor is there a "
        f"neutral embedding. Make one of any ordinary pictures and call it {NEUTRAL.name}. {how}"
    ).strip()
