"""The same conditioning by the core alone, in an encoder that the host has never seen."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel

import aesthetic_embeddings as ae

from .fake_host import Host, Picture, clip_text_model


@functools.cache
def twin(flavor: str, seed: int) -> CLIPTextModel:
    encoder = clip_text_model(flavor, seed)
    with torch.inference_mode(flavor == "forge"):
        return encoder.requires_grad_(False) if flavor == "a1111" else _warm(encoder)


def _warm(encoder: CLIPTextModel) -> CLIPTextModel:
    encoder.text_model.embeddings.to(torch.float32)
    return encoder


def outside(
    host: Host, text: str, embedding: str = "dusk", clip_skip: int = 1, seed: int = 1, **settings: Any
) -> Tensor:
    """`[77 * chunks, width]` for one text, which is cut into chunks and emphasised as the host does it."""
    encoder, e = twin(host.flavor, seed), host.webui("host").library.get(embedding)
    chunks = host.model.engine.chunks(text)
    ids = torch.tensor([chunk.ids for chunk in chunks])
    multipliers = torch.tensor([chunk.multipliers for chunk in chunks])[..., None]
    with (
        torch.inference_mode() if host.forge else torch.no_grad(),
        ae.personalized(encoder, ids, e, ae.Settings(**settings)),
    ):
        out = encoder(input_ids=ids, output_hidden_states=True)
        z = encoder.text_model.final_layer_norm(out.hidden_states[-clip_skip])
    scale = z.mean((1, 2), keepdim=True) / (z * multipliers).mean((1, 2), keepdim=True)
    return (z * multipliers * scale).flatten(0, 1)


def cond(picture: Picture, prompt: int = 0, part: int = 0, time: int = 0) -> Tensor:
    """Of the first pass: for a prompt of the batch, a part of AND, and a stage of [a:b:0.5]."""
    return picture.c[prompt][part][time].cond


def uncond(picture: Picture, prompt: int = 0) -> Tensor:
    return picture.uc[prompt][0].cond


def close(a: Tensor, b: Tensor, plain: Tensor) -> bool:
    """Equal up to rounding, measured against what tuning changed."""
    return bool((a - b).norm() <= 1e-3 * (b - plain).norm())
