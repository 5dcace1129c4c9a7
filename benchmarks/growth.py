"""How the cost of personalizing one prompt grows with the steps, the prompt's length, and the tower's width.

    python -m benchmarks.growth             # writes docs/growth.png

Each point is one run in a fresh process, with a tower of twelve layers.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from .cases import Case, run_in_fresh_process

BASE = Case("adam", (8,))
CHUNK = 75
LINES = {
    "published loop": ("#b8bcc4", "adam", "published"),
    "ours, adam": ("#d9480f", "adam", "ours"),
    "ours, normalized": ("#5c7cfa", "normalized", "ours"),
}


def chunks(tokens: int) -> tuple[int, ...]:
    """The lengths of the chunks that hosts split a prompt of this many tokens into."""
    return tuple(min(CHUNK, tokens - at) for at in range(0, tokens, CHUNK))


GROWING = {
    "steps": {n: replace(BASE, steps=n) for n in (1, 5, 10, 20, 30, 50)},
    "tokens of the prompt": {n: replace(BASE, tokens=chunks(n)) for n in (4, 8, 16, 32, 75, 150, 225)},
    "width of the tower": {n: replace(BASE, width=n) for n in (768, 896, 1024, 1152, 1280)},
}


def main() -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, default=Path("docs/growth.png"))
    arguments = parser.parse_args()
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; where it does not grow: 10 steps, 8 tokens, 768"
    )
    figure, axes = plt.subplots(2, len(GROWING), figsize=(11, 5.5), sharex="col", sharey="row", layout="constrained")
    for (what, cases), (above, below) in zip(GROWING.items(), axes.T, strict=True):
        for name, (color, update, loop) in LINES.items():
            results = [run_in_fresh_process(replace(case, update=update), loop) for case in cases.values()]
            for n, result in zip(cases, results, strict=True):
                print(f"{name}, {n} {what}: {result.seconds:.2f} s, {result.megabytes:.0f} MB", flush=True)
            above.plot(list(cases), [r.seconds for r in results], "o-", ms=4, color=color, label=name)
            below.plot(list(cases), [r.megabytes for r in results], "o-", ms=4, color=color)
        above.set(yscale="log")
        below.set(yscale="log", xlabel=what)
        for axis in (above, below):
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("time of one prompt [s]")
    axes[1, 0].set_ylabel("extra memory [MB]")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(arguments.plot, dpi=110)


if __name__ == "__main__":
    main()
