"""Aesthetic gradients: any prompt in the taste of a folder of pictures (Gallego 2022, arXiv 2209.12330).

import aesthetic_embeddings as ae

e = ae.create("pictures/", "openai/clip-vit-large-patch14", name="mine")
with ae.personalized(text_encoder, input_ids, e, ae.Settings(steps=10)) as run:
    hidden = text_encoder(input_ids).last_hidden_state
print(run.similarities)
"""

from .aesthetics.creation import Creation, create, create_with_report
from .aesthetics.embedding import AestheticEmbedding, blend, contrast, load, merge
from .aesthetics.library import Library
from .aesthetics.scorers import Scorer, load_scorer
from .diffusion.pipelines import personalized_prompt
from .errors import AestheticError, EncoderError, FileError, Interrupted
from .evaluation.evaluate import evaluate
from .evaluation.experiment import Experiment, Variant
from .settings import Settings
from .text_encoder.conditioning import Conditioning
from .text_encoder.missing_parts import fetch
from .text_encoder.personalize import blended, personalized
from .text_encoder.replay import Tuned

__version__ = "0.2.0"

__all__ = [
    "AestheticEmbedding",
    "AestheticError",
    "Conditioning",
    "Creation",
    "EncoderError",
    "Experiment",
    "FileError",
    "Interrupted",
    "Library",
    "Scorer",
    "Settings",
    "Tuned",
    "Variant",
    "__version__",
    "blend",
    "blended",
    "contrast",
    "create",
    "create_with_report",
    "evaluate",
    "fetch",
    "load",
    "load_scorer",
    "merge",
    "personalized",
    "personalized_prompt",
]
