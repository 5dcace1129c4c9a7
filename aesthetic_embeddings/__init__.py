"""Aesthetic gradients: any prompt in the taste of a folder of pictures (Gallego 2022, arXiv 2209.12330).

import aesthetic_embeddings as ae

e = ae.create("pictures/", "openai/clip-vit-large-patch14", name="mine")
with ae.personalized(text_encoder, input_ids, e, ae.Settings(steps=10)) as run:
    hidden = text_encoder(input_ids).last_hidden_state
print(run.similarities)
"""

from .conditioning import Run, blended, personalized
from .creation import Gathering, create, gather
from .embedding import AestheticEmbedding, blend, load, merge
from .errors import AestheticError, EncoderError, FileError, Interrupted
from .last_layer import fetch_last_layer
from .library import Library
from .pipelines import Conditioning, personalized_prompt
from .projection import fetch_projection, text_projection
from .settings import Settings

__all__ = [
    "AestheticEmbedding",
    "AestheticError",
    "Conditioning",
    "EncoderError",
    "FileError",
    "Gathering",
    "Interrupted",
    "Library",
    "Run",
    "Settings",
    "blend",
    "blended",
    "create",
    "fetch_last_layer",
    "fetch_projection",
    "gather",
    "load",
    "merge",
    "personalized",
    "personalized_prompt",
    "text_projection",
]
