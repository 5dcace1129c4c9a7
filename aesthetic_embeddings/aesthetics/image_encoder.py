"""A CLIP vision tower with its projection: found, loaded, and run on pictures."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from ..errors import EncoderError, out_of_memory
from . import families
from .encoders import KnownEncoder, encoder_name

#: A folder or hub id in transformers format, one of encoders.ENCODERS, or a transformers model.
Encoder: TypeAlias = Any


@dataclass
class ImageEncoder:
    """A CLIP vision tower with its projection and its image processor.

    batch_size: how many pictures are encoded at once. Halved when memory runs out.
    """

    model: Any
    processor: Any
    name: str
    family: str
    batch_size: int

    @property
    def clips(self) -> dict[str, str]:
        """The CLIP's signature by family (see AestheticEmbedding); empty if there is no text projection."""
        projection = getattr(self.model, "text_projection", None)
        return {} if projection is None else {self.family: families.clip_signature(projection.weight)}

    def prepare(self, image: Image.Image) -> Tensor:
        """The tower's input `[3, height, width]` for an RGB image."""
        return torch.as_tensor(self.processor(images=image, return_tensors="pt")["pixel_values"][0])

    @torch.no_grad()
    def features(self, pixels: Sequence[Tensor]) -> list[Tensor]:
        """The projected image features, not normalized: one `[dim]` per picture, in fp32 on the CPU."""
        found: list[Tensor] = []
        weight = self.model.visual_projection.weight
        while len(found) < len(pixels):
            batch = torch.stack(list(pixels[len(found) : len(found) + self.batch_size]))
            try:
                batch = batch.to(weight.device, weight.dtype)
                with torch.autocast(batch.device.type, torch.bfloat16, enabled=_bf16_is_faster(weight)):
                    pooled = self.model.vision_model(pixel_values=batch)[1]  # not every release takes return_dict
                found += self.model.visual_projection(pooled.to(weight.dtype)).float().cpu()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise EncoderError(
                        f"The memory of {weight.device} does not suffice to encode one picture with {self.name}. "
                        "Free some memory, or use another device."
                    ) from error
                self.batch_size = len(batch) // 2
        return found


def name_of(encoder: Encoder) -> str:
    """The name of an encoder in its embeddings. The encoder need not be loaded."""
    if isinstance(encoder, KnownEncoder):
        return encoder.name
    if isinstance(encoder, (str, os.PathLike)):
        return encoder_name(str(encoder))
    source = str(getattr(encoder, "name_or_path", "") or "")
    return encoder_name(source) if source else type(encoder).__name__


def load_image_encoder(
    encoder: Encoder, processor: Any, device: torch.device | str, batch_size: int, allow_pickle: bool
) -> ImageEncoder:
    """Load the encoder, if it is not loaded yet, on `device`; see `creation.create` for the arguments.

    Raises EncoderError if it is not on this machine, or is not a CLIP with a vision tower.
    """
    name = name_of(encoder)
    if isinstance(encoder, KnownEncoder):
        encoder = encoder.folder()
    if isinstance(encoder, (str, os.PathLike)):
        source, model = str(encoder), _load(str(encoder), allow_pickle).to(device)
    else:
        source, model = str(getattr(encoder, "name_or_path", "") or ""), encoder
    if not hasattr(model, "vision_model") or not hasattr(model, "visual_projection"):
        raise EncoderError(
            f"{type(model).__name__} cannot encode pictures. Pass a folder in transformers format, a CLIPModel or a "
            "CLIPVisionModelWithProjection."
        )
    processor = getattr(processor, "image_processor", processor) or _processor(source, model)
    return ImageEncoder(model, processor, name, _family(model), batch_size)


def _family(model: Any) -> str:
    config, dim = model.config, model.visual_projection.out_features
    if text := getattr(config, "text_config", None):
        return families.family(text.hidden_size, text.num_hidden_layers, dim)
    if (known := families.family_of_dimension(dim)) is not None:
        return known
    raise EncoderError(
        f"A vision tower alone, with features of {dim} numbers, does not say which CLIP it belongs to. Load the "
        "whole CLIPModel."
    )


def _load(source: str, allow_pickle: bool) -> Any:
    """The CLIP in a folder or in the hub's local cache, in fp32 on the CPU. Nothing is downloaded."""
    import transformers

    kinds = {"clip": "CLIPModel", "clip_vision_model": "CLIPVisionModelWithProjection"}
    only = {"local_files_only": True, "use_safetensors": None if allow_pickle else True}
    if not allow_pickle:
        _check_safe(source)
    try:
        config, _ = transformers.PretrainedConfig.get_config_dict(source, local_files_only=True)
        kind = config.get("model_type", "")
        if kind and kind not in kinds:
            raise EncoderError(f"{source} holds {kind!r}, not a CLIP.")
        with torch.random.fork_rng(devices=[]):  # building a model uses random numbers
            return getattr(transformers, kinds[kind]).from_pretrained(source, **only).float()
    except (OSError, ValueError, KeyError) as error:
        raise EncoderError(
            f"There is no CLIP called {source!r}: neither a folder with config.json and model.safetensors, nor one in "
            "the hub's local cache. Give the folder of one in transformers format, or download it once: "
            f"hf download {source} --include '*.json' model.safetensors"
        ) from error
    except (RuntimeError, SafetensorError) as error:
        raise EncoderError(f"The CLIP in {source} is damaged: {error!s:.500}") from error


def _check_safe(source: str) -> None:
    """Raise EncoderError if the weights are pickled: transformers up to 4.30 ignores `use_safetensors`."""
    index = _file(source, "model.safetensors.index.json")
    shards: object = {}
    if index and index.stat().st_size < 16 * 2**20:
        with contextlib.suppress(ValueError, RecursionError, AttributeError):
            shards = json.loads(index.read_bytes()).get("weight_map")
    named = [str(name) for name in shards.values()] if isinstance(shards, dict) else []
    sharded = bool(named) and all(name.endswith(".safetensors") for name in named)
    safe = sharded if index else _file(source, "model.safetensors") is not None
    if not safe and (index or _file(source, "pytorch_model.bin") or _file(source, "pytorch_model.bin.index.json")):
        raise EncoderError(
            f"The CLIP in {source} has its weights in pytorch_model.bin alone, a format that can run code when it is "
            "loaded. Get its model.safetensors. If you trust the file: start `aesthetic-gradients create` with "
            "--allow-pickle, or the WebUI with --aesthetic-allow-pickle."
        )


def _file(source: str, name: str) -> Path | None:
    """A file in a folder, or in a repository of the hub's local cache; None if it is not there."""
    if os.path.isdir(source):
        return path if (path := Path(source, name)).is_file() else None
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(source, name)
    except ValueError:  # not a valid repository name
        return None
    return Path(found) if isinstance(found, str) else None


def _processor(source: str, model: Any) -> Any:
    """The image processor in the model's folder or cache, else CLIP's usual one for the model's image size."""
    import transformers

    # in transformers 5 the plain name is a class that needs torchvision; this one needs only Pillow
    kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    if source:
        with contextlib.suppress(OSError, ValueError):
            return kind.from_pretrained(source, local_files_only=True)
    size = getattr(model.config, "vision_config", model.config).image_size
    return kind(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def _bf16_is_faster(weight: Tensor) -> bool:
    """True on CPUs that multiply faster in bf16. A feature's direction changes by less than 1e-4."""
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and cpu_is_faster_in_bf16()


@functools.cache
def cpu_is_faster_in_bf16() -> bool:
    """Measured, since having the instructions is not enough: AMD's Zen 5 is faster with them, some Xeons are slower."""
    if not getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():  # torch 2.6 and later
        return False

    def seconds(dtype: torch.dtype) -> float:
        x, w = torch.ones(400, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
        torch.nn.functional.linear(x, w)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            torch.nn.functional.linear(x, w)
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)
