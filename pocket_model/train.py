"""Make the pocket model from nothing: `python -m pocket_model.train --output FOLDER`.

Takes about an hour and a half on two CPU cores. An interrupted run is taken up where it was by the same command.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

STAGES = ("data", "tokenizer", "vae", "clip", "unet", "judge", "export")
TOGETHER = ("vae", "clip", "judge")  # these need nothing of each other


def run(stage: str, work: Path, output: Path) -> None:
    import torch

    from .training import clip, data, export, judge, tokenizer, unet, vae

    torch.set_num_threads(1)
    stages: dict[str, Callable[[], None]] = {
        "data": lambda: data.render(work),
        "tokenizer": lambda: tokenizer.train(work / "tokenizer"),
        "vae": lambda: vae.train(work),
        "clip": lambda: clip.train(work),
        "unet": lambda: unet.train(work),
        "judge": lambda: judge.train(work),
        "export": lambda: export.export(work, output),
    }
    stages[stage]()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for model/, samples/ and judge.safetensors")
    parser.add_argument("--work", type=Path, help="folder for pictures and checkpoints (2 GB); default: OUTPUT/work")
    parser.add_argument("--only", choices=STAGES, help="run this stage alone")
    options = parser.parse_args()
    work = options.work or options.output / "work"
    if options.only:
        run(options.only, work, options.output)
        return
    for stage in ("data", "tokenizer"):
        run(stage, work, options.output)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(run, TOGETHER, [work] * 3, [options.output] * 3))
    for stage in ("unet", "export"):
        run(stage, work, options.output)


if __name__ == "__main__":
    main()
