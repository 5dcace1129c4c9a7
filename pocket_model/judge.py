"""A judge of the pocket world's pictures: a small network trained on the world's own drawings.

It has no part in making the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from .words import STYLES, SUBJECTS

WEIGHTS = Path(__file__).parent / "judge.safetensors"


class Judge(nn.Module):
    """Logits of the subject (12) and the style (plain, then the aesthetics) of pictures `[n, 3, 64, 64]` in [-1, 1]."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 3 * width, 4 * width)
        stages = [
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.Conv2d(b, b, 3, padding=1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
            )
            for a, b in itertools.pairwise(widths)
        ]
        self.stages = nn.Sequential(*stages)
        self.subject = nn.Linear(widths[-1] * 2, len(SUBJECTS))
        self.style = nn.Linear(widths[-1] * 2, len(STYLES))

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.stages(pictures).flatten(2)
        features = torch.cat([maps.mean(2), maps.amax(2)], 1)
        return self.subject(features), self.style(features)

    @torch.no_grad()
    def logits(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward` gives them, of pictures of any size."""
        pixels = np.stack(
            [np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)) for image in images]
        )
        return self(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)

    def verdict(self, images: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """Subject and style of each picture, as places in `SUBJECTS` and `STYLES`."""
        subject, style = self.logits(images)
        return subject.argmax(1).numpy(), style.argmax(1).numpy()


def load(weights: Path = WEIGHTS) -> Judge:
    judge = Judge()
    judge.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in load_file(weights).items()}
    )
    return judge.eval().requires_grad_(False)
