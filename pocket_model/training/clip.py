"""The pocket CLIP: maps pictures and captions into one space, trained with InfoNCE."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPConfig, CLIPModel

from ..looks import PLAIN_LOOK
from ..scene import SETTINGS, STYLES, SUBJECTS, Scene
from . import data, tokenizer
from .loop import as_tensor, autocast, random_flips, resumable, step_rng, update, warm_cosine

STEPS, BATCH, RATE = 1_300, 128, 1.2e-3
WIDTH, SHARED = 192, 64  # of the text tower, and of the shared space
MAX_SCALE = 100.0
AUXILIARY_WEIGHT = 0.3  # weight of the loss of the image tower's auxiliary heads


def build(work: Path) -> CLIPModel:
    vocabulary = tokenizer.load(work / "tokenizer")
    special = {
        "bos_token_id": vocabulary.bos_token_id,
        "eos_token_id": vocabulary.eos_token_id,
        "pad_token_id": vocabulary.eos_token_id,
    }
    text = {
        "vocab_size": len(vocabulary),
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
        "image_size": 128,
        "patch_size": 16,
        "projection_dim": SHARED,
    }
    return CLIPModel._from_config(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=SHARED), attn_implementation="eager"
    )


class Heads(nn.Module):
    """Auxiliary linear heads on the image tower: subject, setting, style and look. They are dropped after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.subject, self.setting, self.style, self.look = (
            nn.Linear(width, size) for size in (len(SUBJECTS), len(SETTINGS), len(STYLES), len(PLAIN_LOOK.vector()))
        )

    def loss(self, pooled: torch.Tensor, scenes: list[Scene]) -> torch.Tensor:
        named = (
            (self.subject, [SUBJECTS.index(s.subject) for s in scenes]),
            (self.setting, [SETTINGS.index(s.setting) for s in scenes]),
            (self.style, [STYLES.index(s.style) for s in scenes]),
        )
        loss = sum(F.cross_entropy(head(pooled), torch.tensor(target)) for head, target in named)
        return loss + F.mse_loss(self.look(pooled), torch.tensor([s.look.vector() for s in scenes]))


def info_nce(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The InfoNCE loss: each picture selects its caption within the batch, and each caption its picture."""
    logits = scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    target = torch.arange(len(logits))
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def train(work: Path) -> None:
    torch.manual_seed(2)
    vocabulary, model = tokenizer.load(work / "tokenizer"), build(work).train()
    heads = Heads(model.config.vision_config.hidden_size)
    all_modules = nn.ModuleList([model, heads])
    decayed = [p for p in all_modules.parameters() if p.ndim > 1]
    others = [p for p in all_modules.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), fused=True)
    pictures, scenes = data.Pictures(work, "train"), data.scenes("train")
    for step, progress in resumable(work / "clip.pt", STEPS, model=model, heads=heads, optimizer=optimizer):
        rng, _ = step_rng("clip", step)
        chosen = np.sort(rng.choice(len(pictures), BATCH, replace=False))
        batch = random_flips(as_tensor(pictures[chosen]), rng).contiguous()
        input_ids = tokenizer.ids(vocabulary, data.captions("train", chosen, step))
        # attention is causal, so tokens after the last end of text have no effect
        length = int((input_ids == vocabulary.eos_token_id).int().argmax(1).max()) + 1
        with autocast():
            pooled = model.vision_model(batch).pooler_output
            image = model.visual_projection(pooled).float()
            text = model.text_projection(model.text_model(input_ids[:, :length]).pooler_output).float()
        loss = info_nce(image, text, model.logit_scale.exp())
        auxiliary = heads.loss(pooled.float(), [scenes[i] for i in chosen])
        update(optimizer, loss + AUXILIARY_WEIGHT * auxiliary, warm_cosine(step, STEPS, RATE), all_modules)
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(MAX_SCALE))
        progress.report(loss=loss.detach(), auxiliary=auxiliary.detach(), scale=model.logit_scale.detach().exp())


def load(work: Path) -> CLIPModel:
    model = build(work)
    model.load_state_dict(torch.load(work / "clip.pt", weights_only=True)["model"])
    return model.eval().requires_grad_(False)
