"""Exports the trained parts as one folder for diffusers, and for transformers from release 4.30 on."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import aesthetic_embeddings as ae

from ..scene import AESTHETICS, SETTINGS, SUBJECTS, Scene
from ..world import SIZE, draw
from . import clip, judge, unet, vae

SAMPLE_SEED, SAMPLES_EACH, SAMPLE_SIZE = 40_000_000, 12, 128
ORDINARY = 100  # drawings for the neutral embedding
TEXT_WEIGHTS, OTHER_WEIGHTS = "text_encoder/model.safetensors", "vision.safetensors"

PREPROCESSOR = {
    "crop_size": {"height": SIZE, "width": SIZE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": SIZE},
}

PIPELINE = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.25.0",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderTiny"],
}

TOWER_KEYS = (
    "attention_dropout",
    "hidden_act",
    "hidden_size",
    "initializer_factor",
    "initializer_range",
    "intermediate_size",
    "layer_norm_eps",
)
TOWER_KEYS += ("num_attention_heads", "num_hidden_layers", "projection_dim")
TEXT_KEYS = (*TOWER_KEYS, "bos_token_id", "eos_token_id", "max_position_embeddings", "pad_token_id", "vocab_size")
VISION_KEYS = (*TOWER_KEYS, "image_size", "num_channels", "patch_size")


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _save(path: Path, weights: dict[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {
        name: value.half().contiguous() if value.is_floating_point() else value for name, value in weights.items()
    }
    save_file(halves, path, metadata={"format": "pt"})


def _export_clip(work: Path, folder: Path) -> None:
    """Write the CLIP. Its text tower is stored once, in the pipeline's text_encoder, and the CLIP's index points there.

    Weights are fp16 and configurations say float32, so a plain `from_pretrained` computes in fp32 in every release.
    """
    model = clip.load(work)
    weights = {name: value for name, value in model.state_dict().items() if not name.endswith("position_ids")}
    text = {name: value for name, value in weights.items() if name.startswith("text_model.")}
    other = {name: value for name, value in weights.items() if name not in text}
    _save(folder / TEXT_WEIGHTS, text)
    _save(folder / OTHER_WEIGHTS, other)
    weight_map = {**dict.fromkeys(text, TEXT_WEIGHTS), **dict.fromkeys(other, OTHER_WEIGHTS)}
    total = 2 * sum(value.numel() for value in weights.values())
    _write(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    text_values, vision_values = model.config.text_config.to_dict(), model.config.vision_config.to_dict()
    text_config = {"model_type": "clip_text_model", "torch_dtype": "float32", **{k: text_values[k] for k in TEXT_KEYS}}
    vision_config = {
        "model_type": "clip_vision_model",
        "torch_dtype": "float32",
        **{k: vision_values[k] for k in VISION_KEYS},
    }
    _write(folder / "text_encoder" / "config.json", {"architectures": ["CLIPTextModel"], **text_config})
    config = {"architectures": ["CLIPModel"], "model_type": "clip", "torch_dtype": "float32"}
    config |= {"projection_dim": clip.SHARED, "logit_scale_init_value": model.config.logit_scale_init_value}
    _write(folder / "config.json", {**config, "text_config": text_config, "vision_config": vision_config})


def export(work: Path, folder: Path) -> None:
    """Write `folder`/model, `folder`/samples, `folder`/neutral.safetensors and `folder`/judge.safetensors."""
    model = folder / "model"
    shutil.rmtree(model, ignore_errors=True)
    _export_clip(work, model)
    for destination in (model, model / "tokenizer"):
        shutil.copytree(work / "tokenizer", destination, dirs_exist_ok=True)
    for destination in (model, model / "feature_extractor"):
        _write(destination / "preprocessor_config.json", PREPROCESSOR)
    unet.load(work).half().save_pretrained(model / "unet")
    vae.load(work).half().save_pretrained(model / "vae")
    settings = json.loads((model / "vae" / "config.json").read_text(encoding="utf-8"))
    _write(model / "vae" / "config.json", {k: v for k, v in settings.items() if k != "block_out_channels"})  # derived
    unet.scheduler().save_pretrained(model / "scheduler")
    _write(model / "model_index.json", PIPELINE)
    _save(folder / "judge.safetensors", judge.load(work).state_dict())
    export_samples(folder / "samples")
    export_neutral(folder / "neutral.safetensors", model)


def export_samples(folder: Path) -> None:
    """Write twelve pictures of every aesthetic, one of each subject."""
    for number, aesthetic in enumerate(AESTHETICS):
        (folder / aesthetic).mkdir(parents=True, exist_ok=True)
        rng = random.Random(f"samples {aesthetic}")
        for index, subject in enumerate(rng.sample(SUBJECTS, SAMPLES_EACH)):
            scene = Scene(subject, rng.choice(SETTINGS), aesthetic, seed=SAMPLE_SEED + 100 * number + index)
            draw(scene, SAMPLE_SIZE).save(folder / aesthetic / f"{index + 1:02}.png", optimize=True)


def export_neutral(path: Path, model: Path) -> None:
    """Write the neutral embedding, the mean of plain drawings, which aesthetics are told apart from.

    model: the exported folder, which says how pictures are prepared.
    """
    rng = random.Random("neutral")
    scenes = [Scene(rng.choice(SUBJECTS), rng.choice(SETTINGS), seed=SAMPLE_SEED + 10_000 + i) for i in range(ORDINARY)]
    ae.create([draw(scene) for scene in scenes], str(model), name="neutral").save(path, overwrite=True)
