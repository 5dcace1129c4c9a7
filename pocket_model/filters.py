"""The evaluation on looks that `looks.py` knows nothing of: Pillow's own filters, as photo programs have them.

python -m pocket_model.filters --work FOLDER [--picture FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from aesthetic_embeddings.diffusion.contact_sheet import sheet

from .evaluate import ADAM, HEADER, NORMALIZED, Bench, Condition, Evaluation, drawings, table, table_row
from .looks import PLAIN_LOOK

Filter = Callable[[Image.Image], Image.Image]


def duotone(dark: str, light: str) -> Filter:
    return lambda image: ImageOps.colorize(ImageOps.grayscale(image), dark, light)


def light(red: float, green: float, blue: float) -> Filter:
    return lambda image: Image.fromarray((np.asarray(image) * (red, green, blue)).astype(np.uint8))


def lines(image: Image.Image) -> Image.Image:
    return ImageOps.invert(ImageOps.grayscale(image).filter(ImageFilter.FIND_EDGES)).convert("RGB")


FILTERS: dict[str, Filter] = {
    "gray": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "sepia": duotone("#2b1a0e", "#f5e1b8"),
    "blueprint": duotone("#0b2a6f", "#dfe9ff"),
    "night": lambda image: ImageEnhance.Brightness(image).enhance(0.35),
    "red light": light(1, 0.35, 0.3),
    "green light": light(0.4, 1, 0.45),
    "saturated": lambda image: ImageEnhance.Color(image).enhance(3),
    "pale": lambda image: Image.blend(image, Image.new("RGB", image.size, "white"), 0.6),
    "line drawing": lines,
    "two bits": lambda image: ImageOps.posterize(image, 2),
    "solarized": lambda image: ImageOps.solarize(image, 110),
    "negative": ImageOps.invert,
}


class FilterEvaluation(Evaluation):
    """The evaluation with filters in place of looks."""

    def __init__(self, bench: Bench, work: Path) -> None:
        super().__init__(bench, "report", work)
        self.looks = list(FILTERS)

    def drawings(self, look: str, first_seed: int) -> list[Image.Image]:
        return [FILTERS[look](drawing) for drawing in drawings(PLAIN_LOOK, first_seed)]


CONDITIONS = (
    Condition("published", "mean", ADAM),
    Condition("contrast", "contrast", NORMALIZED),
    Condition("random direction", "random", ADAM),
)
SHOWN = (5, 12, 23)  # a castle in the snow, a lighthouse at sea, an astronaut in a meadow


def by_filter(evaluation: FilterEvaluation) -> list[str]:
    """The shares of pictures with the right color, filter by filter."""
    shares = [evaluation.scores(condition).right.mean(1) for condition in CONDITIONS]
    return [
        " | ".join([name, *(f"{share:.2f}" for share in row)])
        for name, row in zip(FILTERS, zip(*shares, strict=True), strict=True)
    ]


def figure(evaluation: FilterEvaluation, condition: Condition) -> Image.Image:
    """A drawing through each filter, and prompts tuned towards it."""
    evaluation.prompts = [evaluation.prompts[i] for i in SHOWN]
    shown = drawings(PLAIN_LOOK, 0, 1)[0]
    columns = [[shown, *evaluation.plain]]
    for number, use in enumerate(FILTERS.values()):
        columns.append([use(shown), *evaluation.images(condition, number)])
    labels = ["a drawing", *evaluation.prompts]
    return sheet(list(zip(*columns, strict=True)), ["plain", *FILTERS], labels, cell=112)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of cached measurements")
    parser.add_argument("--picture", type=Path, help="draw the figure here, and measure nothing")
    options = parser.parse_args()
    evaluation = FilterEvaluation(Bench(), options.work)
    if options.picture:
        figure(evaluation, CONDITIONS[1]).save(options.picture, optimize=True)
        return
    rows = [table_row(condition, evaluation.scores(condition)) for condition in CONDITIONS]
    names = " | ".join(["filter", *(condition.name for condition in CONDITIONS)])
    print("\n".join([*table(HEADER, rows), *table(names, by_filter(evaluation))]))


if __name__ == "__main__":
    main()
