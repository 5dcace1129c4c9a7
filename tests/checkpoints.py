"""A small random SD1 checkpoint in the native layout that people download and hosts load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

IN_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
AROUND = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
IN_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def small_sd1(tokenizer: Any, **text: Any) -> Any:
    """A random pipeline with all of SD1's blocks, each as narrow as can be."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    narrow = (32,) * 4
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **text,
    )
    return diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=narrow,
            layers_per_block=2,
        ),
        text_encoder=CLIPTextModel(config),
        tokenizer=tokenizer,
        unet=diffusers.UNet2DConditionModel(
            sample_size=8, block_out_channels=narrow, cross_attention_dim=32, attention_head_dim=8
        ),
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_native(pipeline: Any, path: Path) -> None:
    """Write the pipeline's weights as one checkpoint file."""
    weights = {f"model.diffusion_model.{name}": value for name, value in native_unet(pipeline.unet).items()}
    weights |= {f"first_stage_model.{name}": value for name, value in native_vae(pipeline.vae).items()}
    for name, value in pipeline.text_encoder.state_dict().items():
        weights[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    save_file({name: value.contiguous() for name, value in weights.items()}, path)


def native_unet(unet: Any) -> dict[str, Tensor]:
    layers = unet.config.layers_per_block
    attends = "CrossAttn" in unet.config.up_block_types[0]
    return {_unet(name, layers, attends): value for name, value in unet.state_dict().items()}


def native_vae(vae: Any) -> dict[str, Tensor]:
    weights = {}
    for name, value in vae.state_dict().items():
        native = _vae(name)
        attends = ".attn_1." in native and "norm" not in native and value.dim() == 2
        weights[native] = value[..., None, None] if attends else value
    return weights


def _unet(name: str, layers: int, attends: bool) -> str:
    for theirs, native in AROUND.items():
        if name.startswith(f"{theirs}."):
            return name.replace(theirs, native)
    block, rest = _unet_block(name.split("."), layers, attends)
    if ".resnets." in name:
        part, kind = rest.rsplit(".", 1)
        rest = f"{IN_RESNET[part]}.{kind}"
    return f"{block}.{rest}"


def _unet_block(parts: list[str], layers: int, attends: bool) -> tuple[str, str]:
    """`down_blocks.i.resnets.j.rest` and its like: (the native block, rest).

    layers: of each block, going down; attends: whether the first block going up has attention.
    """
    if parts[0] == "mid_block":
        at = 1 if parts[1] == "attentions" else 2 * int(parts[2])
        return f"middle_block.{at}", ".".join(parts[3:])
    side, i, kind, j, rest = parts[0], int(parts[1]), parts[2], int(parts[3]), ".".join(parts[4:])
    if kind == "downsamplers":
        return f"input_blocks.{(layers + 1) * (i + 1)}.0.op", rest.removeprefix("conv.")
    if kind == "upsamplers":
        return f"output_blocks.{(layers + 1) * (i + 1) - 1}.{2 if i > 0 or attends else 1}", rest
    place = (layers + 1) * i + j + (1 if side == "down_blocks" else 0)
    return f"{'input' if side == 'down_blocks' else 'output'}_blocks.{place}.{int(kind == 'attentions')}", rest


def _vae(name: str) -> str:
    parts = name.split(".")
    if len(parts) > 4 and parts[1] in ("down_blocks", "up_blocks"):
        up, i, j, rest = parts[1] == "up_blocks", int(parts[2]), parts[4], ".".join(parts[5:])
        place = f"up.{3 - i}" if up else f"down.{i}"
        inner = f"block.{j}" if parts[3] == "resnets" else "upsample" if up else "downsample"
        return f"{parts[0]}.{place}.{inner}.{rest.replace('conv_shortcut', 'nin_shortcut')}"
    if len(parts) > 3 and parts[1] == "mid_block":
        rest = ".".join(parts[4:])
        if parts[2] == "resnets":
            return f"{parts[0]}.mid.block_{int(parts[3]) + 1}.{rest}"
        part, kind = rest.rsplit(".", 1)
        return f"{parts[0]}.mid.attn_1.{IN_VAE_ATTENTION[part]}.{kind}"
    return name.replace("conv_norm_out", "norm_out")
