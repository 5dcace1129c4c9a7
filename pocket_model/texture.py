"""Texture and light of the whole picture, which an aesthetic adds to its palette."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

GRID = 64  # textures are designed at this size, and scaled up for larger pictures


def noise(generator: np.random.Generator, size: int, cells: int, cells_x: int | None = None) -> np.ndarray:
    """Smooth noise `[size, size, 1]` with a deviation of about 1, and this many cells vertically (and horizontally)."""
    grid = generator.standard_normal((cells, cells_x or cells)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))[..., None]


def radial(size: int) -> np.ndarray:
    ys, xs = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1
    return np.hypot(xs, ys)[..., None].astype(np.float32)


def blur(pixels: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius * pixels.shape[0] / GRID)), np.float32)


def with_saturation(pixels: np.ndarray, amount: float) -> np.ndarray:
    grey = pixels @ np.array([0.3, 0.59, 0.11], np.float32)
    return grey[..., None] + (pixels - grey[..., None]) * amount


def apply_texture(pixels: np.ndarray, style: str, horizon: float, generator: np.random.Generator) -> np.ndarray:
    """Add the aesthetic's texture: canvas, softness, gloom or glow."""
    size = pixels.shape[0]
    strength = generator.uniform(0.75, 1.2)
    if style == "aivazovsky":
        rows = (np.arange(size) / size)[:, None, None]
        haze = 0.2 * strength * np.exp(-(((rows - horizon) / 0.16) ** 2))
        pixels = pixels + (np.array([252, 216, 140]) - pixels) * haze
        pixels = pixels * (1 + 0.028 * noise(generator, size, 36, 14))
        return (pixels + 4 * noise(generator, size, 6)) * (1 - 0.2 * np.maximum(0, radial(size) - 0.5))
    if style == "cloudcore":
        mist = np.clip(noise(generator, size, 5, 4) * 0.4, 0, 0.5) * strength
        rows = (np.arange(size) / size)[:, None, None]
        pixels = pixels + (np.array([255, 244, 252]) - pixels) * mist * np.clip((rows - horizon + 0.25) * 2.4, 0, 1)
        pixels = 0.62 * pixels + 0.38 * blur(pixels, 1.6)
        return pixels + (np.array([250, 236, 250]) - pixels) * 0.06 * strength
    if style == "gloomcore":
        pixels = with_saturation(pixels, 0.35)
        rows = (np.arange(size) / size)[:, None, None]
        fog = np.clip(noise(generator, size, 6, 3) * 0.25 + 0.22, 0, 0.6) * np.exp(
            -(((rows - horizon - 0.04) / 0.14) ** 2)
        )
        pixels = pixels + (np.array([92, 95, 98]) - pixels) * fog
        pixels = pixels * (1 - 0.55 * strength * np.clip(radial(size) - 0.45, 0, 1))
        return 1.2 * pixels + 2 * noise(generator, size, GRID)
    if style == "glowwave":
        glow = blur(np.maximum(0, pixels - 90) * 1.5, 2.2)
        pixels = pixels + glow * 0.42 * strength
        scan = 1 - 0.07 * (np.arange(size) * GRID // size % 2)[:, None, None]
        return pixels * scan * (1 - 0.12 * np.maximum(0, radial(size) - 0.6))
    return pixels
