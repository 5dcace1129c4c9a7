"""The pictures of README and docs: `python -m pocket_model.grids [FOLDER]`, by default `docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings.diffusion.contact_sheet import sheet
from aesthetic_embeddings.diffusion.sampling import load_pipeline, pictures
from aesthetic_embeddings.pocket import AESTHETICS, MODEL, SAMPLES

from .words import prompts

SEED, SETTINGS = 11, ae.Settings(steps=10)
COUNTS = (0, 5, 10, 15, 20)


def main(folder: Path) -> None:
    pipeline = load_pipeline(MODEL)
    embeddings = {name: ae.create(SAMPLES / name, str(MODEL), name=name) for name in AESTHETICS}

    def picture(prompt: str, aesthetic: str = "", settings: ae.Settings = SETTINGS) -> Image.Image:
        arguments: dict[str, Any] = {"prompt": prompt}
        if aesthetic:
            arguments = ae.personalized_prompt(pipeline, prompt, embeddings[aesthetic], settings).arguments
        return next(pictures(pipeline, arguments, [SEED]))

    def save(image: Image.Image, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{name}.png", optimize=True)
        print(folder / f"{name}.png")

    shown = prompts("report")[::2][:6]
    originals = {prompt: picture(prompt) for prompt in shown}
    for name in AESTHETICS:
        rows = [[originals[p], picture(f"{p}, {name} style"), picture(p, name)] for p in shown]
        save(sheet(rows, ["original", f"“{name} style”\nappended", "personalised"], shown, cell=128), f"grid-{name}")

    prompt = shown[2]
    rows = [[picture(prompt, name, ae.Settings(steps=n)) for n in COUNTS] for name in AESTHETICS]
    save(sheet(rows, [f"n = {n}" for n in COUNTS], AESTHETICS, cell=128), "steps")

    rows = []
    for name, prompt in zip(AESTHETICS, shown, strict=False):
        samples = [Image.open(file) for file in sorted((SAMPLES / name).iterdir())[:3]]
        rows.append([*samples, originals[prompt], picture(prompt, name)])
    save(
        sheet(rows, ["pictures that", "a user", "likes", "a prompt", "the same prompt,\nin their taste"], cell=160),
        "compare",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
