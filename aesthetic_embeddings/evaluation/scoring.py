"""Scores of one picture: by a whole CLIP, by heads on its features, and by a judge."""

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

#: Called with a picture and its plain prompt; gives more scores by name. One for each aesthetic is called "NAME
#: AESTHETIC", as "style aivazovsky". Where several processes work it is sent to them, so it is no lambda.
Judge = Callable[[Image.Image, str], Mapping[str, float]]


@dataclass(frozen=True)
class Scoring:
    """How pictures are scored.

    encoder: the CLIP, as a folder or a hub id in the local cache; None for none. scorers: name -> head on its features.
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
        """Who gives the scores. Pictures say this, so that they are scored again by others."""
        encoder = [encoder_name(self.encoder)] if self.encoder else []
        judge = [getattr(self.judge, "__name__", type(self.judge).__name__)] if self.judge else []
        return [*encoder, *self.scorers, *judge]

    def load(self) -> Clip | None:
        """The CLIP. Raises EncoderError where it is not on this machine, AestheticError where it suits no scorer."""
        clip = _clip(self.encoder) if self.encoder else None
        for scorer in self.scorers.values():
            scorer.check(clip.dim if clip else 0)
        return clip

    def scores(self, image: Image.Image, prompt: str, aesthetics: Sequence[AestheticEmbedding]) -> dict[str, float]:
        """Each scorer's; `prompt`, the cosine of picture and plain prompt; `similarity NAME`, that with each aesthetic
        that has a vector for this CLIP; and the judge's."""
        scores: dict[str, float] = {}
        if clip := self.load():
            feature = clip.of_image(image)
            scores |= {name: float(scorer(feature[None])) for name, scorer in self.scorers.items()}
            scores["prompt"] = float(unit(feature) @ clip.of_text(prompt))
            for aesthetic in aesthetics:
                if clip.family in aesthetic.vectors:
                    scores[f"similarity {aesthetic.name}"] = float(unit(feature) @ unit(aesthetic.vectors[clip.family]))
        if self.judge:
            scores |= self.judge(image, prompt)
        return {name: round(value, 6) for name, value in scores.items()}


def usual_encoder(model: str, families: Iterable[str], needed: bool = False) -> str | None:
    """The CLIP that scores a model's pictures: its own where the folder holds it whole, else the published one of the
    first of these families that is on this machine; None where there is none.

    needed: name it even where it is not here, so that the error says how to get it.
    """
    if model == "pocket" or (Path(model) / "config.json").is_file():
        return model
    known = filter(None, map(encoder_of_family, families))
    whole = [each for each in known if each.files[0] == "config.json"]  # bigG's has its vision tower alone
    return next((each.repository for each in whole if needed or each.located()), None)


class Clip:
    """A whole CLIP of transformers, on the GPU where there is one. Nothing is downloaded.

    Raises EncoderError where it is not whole, or not on this machine.
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
                f"{source} is no whole CLIP: its text encoder or its tokenizer is missing, and pictures are compared "
                f"with prompts. Download it: hf download {source} --include '*.json' '*.txt' model.safetensors"
            ) from error

    def of_image(self, image: Image.Image) -> Tensor:
        """The raw projected feature of a picture, `[dim]`, on the CPU."""
        return self._images.features([self._images.prepare(image.convert("RGB"))])[0]

    @functools.lru_cache(maxsize=256)  # noqa: B019 - one object per process
    def of_text(self, text: str) -> Tensor:
        """The unit projected feature of a text, `[dim]`, on the CPU; what is longer than the encoder takes is cut."""
        length = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        with torch.no_grad():
            pooled = self._model.text_model(input_ids=tokens["input_ids"].to(self._model.device)).pooler_output
            return unit(self._model.text_projection(pooled)[0].float().cpu())


@functools.lru_cache(maxsize=1)
def _clip(source: str) -> Clip:
    return Clip(source)
