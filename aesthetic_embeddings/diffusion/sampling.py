"""Loads diffusers pipelines from disk, and generates pictures with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open

from ..errors import AestheticError
from .threads import limited_threads


def load_pipeline(model: str | Path, device: str | None = None, dtype: str | None = None) -> Any:
    """Load a text-to-image pipeline from a diffusers folder, a hub id in the local cache, or a checkpoint file.

    Nothing is downloaded.

    device: such as "cpu" or "cuda:1"; by default the GPU if there is one.
    dtype: of the weights, such as "float16"; by default float16 with CUDA, else float32.

    Raises AestheticError if the model is not on this machine, or not complete.
    """
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    device = device or ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    dtype = dtype or ("float16" if device.startswith("cuda") else "float32")
    options: dict[str, Any] = {"torch_dtype": getattr(torch, dtype), "local_files_only": True}
    try:
        if Path(model).suffix in (".safetensors", ".ckpt"):
            pipeline_class, config = _checkpoint_config(Path(model))
            pipeline = getattr(diffusers, pipeline_class).from_single_file(str(model), config=str(config), **options)
        else:
            pipeline = diffusers.DiffusionPipeline.from_pretrained(str(model), **options)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise AestheticError(
            f"{model} is no diffusers folder, no checkpoint file and no model in the local Hugging Face cache, or is "
            f"not complete ({reason}). Nothing is downloaded here: for a model of the hub, run `hf download` first."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _checkpoint_config(checkpoint: Path) -> tuple[str, Path]:
    """The pipeline class for a checkpoint file, and the folder with its configuration and tokenizer.

    The folder is a diffusers folder beside the checkpoint with the same name, or that of its base model in the hub's
    cache. Without it diffusers would download the base model's.
    """
    from huggingface_hub import snapshot_download

    if not checkpoint.is_file():
        raise AestheticError(f"{checkpoint} does not exist.")
    names = _tensor_names(checkpoint)
    pipeline_class, base_model = "StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5"
    if any(name.startswith("conditioner.") for name in names):
        pipeline_class, base_model = "StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0"
    elif any(name.startswith("cond_stage_model.model.") for name in names):
        base_model = "stabilityai/stable-diffusion-2-1"
    config_folder = checkpoint.with_suffix("")
    if (config_folder / "model_index.json").is_file():
        return pipeline_class, config_folder
    try:
        return pipeline_class, Path(snapshot_download(base_model, local_files_only=True))
    except OSError as error:
        raise AestheticError(
            f"{checkpoint} holds only weights. The configuration and tokenizer of {base_model} are needed too: have "
            "them in the local Hugging Face cache, or put its folder, without weights, beside the checkpoint as "
            f"{config_folder}."
        ) from error


def _tensor_names(checkpoint: Path) -> list[str]:
    if checkpoint.suffix == ".ckpt":  # pickles are not read here, and treated as SD1 checkpoints
        return []
    try:
        with safe_open(checkpoint, framework="pt") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise AestheticError(f"{checkpoint} is damaged, or no safetensors file.") from error


def check_size(pipeline: Any, width: int, height: int) -> None:
    """Raise AestheticError for a size, in pixels, that the model cannot generate."""
    multiple = max(8, getattr(pipeline, "vae_scale_factor", 8) * getattr(pipeline, "patch_size", 1))
    if width % multiple or height % multiple:
        raise AestheticError(f"Width and height should be multiples of {multiple}, unlike {width} x {height}.")


def pictures(
    pipeline: Any,
    conditioning: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    steps: int = 20,
    cfg: float = 5.0,
    size: tuple[int, int] | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[Image.Image]:
    """Generate one picture for each seed. A picture depends on its own seed alone.

    conditioning: keyword arguments of the pipeline: a `prompt`, or `personalized_prompt(...).arguments`.
    steps: of the sampler. size: (width, height), by default the model's own. on_step: called after each sampler step.
    """

    def on_step_end(_: Any, __: int, ___: Any, values: dict[str, Any]) -> dict[str, Any]:
        on_step()
        return values

    width, height = size or (None, None)
    for seed in seeds:
        with limited_threads(pipeline):
            output = pipeline(
                **conditioning,
                num_inference_steps=steps,
                guidance_scale=cfg,
                width=width,
                height=height,
                generator=torch.Generator("cpu").manual_seed(seed),  # a seed gives the same noise on every device
                callback_on_step_end=on_step_end,
            )
        yield from output.images
