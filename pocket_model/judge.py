"""A judge of the pocket world's pictures: a small network trained on the world's own drawings.

It has no part in training the model.
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

from .looks import PLAIN_LOOK
from .scene import STYLES, SUBJECTS
from .world import SIZE

TASTE_SIZE = 32
WEIGHTS = Path(__file__).parent / "judge.safetensors"


class Judge(nn.Module):
    """Classifies pictures `[n, 3, 128, 128]` in [-1, 1].

    `forward` returns the logits of the subject (12) and the style (plain, then the aesthetics), the look's vector, and
    the taste: 32 features from which style and look are predicted.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 96, 128)
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
        self.taste = nn.Linear(widths[-1] * 2, TASTE_SIZE)
        self.style = nn.Linear(TASTE_SIZE, len(STYLES))
        self.look = nn.Linear(TASTE_SIZE, len(PLAIN_LOOK.vector()))

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        maps = self.stages(pictures).flatten(2)
        features = torch.cat([maps.mean(2), maps.amax(2)], 1)
        taste = self.taste(features)
        return self.subject(features), self.style(taste), self.look(taste), taste

    @torch.no_grad()
    def predict(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The logits of subject and style, and the taste, of pictures of any size."""
        size = (SIZE, SIZE)
        pixels = np.stack([np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)) for image in images])
        subject, style, _, taste = self(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
        return subject, style, taste

    def classify(self, images: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """The subject and the style of each picture, as indices in `SUBJECTS` and `STYLES`."""
        subject, style, _ = self.predict(images)
        return subject.argmax(1).numpy(), style.argmax(1).numpy()


def load(weights: Path = WEIGHTS) -> Judge:
    judge = Judge()
    judge.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in load_file(weights).items()}
    )
    return judge.eval().requires_grad_(False)
