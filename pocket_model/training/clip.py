"""The pocket CLIP: pictures and captions into one space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPConfig, CLIPModel

from ..words import SETTINGS, STYLES, SUBJECTS
from ..world import Scene
from . import data, tokenizer
from .loop import as_tensor, flipped, resumable, step_rng, update, warm_cosine

STEPS, BATCH, RATE = 2_800, 128, 1.2e-3
WIDTH, SHARED = 192, 64  # of the text tower, and of the space that pictures and captions share
ALIGNMENT = 2.0
MAX_SCALE = 20.0
SENSITIVITY = 2.5


def build(work: Path) -> CLIPModel:
    words = tokenizer.load(work / "tokenizer")
    special = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.eos_token_id,
    }
    text = {
        "vocab_size": len(words),
        "hidden_size": WIDTH,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": tokenizer.LENGTH,
        "projection_dim": SHARED,
        **special,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
        "projection_dim": SHARED,
    }
    return CLIPModel._from_config(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=SHARED), attn_implementation="eager"
    )


class Heads(nn.Module):
    """Linear readers of subject, setting and style: they steady the features early on and are dropped afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.subject, self.setting, self.style = (
            nn.Linear(SHARED, len(names)) for names in (SUBJECTS, SETTINGS, STYLES)
        )

    def loss(self, features: torch.Tensor, labels: torch.Tensor, weights: tuple[float, float, float]) -> torch.Tensor:
        heads = (self.subject, self.setting, self.style)
        return sum(
            w * F.cross_entropy(head(features), labels[:, i], ignore_index=-1)
            for i, (w, head) in enumerate(zip(weights, heads, strict=True))
        )


def same_scene(scenes: list[Scene]) -> torch.Tensor:
    """`[n, n]`, true where two different pictures could share a caption, so that neither is held against the other."""
    keys = [hash((s.subject, s.setting, s.style, tuple(sorted(name for name, _ in s.grading)))) for s in scenes]
    array = np.array(keys)
    return torch.from_numpy((array[:, None] == array[None]) & ~np.eye(len(array), dtype=bool))


def contrast(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """InfoNCE both ways, and a pull of every picture to its caption.

    The pull closes the gap between the modalities: only where an aesthetic's mean picture lies among the captions'
    features does a text encoder that is tuned towards it move the way that captions of this aesthetic lie.
    """
    cosines = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    logits, target = (scale * cosines).masked_fill(same, float("-inf")), torch.arange(len(cosines))
    apart = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
    return apart + ALIGNMENT * (1 - cosines.diagonal()).mean()


def train(work: Path) -> None:
    torch.manual_seed(2)
    words, model, heads = tokenizer.load(work / "tokenizer"), build(work).train(), Heads()
    both = nn.ModuleList([model, heads])
    decayed = [p for p in both.parameters() if p.ndim > 1]
    others = [p for p in both.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}], lr=RATE, betas=(0.9, 0.98)
    )
    pictures, labels, scenes = (
        data.pictures(work, "train"),
        torch.from_numpy(data.labels("train")),
        data.scenes("train"),
    )
    for step, progress in resumable(work / "clip.pt", STEPS, model=model, heads=heads, optimizer=optimizer):
        numbers, _ = step_rng("clip", step)
        chosen = np.sort(numbers.choice(len(pictures), BATCH, replace=False))
        batch = flipped(as_tensor(pictures[chosen]), numbers).contiguous()
        input_ids = tokenizer.ids(words, data.captions("train", chosen, step))
        used = (
            int((input_ids == words.eos_token_id).int().argmax(1).max()) + 1
        )  # causal: what follows the last end of text changes nothing
        with torch.autocast("cpu", torch.bfloat16):
            image = model.visual_projection(model.vision_model(batch).pooler_output).float()
            text = model.text_projection(model.text_model(input_ids[:, :used]).pooler_output).float()
        scale = model.logit_scale.exp().clamp(max=MAX_SCALE)
        loss = contrast(image, text, scale, same_scene([scenes[i] for i in chosen]))
        aside = heads.loss(image, labels[chosen], (1.0, 0.5, 0.5)) + heads.loss(text, labels[chosen], (0.5, 0.25, 0.25))
        update(optimizer, loss + 0.2 * aside, warm_cosine(step, STEPS, RATE), both)
        progress.report(contrast=loss.detach(), aside=aside.detach())


def load(work: Path) -> CLIPModel:
    model = build(work)
    model.load_state_dict(torch.load(work / "clip.pt", weights_only=True)["model"])
    return calibrated(model, SENSITIVITY).eval().requires_grad_(False)


@torch.no_grad()
def calibrated(model: CLIPModel, factor: float) -> CLIPModel:
    """The same function with a text tower that steps of a given size move `factor` times as far.

    All that is added to the residual stream is divided by `factor`; the layer norms that read the stream undo it, with
    an epsilon that shrinks alike. It sets how many steps of the published size, 1e-4, suit a tower this small.
    """
    tower = model.text_model
    parts = [tower.embeddings.token_embedding, tower.embeddings.position_embedding]
    for layer in tower.encoder.layers:
        parts += [layer.self_attn.out_proj, layer.mlp.fc2]
    for parameter in (p for part in parts for p in part.parameters()):
        parameter /= factor
    for norm in (module for module in tower.modules() if isinstance(module, nn.LayerNorm)):
        norm.eps /= factor**2
    model.config.text_config.layer_norm_eps /= factor**2
    return model
