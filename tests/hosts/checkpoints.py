"""Random checkpoints of SD1 and SDXL that hosts take for real ones, with the aesthetics that fit them.

    python -m tests.hosts.checkpoints FOLDER

CLIPs and autoencoders have their full size, which hosts do not read off the file. The U-Net has few channels.
Written: `sd1.safetensors`, `sdxl.safetensors`, `both.safetensors` (an aesthetic for both families), `clip/` (a whole
CLIP ViT-L/14 in transformers format) and `cache/` (its text projection, for AESTHETIC_CACHE).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import aesthetic_embeddings as ae

from ..checkpoints import native_unet, native_vae

OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def text_encoder(width: int, layers: int, activation: str) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        projection_dim=width,
        hidden_act=activation,
    )
    return away_from_zero(CLIPTextModelWithProjection(config).eval())


def away_from_zero(encoder: nn.Module) -> nn.Module:
    """Hidden states with a mean: hosts restore it after emphasis, and would divide by noise."""
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith("final_layer_norm.bias"):
                parameter.add_(0.1)
    return encoder


def unet(width: int, blocks: list[bool], layers: int, depth: Any = 1, **more: Any) -> Any:
    """blocks: whether each has attention, as many channels each as hosts recognize a model by."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(320,) * len(blocks),
        layers_per_block=layers,
        down_block_types=["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in blocks],
        up_block_types=["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(blocks)],
        cross_attention_dim=width,
        transformer_layers_per_block=depth,
        **more,
    )


def autoencoder() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    )


def inner(encoder: nn.Module) -> dict[str, Tensor]:
    """Without the projection, by the names below `text_model.`"""
    names = encoder.state_dict().items()
    return {name.removeprefix("text_model."): x for name, x in names if "projection" not in name}


def open_clip(encoder: nn.Module) -> dict[str, Tensor]:
    """By open_clip's names: q, k and v in one matrix, the projection `[width, dim]`."""
    weights = inner(encoder)
    found = {
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
        "text_projection": encoder.state_dict()["text_projection.weight"].T,
        "logit_scale": torch.tensor(4.6),
    }
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layers."))
    for i in range(layers):
        ours, theirs = f"encoder.layers.{i}.", f"transformer.resblocks.{i}."
        for part in ("weight", "bias"):
            thirds = [weights[f"{ours}self_attn.{name}_proj.{part}"] for name in "qkv"]
            found[f"{theirs}attn.in_proj_{part}"] = torch.cat(thirds)
            for name, native in OPEN_CLIP.items():
                found[f"{theirs}{native}.{part}"] = weights[f"{ours}{name}.{part}"]
    return found


def save(path: Path, parts: dict[str, dict[str, Tensor]]) -> None:
    """parts: by the prefix of their names. In fp16, as people download them."""
    weights = {prefix + name: x.half() for prefix, part in parts.items() for name, x in part.items()}
    save_file({name: x.contiguous().clone() for name, x in weights.items()}, path, metadata={"format": "pt"})


def aesthetic(name: str, **vectors: Tensor) -> ae.AestheticEmbedding:
    return ae.AestheticEmbedding({key.replace("_", "-"): x for key, x in vectors.items()}, name=name, images=1)


def main() -> None:
    from transformers import CLIPConfig, CLIPModel

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    vae = native_vae(autoencoder())

    clip_l = text_encoder(768, 12, "quick_gelu")
    first = {
        "model.diffusion_model.": native_unet(unet(768, [True, False], 1, attention_head_dim=8)),
        "first_stage_model.": vae,
        "cond_stage_model.transformer.text_model.": inner(clip_l),
    }
    save(folder / "sd1.safetensors", first)

    clip_g = text_encoder(1280, 32, "gelu")
    blocks = unet(
        *(2048, [False, True, True], 2, [1, 2, 10]),
        attention_head_dim=[5, 5, 5],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    second = {
        "model.diffusion_model.": native_unet(blocks),
        "first_stage_model.": vae,
        "conditioner.embedders.0.transformer.text_model.": inner(clip_l),
        "conditioner.embedders.1.model.": open_clip(clip_g),
    }
    save(folder / "sdxl.safetensors", second)

    projection = clip_l.text_projection.weight.detach().half().float()  # as rounded as in `clip/`
    save_file({"text_projection.weight": projection}, folder / "cache/clip-vit-l-14-text-projection.safetensors")
    text = {**clip_l.config.to_dict(), "projection_dim": 768}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    vision |= {"patch_size": 14, "projection_dim": 768}
    whole = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=768))
    whole.load_state_dict(clip_l.state_dict(), strict=False)  # a host with this CLIP takes its projection
    whole.half().save_pretrained(folder / "clip")
    vectors = {"clip_vit_l_14": torch.randn(768), "open_clip_vit_bigg_14": torch.randn(1280)}
    aesthetic("both", **vectors).save(folder / "both.safetensors")


if __name__ == "__main__":
    main()
