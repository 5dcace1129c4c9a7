"""Measurements of pictures: color statistics, cosines of their changes, and confidence intervals of means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from .looks import LUMINANCE

STATISTICS = 11


def color_statistics(images: Sequence[Image.Image]) -> np.ndarray:
    """`[pictures, 11]`: mean red, green, blue; saturation; contrast; mean colors of the top and the bottom third."""
    rows = []
    for image in images:
        pixels = np.asarray(image.convert("RGB"), np.float32) / 255
        third = len(pixels) // 3
        saturation = (pixels.max(-1) - pixels.min(-1)).mean()
        mean, top, bottom = (part.mean((0, 1)) for part in (pixels, pixels[:third], pixels[-third:]))
        rows.append([*mean, saturation, (pixels @ LUMINANCE).std(), *top, *bottom])
    return np.array(rows)


def cosines(changes: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The cosine of each row of `[n, d]` with a direction `[d]`. 0 for a row without change."""
    lengths = np.linalg.norm(changes, axis=1) * np.linalg.norm(direction)
    return changes @ direction / np.maximum(lengths, 1e-9)


def interval(values: np.ndarray, rounds: int = 2000) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of `[looks, prompts]`. Both looks and prompts are resampled."""
    rng = np.random.default_rng(0)
    looks, prompts = values.shape
    means = [
        values[rng.integers(looks, size=looks)][:, rng.integers(prompts, size=prompts)].mean() for _ in range(rounds)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
