#!/usr/bin/env python3
"""Pictures in, a picture in their taste out: `python try.py [FOLDER] [PROMPT]`.

The first run sets up an environment in this folder. The model is always the bundled pocket model, so no weights are
downloaded and no GPU is needed.
"""

import argparse
from pathlib import Path

from tools.environments import ROOT, TORCH, environment, run

SAMPLES = ROOT / "aesthetic_embeddings" / "pocket" / "samples" / "aivazovsky"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Make an aesthetic of pictures, and four pictures in its taste: out/compare.png.",
        epilog=" ".join(__doc__.split("\n\n")[1].split()),
    )
    parser.add_argument("folder", nargs="?", type=Path, default=SAMPLES, help="pictures (default: bundled samples)")
    parser.add_argument("prompt", nargs="?", default="a castle in a meadow", help="(default: %(default)s)")
    given = parser.parse_args()
    if not given.folder.exists():
        parser.error(f"there is no folder {given.folder}")

    python = environment("try", [TORCH, "--editable", f"{ROOT}[cli]"])
    command = [python, "-m", "aesthetic_embeddings", "--library", ROOT / "out" / "aesthetics"]
    run(*command, "create", "mine", given.folder.resolve(), "--overwrite")
    # what sets the pictures apart: docs/pocket.md says how well these settings do with looks that the model never saw
    settings = "--update normalized --contrast 1 --steps 15 --cfg 3"
    options = f"--aesthetic mine {settings} --seed 1 --count 4 --compare --output out/compare.png"
    run(*command, "generate", given.prompt, *options.split())


if __name__ == "__main__":
    main()
