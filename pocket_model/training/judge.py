"""Training of the judge, on drawings that no other stage sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..judge import Judge
from . import data
from .loop import as_tensor, flipped, resumable, step_rng, update, warm_cosine

STEPS, BATCH, RATE = 1_500, 64, 2e-3


def softened(pictures: torch.Tensor, numbers: np.random.Generator) -> torch.Tensor:
    """Some of the pictures a little blurred or noisy, so that the judge reads shapes rather than single pixels."""
    small = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    share = torch.from_numpy(
        numbers.random((len(pictures), 1, 1, 1)) * (numbers.random((len(pictures), 1, 1, 1)) < 0.6)
    ).float()
    grain = torch.from_numpy(numbers.standard_normal(pictures.shape).astype(np.float32))
    return pictures + share * (small - pictures) + 0.04 * share.flip(0) * grain


def train(work: Path) -> None:
    torch.manual_seed(4)
    model = Judge().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    pictures, labels = data.pictures(work, "judge"), torch.from_numpy(data.labels("judge"))
    for step, progress in resumable(work / "judge.pt", STEPS, model=model, optimizer=optimizer):
        numbers, _ = step_rng("judge", step)
        chosen = numbers.integers(len(pictures), size=BATCH)
        batch = softened(flipped(as_tensor(pictures[chosen]), numbers), numbers)
        with torch.autocast("cpu", torch.bfloat16):
            subject, style = model(batch.contiguous(memory_format=torch.channels_last))
        subject_loss = F.cross_entropy(subject.float(), labels[chosen, 0])
        style_loss = F.cross_entropy(style.float(), labels[chosen, 2], ignore_index=-1)
        update(optimizer, subject_loss + style_loss, warm_cosine(step, STEPS, RATE), model)
        progress.report(subject=subject_loss.detach(), style=style_loss.detach())


def load(work: Path) -> Judge:
    model = Judge()
    model.load_state_dict(torch.load(work / "judge.pt", weights_only=True)["model"])
    return model.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(judge: Judge, batch: torch.Tensor, labels: np.ndarray) -> tuple[float, float]:
    """Shares of right subjects and, among the ungraded, of right styles."""
    subject, style = (logits.argmax(1).numpy() for logits in judge(batch))
    ungraded = labels[:, 2] >= 0
    return float((subject == labels[:, 0]).mean()), float((style == labels[:, 2])[ungraded].mean())
