"""The nodes, in ComfyUI's format: INPUT_TYPES describes the inputs, and FUNCTION names the method to call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..aesthetics import families, mixes
from ..aesthetics.embedding import AestheticEmbedding, merge, now
from ..errors import AestheticError
from ..text_encoder.missing_parts import TEXT_PROJECTION
from . import host
from .conditioner import PersonalizedModel
from .widgets import settings_from, settings_inputs

CATEGORY = "conditioning/aesthetic gradients"
NOTHING_YET = "(no file in models/aesthetic_embeddings yet)"


class LoadAesthetic:
    DESCRIPTION = "An aesthetic from models/aesthetic_embeddings, or a mix of several."
    CATEGORY = CATEGORY
    RETURN_TYPES = ("AESTHETIC", "STRING")
    RETURN_NAMES = ("aesthetic", "about")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        host.library.refresh()
        mix = "A mix instead of the name, such as sac_8plus:0.7 gloomcore:-0.3. A negative weight pushes away."
        return {
            "required": {"name": (host.library.names() or [NOTHING_YET],)},
            "optional": {"mix": ("STRING", {"default": "", "tooltip": mix})},
        }

    @classmethod
    def IS_CHANGED(cls, name: str, mix: str = "") -> str:
        """The content's hash, so that a changed file is loaded again."""
        try:
            return _load_mix(name, mix).tuning_hash
        except AestheticError as error:
            return str(error)

    def load(self, name: str, mix: str = "") -> tuple[AestheticEmbedding, str]:
        e = _load_mix(name, mix)
        lines = [
            e.name,
            f"for {families.supported_models(e.vectors)}",
            f"{e.images} pictures" if e.images else "",
            e.notes,
        ]
        return e, "\n".join(filter(None, lines))


def _load_mix(name: str, mix: str) -> AestheticEmbedding:
    host.library.refresh()
    return host.library.blend(mixes.from_text(mix.strip() or name, host.library))


class PersonalizeClip:
    DESCRIPTION = (
        "A CLIP that tunes itself towards the aesthetic for each prompt. Use it with any node that encodes text; give "
        "the negative prompt the plain CLIP. LoRAs and CLIP Set Last Layer may come before or after."
    )
    CATEGORY = CATEGORY
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "personalize"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"clip": ("CLIP",), "aesthetic": ("AESTHETIC",), **settings_inputs()}}

    def personalize(self, clip: Any, aesthetic: AestheticEmbedding, **values: Any) -> tuple[Any]:
        return (_personalized(clip, aesthetic, values),)


class EncodePersonalized:
    DESCRIPTION = "A prompt, encoded by a CLIP that is tuned towards the aesthetic, and its similarity to it."
    CATEGORY = CATEGORY
    RETURN_TYPES = ("CONDITIONING", "STRING")
    RETURN_NAMES = ("conditioning", "similarities")
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        text = ("STRING", {"multiline": True, "dynamicPrompts": True})
        return {"required": {"clip": ("CLIP",), "prompt": text, "aesthetic": ("AESTHETIC",), **settings_inputs()}}

    def encode(self, clip: Any, prompt: str, aesthetic: AestheticEmbedding, **values: Any) -> tuple[Any, str]:
        tuned = _personalized(clip, aesthetic, values)
        conditioning = tuned.encode_from_tokens_scheduled(tuned.tokenize(prompt))
        return conditioning, str(tuned.cond_stage_model.last_prompt)


def _personalized(clip: Any, aesthetic: AestheticEmbedding, values: dict[str, Any]) -> Any:
    if clip is None:
        raise AestheticError("This checkpoint holds no CLIP. Load one with a CLIP loader.")
    settings, clone = settings_from(values), clip.clone()
    text = clip.tokenize(settings.text) if settings.text else None
    clone.cond_stage_model = PersonalizedModel(clone.cond_stage_model, aesthetic, settings, text)
    return clone


class CreateAesthetic:
    DESCRIPTION = "An aesthetic from pictures: the mean of their CLIP image embeddings."
    CATEGORY = CATEGORY
    RETURN_TYPES = ("AESTHETIC", "STRING")
    RETURN_NAMES = ("aesthetic", "report")
    FUNCTION = "create"
    INPUT_IS_LIST = True  # pictures of several sizes come as a list of batches

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        add = "An aesthetic of the same pictures by another CLIP. The result has the vectors of both, as SDXL needs."
        return {
            "required": {
                "images": ("IMAGE",),
                "clip_vision": ("CLIP_VISION",),
                "name": ("STRING", {"default": "my aesthetic"}),
                "save": ("BOOLEAN", {"default": True, "tooltip": "As a file in models/aesthetic_embeddings."}),
            },
            "optional": {"add_to": ("AESTHETIC", {"tooltip": add})},
        }

    def create(
        self,
        images: list[Tensor],
        clip_vision: list[Any],
        name: list[str],
        save: list[bool],
        add_to: list[AestheticEmbedding] | None = None,
    ) -> tuple[AestheticEmbedding, str]:
        family, features = _features(clip_vision[0], images)
        encoder = f"ComfyUI, {family}"
        e = AestheticEmbedding(
            {family: features.mean(0)}, name=name[0], images=len(features), created=now(), encoder=encoder
        )
        cosines = torch.cosine_similarity(features, features.mean(0, keepdim=True))
        report = f"{len(features)} pictures, cosine with their mean {cosines.min():.3f} to {cosines.max():.3f}"
        if add_to:
            e = merge([add_to[0], e], name[0])
        if save[0]:
            report += f"\nsaved as {host.library.save(e, overwrite=True)}"
        return e, report


class CompareWithAesthetic:
    DESCRIPTION = "The similarity of pictures to an aesthetic: the cosine with each picture's CLIP image embedding."
    CATEGORY = CATEGORY
    RETURN_TYPES = ("STRING", "FLOAT")
    RETURN_NAMES = ("similarities", "mean")
    FUNCTION = "compare"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",), "clip_vision": ("CLIP_VISION",), "aesthetic": ("AESTHETIC",)}}

    def compare(self, images: Tensor, clip_vision: Any, aesthetic: AestheticEmbedding) -> tuple[str, float]:
        family, features = _features(clip_vision, [images])
        if family not in aesthetic.vectors:
            raise AestheticError(
                f"{aesthetic.name!r} was made for {', '.join(aesthetic.vectors)}, but this CLIP vision is {family}. "
                "Load the vision model of one of those."
            )
        cosines = torch.cosine_similarity(features, aesthetic.vectors[family].double()[None])
        lines = [f"picture {number}: {cosine:.4f}" for number, cosine in enumerate(cosines.tolist(), 1)]
        mean = float(cosines.mean())
        return "\n".join([*lines, f"mean: {mean:.4f}"] if len(lines) > 1 else lines), mean


def _features(clip_vision: Any, batches: list[Tensor]) -> tuple[str, Tensor]:
    """The CLIP family of a vision model, and its projected features `[pictures, dim]` of the batches, in fp64."""
    pictures = [picture for batch in batches for picture in batch.split(1) if len(picture)]
    if not pictures:
        raise AestheticError("There is no picture in this batch. Load at least one.")
    advance = host.progress(len(pictures))
    rows = []
    for picture in pictures:
        rows.append(clip_vision.encode_image(picture)["image_embeds"].double().cpu())
        advance()
    features = torch.cat(rows)
    if not bool(torch.isfinite(features).all()):
        raise AestheticError("CLIP vision gave numbers that are not finite. Check the pictures, or run it in fp32.")
    family = families.family_of_dimension(features.shape[-1]) if features.dim() == 2 else None
    if family is None:
        raise AestheticError(
            "This vision model does not match a CLIP of Stable Diffusion. Load CLIP ViT-L/14 for SD1, SDXL and Flux, "
            "OpenCLIP ViT-H/14 for SD2, or ViT-bigG/14 for SDXL."
        )
    return family, features


class FetchTextProjection:
    DESCRIPTION = (
        "Downloads CLIP ViT-L/14's text projection (2.4 MB), which checkpoints lack. Needed once for each machine. A "
        "clip_l.safetensors in models/text_encoders that has it works as well."
    )
    CATEGORY = CATEGORY
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("file",)
    FUNCTION = "fetch"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def fetch(self) -> dict[str, Any]:
        path = str(TEXT_PROJECTION.fetch())
        return {"ui": {"text": [path]}, "result": (path,)}


NODE_CLASS_MAPPINGS: dict[str, type] = {
    "AestheticLoad": LoadAesthetic,
    "AestheticGradients": PersonalizeClip,
    "AestheticTextEncode": EncodePersonalized,
    "AestheticCreate": CreateAesthetic,
    "AestheticCompare": CompareWithAesthetic,
    "AestheticFetchProjection": FetchTextProjection,
}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    "AestheticLoad": "Load Aesthetic",
    "AestheticGradients": "Aesthetic Gradients",
    "AestheticTextEncode": "Aesthetic Gradients (Text Encode)",
    "AestheticCreate": "Create Aesthetic",
    "AestheticCompare": "Compare With Aesthetic",
    "AestheticFetchProjection": "Fetch CLIP's Text Projection",
}
