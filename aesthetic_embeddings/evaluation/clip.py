"""A whole CLIP, to score pictures with: image features, and text features of plain prompts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..aesthetics.creation import create_with_report
from ..aesthetics.families import family
from ..aesthetics.vectors import unit
from ..errors import EncoderError


class Clip:
    """A CLIPModel of transformers, with its tokenizer: a folder, or a hub id in the local cache. Never downloads.

    Raises EncoderError where it is not whole, or not on this machine.
    """

    def __init__(self, source: str | Path) -> None:
        import transformers

        try:
            self.model: Any = transformers.CLIPModel.from_pretrained(source, local_files_only=True).float().eval()
            self._tokenizer: Any = transformers.CLIPTokenizer.from_pretrained(source, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise EncoderError(
                f"{source} is no whole CLIP on this machine, and one is needed to score pictures. Give its folder, or "
                f"download it: hf download {source} --include '*.json' --include '*.txt' --include model.safetensors"
            ) from error
        self.source = str(source)
        config = self.model.config
        text = config.text_config
        self.family = family(text.hidden_size, text.num_hidden_layers, config.projection_dim)

    def of_image(self, image: Image.Image) -> Tensor:
        """The raw projected feature of a picture, `[dim]`."""
        return create_with_report([image], self.model, processor=self._processor).features[0].float()

    @functools.cached_property
    def _processor(self) -> Any:
        import transformers

        kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
        return kind.from_pretrained(self.source, local_files_only=True)

    @functools.lru_cache(maxsize=256)  # noqa: B019 - one object per process
    def of_text(self, text: str) -> Tensor:
        """The unit projected feature of a text, `[dim]`; what does not fit into the encoder's length is cut off."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        with torch.no_grad():
            pooled = self.model.text_model(input_ids=tokens["input_ids"]).pooler_output
            return unit(self.model.text_projection(pooled)[0])
