"""Trains the pocket model from scratch: `python -m pocket_model.train --output FOLDER`.

It takes two to three hours on two CPU cores. While one trains the autoencoder, the other draws the pictures and trains
the CLIP and the judge. Both train the UNet.
The same command continues an interrupted run.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

STAGES = ("tokenizer", "data", "vae", "clip", "unet", "judge", "export")


def run(stage: str, work: Path, output: Path) -> None:
    import torch

    from .training import clip, data, export, judge, tokenizer, unet, vae

    torch.set_num_threads(2 if stage == "unet" else 1)  # nothing runs beside the UNet
    stages: dict[str, Callable[[], None]] = {
        "data": lambda: data.render(work, "train"),
        "judge": lambda: judge.train(work),
        "tokenizer": lambda: tokenizer.train(work / "tokenizer"),
        "vae": lambda: vae.train(work),
        "clip": lambda: clip.train(work),
        "unet": lambda: unet.train(work),
        "export": lambda: export.export(work, output),
    }
    stages[stage]()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for model/, samples/, neutral.safetensors and judge.safetensors",
    )
    parser.add_argument("--work", type=Path, help="folder for pictures and checkpoints (3 GB); default: OUTPUT/work")
    parser.add_argument("--only", nargs="+", choices=STAGES, help="run only these stages, in this order")
    options = parser.parse_args()
    work = options.work or options.output / "work"
    if options.only:
        for stage in options.only:
            run(stage, work, options.output)
        return
    command = [sys.executable, "-m", "pocket_model.train", "--output", options.output, "--work", work, "--only"]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the other process too
    run("tokenizer", work, options.output)
    background = subprocess.Popen([*map(str, command), "data", "clip", "judge"], preexec_fn=lambda: os.nice(10))
    try:
        run("vae", work, options.output)
        if background.wait():
            raise SystemExit("A stage beside the autoencoder's training failed: see the messages above.")
    finally:
        background.terminate()
    run("unet", work, options.output)
    run("export", work, options.output)


if __name__ == "__main__":
    main()
