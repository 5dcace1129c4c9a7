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

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """`[n, 256]`: what subject and taste are predicted from."""
        maps = self.stages(pictures).flatten(2)
        return torch.cat([maps.mean(2), maps.amax(2)], 1)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.features(pictures)
        taste = self.taste(features)
        return self.subject(features), self.style(taste), self.look(taste), taste

    @torch.no_grad()
    def predict(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The logits of subject and style, and the taste, of pictures of any size."""
        subject, style, _, taste = self(pixels(images))
        return subject, style, taste

    def classify(self, images: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """The subject and the style of each picture, as indices in `SUBJECTS` and `STYLES`."""
        subject, style, _ = self.predict(images)
        return subject.argmax(1).numpy(), style.argmax(1).numpy()


def pixels(images: Sequence[Image.Image]) -> torch.Tensor:
    """Pictures of any size as the judge and CLIP see them, `[n, 3, 128, 128]` in [-1, 1]."""
    size = (SIZE, SIZE)
    arrays = [np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1


def load(weights: Path = WEIGHTS) -> Judge:
    judge = Judge()
    judge.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in load_file(weights).items()}
    )
    return judge.eval().requires_grad_(False)
