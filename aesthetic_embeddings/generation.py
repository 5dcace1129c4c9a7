"""Pictures from a diffusers pipeline, and the PNG files and sheets that show them."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from safetensors import SafetensorError, safe_open

from .embedding import AestheticEmbedding
from .errors import AestheticError
from .files import write_whole
from .settings import Settings

#: The PNG text chunk that holds how a picture was made, as JSON.
TEXT_KEY = "aesthetic-gradients"


def load_pipeline(model: str | Path) -> Any:
    """A text-to-image pipeline: from a diffusers folder, a hub id that is in the local cache, or a checkpoint file.

    Nothing is downloaded. Runs on the GPU in half precision where there is one, else on the CPU in fp32.
    Raises AestheticError where there is no such model here.
    """
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    cuda = torch.cuda.is_available()
    options: dict[str, Any] = {"torch_dtype": torch.float16 if cuda else torch.float32, "local_files_only": True}
    try:
        if Path(model).suffix in (".safetensors", ".ckpt"):
            kind, config = _about_checkpoint(Path(model))
            pipeline = getattr(diffusers, kind).from_single_file(str(model), config=str(config), **options)
        else:
            pipeline = diffusers.DiffusionPipeline.from_pretrained(str(model), **options)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise AestheticError(
            f"{model} is no diffusers folder, no checkpoint file and no model in the local Hugging Face cache, or is "
            f"not complete ({reason}). Nothing is downloaded here: for a model of the hub, run `hf download` first."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if cuda else "mps" if torch.backends.mps.is_available() else "cpu")


def _about_checkpoint(checkpoint: Path) -> tuple[str, Path]:
    """The pipeline class for a checkpoint file, and the folder with the configuration and tokenizer that go with it.

    That is a diffusers folder beside the checkpoint, called like it, or one of its family in the hub's cache. Left to
    itself, diffusers would download the latter.
    """
    from huggingface_hub import snapshot_download

    if not checkpoint.is_file():
        raise AestheticError(f"{checkpoint} does not exist.")
    names = _tensor_names(checkpoint)
    kind, family = "StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5"
    if any(name.startswith("conditioner.") for name in names):
        kind, family = "StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0"
    elif any(name.startswith("cond_stage_model.model.") for name in names):
        family = "stabilityai/stable-diffusion-2-1"
    beside = checkpoint.with_suffix("")
    if (beside / "model_index.json").is_file():
        return kind, beside
    try:
        return kind, Path(snapshot_download(family, local_files_only=True))
    except OSError as error:
        raise AestheticError(
            f"{checkpoint} holds weights alone. The configuration and tokenizer of {family} are needed too: have them "
            f"in the local Hugging Face cache, or put its folder, without weights, beside the checkpoint as {beside}."
        ) from error


def _tensor_names(checkpoint: Path) -> list[str]:
    if checkpoint.suffix == ".ckpt":  # pickles are left to diffusers, and taken for SD1 checkpoints
        return []
    try:
        with safe_open(checkpoint, framework="pt") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise AestheticError(f"{checkpoint} is damaged, or no safetensors file.") from error


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
    """One picture for each seed, as it is made, and the same whatever the other seeds are.

    conditioning: keyword arguments of the pipeline: a `prompt`, or `personalized_prompt(...).arguments`.
    steps: of the sampler. size: (width, height), by default the model's own. on_step: called after each sampler step.
    """

    def stepped(_: Any, __: int, ___: Any, values: dict[str, Any]) -> dict[str, Any]:
        on_step()
        return values

    width, height = size or (None, None)
    for seed in seeds:
        out = pipeline(
            **conditioning,
            num_inference_steps=steps,
            guidance_scale=cfg,
            width=width,
            height=height,
            generator=torch.Generator("cpu").manual_seed(seed),  # so that a seed means the same on every device
            callback_on_step_end=stepped,
        )
        yield from out.images


def described(
    prompt: str,
    embedding: AestheticEmbedding,
    settings: Settings,
    *,
    model: str,
    negative_prompt: str,
    sampler_steps: int,
    cfg: float,
    similarities: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """What pictures say of how they were made, but for their seeds and sizes. The keys are a file format."""
    return {
        "version": 1,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "model": model,
        "sampler_steps": sampler_steps,
        "cfg": cfg,
        "aesthetic": embedding.name,
        "aesthetic_hash": embedding.content_hash,
        "settings": dataclasses.asdict(settings),
        "similarities": dict(similarities),
    }


def save_picture(image: Image.Image, path: str | Path, about: Mapping[str, Any]) -> Path:
    """Write a PNG, whole or not at all, with `about` as JSON in its text chunk `aesthetic-gradients`."""
    info = PngInfo()
    info.add_itxt(TEXT_KEY, json.dumps(about, ensure_ascii=False))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    write_whole(Path(path), buffer.getvalue())
    return Path(path)


def read_about(path: str | Path) -> dict[str, Any]:
    """What `save_picture` wrote beside the pixels. Raises AestheticError where there is nothing of ours."""
    with Image.open(path) as image:
        text = getattr(image, "text", {}).get(TEXT_KEY, "")
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise AestheticError(f"{path} holds no settings of aesthetic-gradients.") from error


def sheet(
    rows: Sequence[Sequence[Image.Image]],
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    cell: int = 256,
) -> Image.Image:
    """Pictures in a grid, each fitted into `cell` x `cell` pixels; titles above the columns, labels beside the rows."""
    gap, font = 8, _font(max(14, cell // 14))
    top = 2 * font.size + gap if columns else gap
    left = cell * 3 // 4 if labels else gap
    width = left + max(len(row) for row in rows) * (cell + gap)
    page = Image.new("RGB", (width, top + len(rows) * (cell + gap)), "white")
    draw = ImageDraw.Draw(page)
    for i, title in enumerate(columns):
        draw.text((left + i * (cell + gap) + cell / 2, top / 2), title, "black", font, anchor="mm", align="center")
    for j, row in enumerate(rows):
        y = top + j * (cell + gap)
        if labels:
            text = textwrap.fill(labels[j], math.floor(left / (font.size * 0.6)))
            draw.multiline_text((gap, y + cell / 2), text, "black", font, anchor="lm")
        for i, image in enumerate(row):
            scale = cell / max(image.size)
            fitted = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
            x = left + i * (cell + gap)
            page.paste(fitted, (x + (cell - fitted.width) // 2, y + (cell - fitted.height) // 2))
    return page


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
