"""Makes the pictures of README and docs: `python -m pocket_model.grids [FOLDER] [--pictures NAME=FILES ...]`.

`--pictures` adds a figure for your own files, such as paintings or photographs, which the repository does not contain.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings.diffusion.contact_sheet import sheet
from aesthetic_embeddings.diffusion.sampling import pictures
from aesthetic_embeddings.pocket import AESTHETICS, SAMPLES

from .evaluate import DRAWING_SEED, Bench, difference, drawings
from .looks import held_out_looks
from .words import prompts

SEED = 21
COMPARE_SEED = 8  # chosen, like the prompts below, for its good pictures
CFG = 3.0  # the small model draws finer lines with it than with the usual 5
PUBLISHED = ae.Settings(steps=10)
CONTRAST = ae.Settings(update="normalized", epsilon=1e-4, steps=10)  # as in the evaluation
STRONGER = ae.Settings(update="normalized", epsilon=1e-4, steps=15)
COMPARE_PROMPTS = ("a castle in a meadow", "an astronaut in the desert", "a ship at sea")
COUNTS = (0, 5, 10, 15, 20)
UNSEEN = (0, 3, 7, 11, 14, 19)  # indices of the looks in the evaluation's report

Save = Callable[[Image.Image, str], None]


def picture(
    bench: Bench,
    prompt: str,
    embedding: ae.AestheticEmbedding | None = None,
    settings: ae.Settings = PUBLISHED,
    seed: int = SEED,
) -> Image.Image:
    conditioning = {"prompt": prompt}
    if embedding is not None:
        conditioning = ae.personalized_prompt(bench.pipeline, prompt, embedding, settings).arguments
    return next(pictures(bench.pipeline, conditioning, [seed], cfg=CFG))


def compare_figure(bench: Bench, save: Save) -> None:
    """The README's figure: four tastes, each with four of its pictures, and three prompts in each of them."""
    rows = [
        [Image.new("RGB", (1, 1), "white"), *[four_pictures(sorted((SAMPLES / name).iterdir())) for name in AESTHETICS]]
    ]
    aesthetics = [difference(ae.create(SAMPLES / name, bench.clip, name=name), bench.ordinary) for name in AESTHETICS]
    for prompt in COMPARE_PROMPTS:
        rows.append([picture(bench, prompt, aesthetic, STRONGER, COMPARE_SEED) for aesthetic in (None, *aesthetics)])
    titles = ["the prompt alone", *AESTHETICS]
    save(sheet(rows, titles, ["pictures that a user likes", *COMPARE_PROMPTS], cell=160), "compare")


def four_pictures(files: Sequence[Path]) -> Image.Image:
    page = Image.new("RGB", (264, 264), "white")
    for index, file in enumerate(files[:4]):
        page.paste(Image.open(file).resize((128, 128)), (index % 2 * 136, index // 2 * 136))
    return page


def named_aesthetics(bench: Bench, save: Save) -> None:
    """The figures of the four named aesthetics: by their samples, by name, and over the number of steps."""
    shown_prompts = prompts("report")[::2][:6]
    means = {name: ae.create(SAMPLES / name, bench.clip, name=name) for name in AESTHETICS}
    differences = {name: difference(mean, bench.ordinary) for name, mean in means.items()}
    titles = ["original", "“{} style”\nappended", "personalized"]
    for name, embedding in differences.items():
        rows = [
            [
                picture(bench, prompt),
                picture(bench, f"{prompt}, {name} style"),
                picture(bench, prompt, embedding, STRONGER),
            ]
            for prompt in shown_prompts
        ]
        save(sheet(rows, [title.format(name) for title in titles], shown_prompts, cell=128), f"grid-{name}")
    rows = [[picture(bench, "a ship at sea", mean, ae.Settings(steps=n)) for n in COUNTS] for mean in means.values()]
    save(sheet(rows, [f"n = {n}" for n in COUNTS], AESTHETICS, cell=128), "steps")


def steered_row(bench: Bench, images: Sequence[Image.Image], prompt: str) -> list[Image.Image]:
    """A row: three of the pictures, the plain picture of the prompt, and the prompt tuned towards them in two ways."""
    embedding = bench.embedding(images)
    contrast = difference(embedding, bench.ordinary)
    steered = [picture(bench, prompt, embedding), picture(bench, prompt, contrast, CONTRAST)]
    return [*[images[index % len(images)] for index in range(3)], picture(bench, prompt), *steered]


STEERED = (
    "pictures of",
    "a look that",
    "training never had",
    "a prompt",
    "towards\ntheir mean",
    "away from\nordinary ones",
)


def unseen_looks(bench: Bench, save: Save) -> None:
    looks, shown_prompts = held_out_looks("report"), prompts("report")
    rows = [
        steered_row(bench, drawings(looks[number], DRAWING_SEED + 7), shown_prompts[(5 * index) % len(shown_prompts)])
        for index, number in enumerate(UNSEEN)
    ]
    save(sheet(rows, STEERED, cell=128), "unseen")


def user_pictures(bench: Bench, save: Save, entries: Sequence[str]) -> None:
    rows = []
    for index, entry in enumerate(entries):
        _, files = entry.split("=", 1)
        images = [Image.open(file).convert("RGB") for file in files.split(",")]
        rows.append(steered_row(bench, images, prompts("report")[(5 * index) % 24])[3:])
    save(sheet(rows, STEERED[3:], [entry.split("=", 1)[0] for entry in entries], cell=128), "outside")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"))
    parser.add_argument("--pictures", nargs="+", default=[], metavar="NAME=FILE,FILE", help="one row each")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    def save(image: Image.Image, name: str) -> None:
        image.save(options.folder / f"{name}.png", optimize=True)
        print(options.folder / f"{name}.png")

    bench = Bench()
    compare_figure(bench, save)
    named_aesthetics(bench, save)
    unseen_looks(bench, save)
    if options.pictures:
        user_pictures(bench, save, options.pictures)


if __name__ == "__main__":
    main()
