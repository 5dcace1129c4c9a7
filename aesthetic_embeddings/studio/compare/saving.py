"""Saves the pictures of a comparison as files, with their settings inside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...diffusion.contact_sheet import sheet
from ...diffusion.job import Progress
from ...diffusion.png_metadata import save_picture
from .comparison import Comparison
from .request import GRID


@dataclass(frozen=True)
class Pair:
    """The two files of a seed. `personalized` is empty until its picture is finished."""

    seed: int
    original: str
    personalized: str = ""


def save_pairs(comparison: Comparison, progress: Progress, folder: Path, model: str) -> tuple[Pair, ...]:
    """Save the finished pictures, and return the pairs whose first is finished. Existing files are kept."""
    metadata = comparison.metadata(progress, model)

    def save(image: Image.Image | None, seed: int, kind: str) -> str:
        if image is None:
            return ""
        path = folder / f"{_file_stem(comparison)}-{seed}-{kind}.png"
        if not path.exists():
            more = {"personalized": False} if kind == "original" else {}
            save_picture(image, path, {**metadata, "seed": seed, "size": image.size, **more})
        return str(path)

    return tuple(
        Pair(seed, save(original, seed, "original"), save(personalized, seed, "personalized"))
        for seed, (original, personalized) in zip(comparison.request.seeds, progress.pictures, strict=True)
        if original
    )


def save_sheet(comparison: Comparison, progress: Progress, folder: Path, model: str) -> str:
    """Save all pictures in one file. Unfinished ones are gray."""
    finished = [image for row in progress.pictures for image in row if image]
    blank = Image.new("RGB", finished[0].size, "#eeeeee")
    rows = [[image or blank for image in row] for row in progress.pictures]
    image = sheet(rows, comparison.columns, comparison.rows, cell=max(128, min(512, max(finished[0].size))))
    request = comparison.request
    metadata = {**comparison.metadata(progress, model), "sheet": request.layout, "seeds": list(request.seeds)}
    if request.layout == GRID:
        metadata["aesthetics"] = list(request.grid)
    return str(save_picture(image, folder / f"{_file_stem(comparison)}-{request.seed}.png", metadata))


def _file_stem(comparison: Comparison) -> str:
    return re.sub(r"[^a-z0-9]+", "-", comparison.request.prompt.lower()).strip("-")[:40] or "picture"
