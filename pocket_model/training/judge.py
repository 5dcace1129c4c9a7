"""Trains the judge, on drawings that no other stage uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..judge import Judge
from ..scene import STYLES, SUBJECTS
from . import data
from .loop import as_tensor, autocast, random_flips, resumable, step_rng, update, warm_cosine

STEPS, BATCH, RATE = 800, 64, 2e-3


def soften(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Blur some of the pictures or add noise, so that the judge relies on shapes rather than single pixels."""
    smoothed = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    amount = torch.from_numpy(
        rng.random((len(pictures), 1, 1, 1)) * (rng.random((len(pictures), 1, 1, 1)) < 0.6)
    ).float()
    grain = torch.from_numpy(rng.standard_normal(pictures.shape).astype(np.float32))
    return pictures + amount * (smoothed - pictures) + 0.04 * amount.flip(0) * grain


def train(work: Path) -> None:
    torch.manual_seed(4)
    model = Judge().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    pictures, scenes = data.Pictures(work, "judge"), data.scenes("judge")
    subjects = torch.tensor([SUBJECTS.index(s.subject) for s in scenes])
    styles = torch.tensor([STYLES.index(s.style) for s in scenes])
    looks = torch.tensor([s.look.vector() for s in scenes])
    for step, progress in resumable(work / "judge.pt", STEPS, model=model, optimizer=optimizer):
        rng, _ = step_rng("judge", step)
        chosen = rng.integers(len(pictures), size=BATCH)
        batch = soften(random_flips(as_tensor(pictures[chosen]), rng), rng)
        with autocast():
            subject, style, look, _ = model(batch.contiguous(memory_format=torch.channels_last))
        subject_loss = F.cross_entropy(subject.float(), subjects[chosen])
        taste_loss = F.cross_entropy(style.float(), styles[chosen]) + 4 * F.mse_loss(look.float(), looks[chosen])
        update(optimizer, subject_loss + taste_loss, warm_cosine(step, STEPS, RATE), model)
        progress.report(subject=subject_loss.detach(), taste=taste_loss.detach())


def load(work: Path) -> Judge:
    model = Judge()
    model.load_state_dict(torch.load(work / "judge.pt", weights_only=True)["model"])
    return model.eval().requires_grad_(False)
