"""The pocket model: a text-to-image model of 18 MB, of a world drawn by our own code.

`MODEL` is a folder in the formats of diffusers (`StableDiffusionPipeline.from_pretrained(MODEL)`) and transformers
(`CLIPModel.from_pretrained(MODEL)`); `SAMPLES` holds a folder of pictures for each aesthetic that it knows; `NEUTRAL`
is the embedding of its ordinary pictures.
"""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
SAMPLES = Path(__file__).parent / "samples"
NEUTRAL = Path(__file__).parent / "neutral.safetensors"
AESTHETICS = tuple(sorted(folder.name for folder in SAMPLES.iterdir()))
#: What `evaluate` asks of it where no prompts are given.
PROMPTS = tuple((Path(__file__).parent / "prompts.txt").read_text(encoding="utf-8").splitlines())
