"""The direction in CLIP's shared space that a prompt is tuned towards."""

from __future__ import annotations

from torch import Tensor

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.families import clip_signature, same_clip
from ..aesthetics.neutral import NEUTRAL
from ..errors import AestheticError, EncoderError
from ..settings import Settings


def direction(embedding: AestheticEmbedding | Tensor, family: str, projection: Tensor, settings: Settings) -> Tensor:
    """`e - contrast n`, `[dim]`: the embedding's vector e, less the vector n of ordinary pictures.

    projection: `[dim, width]`, the text encoder's. It identifies the CLIP within its family.
    Raises EncoderError if the embedding has no vector for the family, or if another CLIP of the same shape made it and
    `settings.any_clip` is off; AestheticError if contrast is on and n is unknown, or if nothing is left.
    """
    if isinstance(embedding, Tensor):
        if settings.contrast:
            raise AestheticError(
                "contrast needs the vector of ordinary pictures, which a bare tensor does not bring. Pass an "
                "AestheticEmbedding."
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
            "Create it again with this model's CLIP, or switch on 'Any CLIP' to use it anyway."
        )
    e = embedding.vectors[family]
    if not settings.contrast:
        return e
    if family not in embedding.ordinary:
        raise AestheticError(no_ordinary_pictures(embedding, family))
    difference = e - settings.contrast * embedding.ordinary[family]
    if float(difference.norm()) < 1e-3 * float(e.norm()):
        raise AestheticError(
            f"{embedding.name!r} is what ordinary pictures are, so contrast leaves nothing of it. Lower the contrast."
        )
    return difference


def no_ordinary_pictures(embedding: AestheticEmbedding, family: str) -> str:
    """The sentence for an embedding that does not allow contrast."""
    how = NEUTRAL.how_to_get if family == NEUTRAL.family else ""
    return (
        f"Contrast needs ordinary pictures for {family}: {embedding.name!r} was made without, and there is no neutral "
        f"embedding. Make one of any ordinary pictures and call it {NEUTRAL.name}. {how}"
    ).strip()
