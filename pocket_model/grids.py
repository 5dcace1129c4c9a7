"""The pictures of README and docs: `python -m pocket_model.grids [FOLDER] [--pictures NAME=FILES ...]`.

`--pictures` adds a page on folders or files of yours, which the repository does not hold: paintings, photographs.
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
FIRST_SEED = 6  # chosen, as are the first prompts: its pictures are among the better ones
PUBLISHED = ae.Settings(steps=10)
CONTRAST = ae.Settings(update="normalized", epsilon=1e-4, steps=10)  # as in the evaluation
STRONGER = ae.Settings(update="normalized", epsilon=1e-4, steps=15)
FIRST_PROMPTS = ("a castle in a meadow", "an astronaut in the desert", "a ship at sea")
COUNTS = (0, 5, 10, 15, 20)
UNSEEN = (0, 3, 7, 11, 14, 19)  # of the looks that the evaluation reports on

Save = Callable[[Image.Image, str], None]


def picture(
    bench: Bench, prompt: str, embedding: ae.AestheticEmbedding | None = None, settings: ae.Settings = PUBLISHED
) -> Image.Image:
    if embedding is None:
        return next(pictures(bench.pipeline, {"prompt": prompt}, [SEED]))
    made = ae.personalized_prompt(bench.pipeline, prompt, embedding, settings)
    return next(pictures(bench.pipeline, made.arguments, [SEED]))


def first(bench: Bench, save: Save) -> None:
    """Four tastes, each shown by four of its pictures, and three prompts in each of them."""
    rows = [[Image.new("RGB", (1, 1), "white"), *[four(sorted((SAMPLES / name).iterdir())) for name in AESTHETICS]]]
    aesthetics = [difference(ae.create(SAMPLES / name, bench.clip, name=name), bench.ordinary) for name in AESTHETICS]
    for prompt in FIRST_PROMPTS:
        made = [ae.personalized_prompt(bench.pipeline, prompt, each, STRONGER).arguments for each in aesthetics]
        rows.append([next(pictures(bench.pipeline, given, [FIRST_SEED])) for given in ({"prompt": prompt}, *made)])
    titles = ["the prompt alone", *AESTHETICS]
    save(sheet(rows, titles, ["pictures that a user likes", *FIRST_PROMPTS], cell=160), "compare")


def four(files: Sequence[Path]) -> Image.Image:
    page = Image.new("RGB", (264, 264), "white")
    for place, file in enumerate(files[:4]):
        page.paste(Image.open(file).resize((128, 128)), (place % 2 * 136, place // 2 * 136))
    return page


def known(bench: Bench, save: Save) -> None:
    """The four named aesthetics: from their samples, by name, and over the number of steps."""
    shown = prompts("report")[::2][:6]
    means = {name: ae.create(SAMPLES / name, bench.clip, name=name) for name in AESTHETICS}
    apart = {name: difference(mean, bench.ordinary) for name, mean in means.items()}
    titles = ["original", "“{} style”\nappended", "personalized"]
    for name, embedding in apart.items():
        rows = [
            [picture(bench, p), picture(bench, f"{p}, {name} style"), picture(bench, p, embedding, STRONGER)]
            for p in shown
        ]
        save(sheet(rows, [title.format(name) for title in titles], shown, cell=128), f"grid-{name}")
    rows = [[picture(bench, "a ship at sea", mean, ae.Settings(steps=n)) for n in COUNTS] for mean in means.values()]
    save(sheet(rows, [f"n = {n}" for n in COUNTS], AESTHETICS, cell=128), "steps")


def steered(bench: Bench, images: Sequence[Image.Image], prompt: str) -> list[Image.Image]:
    """Three of the pictures, the plain picture of the prompt, and the prompt steered by all of them in two ways."""
    embedding = bench.embedding(images)
    apart = difference(embedding, bench.ordinary)
    last = [picture(bench, prompt, embedding), picture(bench, prompt, apart, CONTRAST)]
    return [*[images[i % len(images)] for i in range(3)], picture(bench, prompt), *last]


STEERED = (
    "pictures of",
    "a look that",
    "training never had",
    "a prompt",
    "towards\ntheir mean",
    "away from\nordinary ones",
)


def unseen(bench: Bench, save: Save) -> None:
    looks, shown = held_out_looks("report"), prompts("report")
    rows = [
        steered(bench, drawings(looks[number], DRAWING_SEED + 7), shown[(5 * place) % len(shown)])
        for place, number in enumerate(UNSEEN)
    ]
    save(sheet(rows, STEERED, cell=128), "unseen")


def of_users(bench: Bench, save: Save, given: Sequence[str]) -> None:
    rows = []
    for place, entry in enumerate(given):
        _, files = entry.split("=", 1)
        images = [Image.open(file).convert("RGB") for file in files.split(",")]
        rows.append(steered(bench, images, prompts("report")[(5 * place) % 24])[3:])
    save(sheet(rows, STEERED[3:], [entry.split("=", 1)[0] for entry in given], cell=128), "outside")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"))
    parser.add_argument("--pictures", nargs="+", default=[], metavar="NAME=FILE,FILE", help="a row each")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    def save(image: Image.Image, name: str) -> None:
        image.save(options.folder / f"{name}.png", optimize=True)
        print(options.folder / f"{name}.png")

    bench = Bench()
    first(bench, save)
    known(bench, save)
    unseen(bench, save)
    if options.pictures:
        of_users(bench, save, options.pictures)


if __name__ == "__main__":
    main()
