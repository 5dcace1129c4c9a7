"""Pictures of a job as files, each with the settings that it was made with."""

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
    """Two files of one seed. The second is empty until its picture is made."""

    seed: int
    original: str
    personalized: str = ""


def save_pairs(comparison: Comparison, progress: Progress, folder: Path, model: str) -> tuple[Pair, ...]:
    """The pairs whose first picture is made. A file that exists already is not written again."""
    about = comparison.about(progress, model)

    def save(image: Image.Image | None, seed: int, kind: str) -> str:
        if image is None:
            return ""
        path = folder / f"{_file_stem(comparison)}-{seed}-{kind}.png"
        if not path.exists():
            plain = {"personalized": False} if kind == "original" else {}
            save_picture(image, path, {**about, "seed": seed, "size": image.size, **plain})
        return str(path)

    return tuple(
        Pair(seed, save(original, seed, "original"), save(personalized, seed, "personalized"))
        for seed, (original, personalized) in zip(comparison.request.seeds, progress.pictures, strict=True)
        if original
    )


def save_sheet(comparison: Comparison, progress: Progress, folder: Path, model: str) -> str:
    """All pictures in one file; gray stands for those that are not made yet."""
    made = [image for row in progress.pictures for image in row if image]
    blank = Image.new("RGB", made[0].size, "#eeeeee")
    rows = [[image or blank for image in row] for row in progress.pictures]
    page = sheet(rows, comparison.columns, comparison.rows, cell=max(128, min(512, max(made[0].size))))
    request = comparison.request
    about = {**comparison.about(progress, model), "sheet": request.layout, "seeds": list(request.seeds)}
    if request.layout == GRID:
        about["aesthetics"] = list(request.grid)
    return str(save_picture(page, folder / f"{_file_stem(comparison)}-{request.seed}.png", about))


def _file_stem(comparison: Comparison) -> str:
    return re.sub(r"[^a-z0-9]+", "-", comparison.request.prompt.lower()).strip("-")[:40] or "picture"
