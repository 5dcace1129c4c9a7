"""Scores pictures: with a complete CLIP, with heads on its features, and with a judge."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.encoders import encoder_name, encoder_of_family
from ..aesthetics.image_encoder import load_image_encoder
from ..aesthetics.scorers import Scorer
from ..aesthetics.vectors import unit
from ..errors import AestheticError, EncoderError

#: Called with a picture and its plain prompt; returns scores by name. A score for one aesthetic has a name such as
#: "style aivazovsky". With several processes it is pickled, so it cannot be a lambda.
Judge = Callable[[Image.Image, str], Mapping[str, float]]


@dataclass(frozen=True)
class Scoring:
    """What scores the pictures.

    encoder: a CLIP, as a folder or a hub id in the local cache, or None. scorers: name -> head on its features.
    """

    encoder: str | None = None
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    judge: Judge | None = None

    def __post_init__(self) -> None:
        if self.scorers and self.encoder is None:
            raise AestheticError(
                f"The scorer {next(iter(self.scorers))} needs the CLIP that it was made for: give its folder as the "
                "encoder."
            )

    @property
    def names(self) -> list[str]:
        """The names of everything that scores. They are stored in pictures, to tell whether to score them again."""
        encoder = [encoder_name(self.encoder)] if self.encoder else []
        judge = [getattr(self.judge, "__name__", type(self.judge).__name__)] if self.judge else []
        return [*encoder, *self.scorers, *judge]

    def load(self) -> Clip | None:
        """Load the CLIP. Raises EncoderError if it is not on this machine, AestheticError if a scorer does not fit."""
        clip = _load_clip(self.encoder) if self.encoder else None
        for scorer in self.scorers.values():
            scorer.check(clip.dim if clip else 0)
        return clip

    def scores(self, image: Image.Image, prompt: str, aesthetics: Sequence[AestheticEmbedding]) -> dict[str, float]:
        """The scores of a picture, by name.

        They are those of the scorers; `prompt`, the cosine of picture and plain prompt; `similarity NAME`, the cosine
        with each aesthetic that has a vector for this CLIP; and those of the judge.
        """
        scores: dict[str, float] = {}
        if clip := self.load():
            feature = clip.image_feature(image)
            scores |= {name: float(scorer(feature[None])) for name, scorer in self.scorers.items()}
            scores["prompt"] = float(unit(feature) @ clip.text_feature(prompt))
            for aesthetic in aesthetics:
                if clip.family in aesthetic.vectors:
                    scores[f"similarity {aesthetic.name}"] = float(unit(feature) @ unit(aesthetic.vectors[clip.family]))
        if self.judge:
            scores |= self.judge(image, prompt)
        return {name: round(value, 6) for name, value in scores.items()}


def default_encoder(model: str, families: Iterable[str], needed: bool = False) -> str | None:
    """The CLIP that scores a model's pictures by default.

    It is the model's own if its folder holds all of it, else the published CLIP of the first of these families that is
    on this machine. None if there is none.
    needed: return one even if it is not on this machine, so that the error says how to get it.
    """
    if model == "pocket" or (Path(model) / "config.json").is_file():
        return model
    known = filter(None, map(encoder_of_family, families))
    complete = [
        encoder for encoder in known if encoder.files[0] == "config.json"
    ]  # bigG's file has only the vision tower
    return next((encoder.repository for encoder in complete if needed or encoder.located()), None)


class Clip:
    """A complete CLIP of transformers, on the GPU if there is one. Nothing is downloaded.

    Raises EncoderError if it is not complete, or not on this machine.
    """

    def __init__(self, source: str) -> None:
        import transformers

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._images = load_image_encoder(source, None, device, batch_size=1, allow_pickle=False)
        self._model: Any = self._images.model
        self.family, self.dim = self._images.family, self._model.visual_projection.out_features
        try:
            if not hasattr(self._model, "text_model"):
                raise ValueError("it has no text encoder")
            self._tokenizer: Any = transformers.CLIPTokenizer.from_pretrained(source, local_files_only=True)
        except (OSError, ValueError) as error:
            raise EncoderError(
                f"{source} is not a complete CLIP: its text encoder or tokenizer is missing, and pictures are compared "
                f"with prompts. Download it: hf download {source} --include '*.json' '*.txt' model.safetensors"
            ) from error

    def image_feature(self, image: Image.Image) -> Tensor:
        """The raw projected feature of a picture, `[dim]`, on the CPU."""
        return self._images.features([self._images.prepare(image.convert("RGB"))])[0]

    @functools.lru_cache(maxsize=256)  # noqa: B019 - one object per process
    def text_feature(self, text: str) -> Tensor:
        """The unit projected feature of a text, `[dim]`, on the CPU. Texts that are too long are truncated."""
        length = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        with torch.no_grad():
            pooled = self._model.text_model(input_ids=tokens["input_ids"].to(self._model.device)).pooler_output
            return unit(self._model.text_projection(pooled)[0].float().cpu())


@functools.lru_cache(maxsize=1)
def _load_clip(source: str) -> Clip:
    return Clip(source)
