"""The tables of `directions`, from what it found: `python -m pocket_model.direction_tables FOLDER`."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .directions import STEPS, Found
from .scene import STYLES

RESAMPLES = 1000


def points_right(judged: dict[str, Tensor], change: Tensor) -> Tensor:
    """Whether the colors changed towards the look's (cosine > .5), `[steps + 1, prompts]`."""
    moved = judged["color"] - judged["color"][0]
    return torch.nan_to_num(torch.cosine_similarity(moved, change.expand_as(moved), dim=-1)) > 0.5


def shift(judged: dict[str, Tensor], change: Tensor) -> Tensor:
    """How far the colors moved along the look's own change, as a share of that, `[steps + 1, prompts]`."""
    moved = judged["color"] - judged["color"][0]
    return moved @ change / change.square().sum()


def interval(values: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """Mean of `[looks, prompts]`, and its 95 % interval by bootstrap over both."""
    generator = torch.Generator().manual_seed(seed)
    looks, prompts = values.shape
    rows = torch.randint(looks, (RESAMPLES, looks), generator=generator)
    columns = torch.randint(prompts, (RESAMPLES, prompts), generator=generator)
    means = torch.stack([values[r][:, c].mean() for r, c in zip(rows, columns, strict=True)])
    low, high = means.quantile(torch.tensor([0.025, 0.975])).tolist()
    return float(values.mean()), low, high


def shown(values: Tensor) -> str:
    middle, low, high = interval(values.float())
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def looks_of(found: Found, target: str, update: str, steps: int) -> dict[int, tuple[dict[str, Tensor], int]]:
    """Look -> the judgement, and the step in it, of a run of `steps` steps."""
    chosen = {}
    for (name, rule, planned, look), judged in found.items():
        if (name, rule) == (target, update) and (planned == steps or rule == "adam"):
            chosen[look] = judged, steps
    return chosen


Measure = Callable[[dict[str, Tensor], Tensor, int], Tensor]


def table(found: Found, change: Tensor, looks: Sequence[int], update: str) -> list[str]:
    """Rows by target: for each number of steps the style, then the subject."""
    targets = list(dict.fromkeys(name for name, *_ in found))
    named = max(looks) < len(STYLES)
    lines = ["| target | " + " | ".join(f"n = {n}" for n in STEPS) + " |", "| --- |" + " --- |" * len(STEPS)]
    for target in targets:
        cells = []
        for n in STEPS:
            of = looks_of(found, target, update, n)
            parts = defaultdict(list)
            for look in looks:
                judged, k = of[look]
                style = judged["style"][k] == look if named else points_right(judged, change[look])[k]
                parts["style"].append(style.float())
                parts["shift"].append(shift(judged, change[look])[k])
                parts["right"].append(points_right(judged, change[look])[k].float())
                parts["subject"].append(judged["subject"][k].float())
            stacked = {name: torch.stack(rows) for name, rows in parts.items()}
            first = shown(stacked["style"]) + (f", {stacked['right'].mean():.2f}" if named else "")
            cells.append(f"{first}, {stacked['shift'].mean():.2f}; {shown(stacked['subject'])}")
        lines.append(f"| {target} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="what `directions` saved")
    options = parser.parse_args()
    found: Found = {}
    for file in options.files:
        stored = torch.load(file, weights_only=True)
        found |= stored["found"]
        change = stored["change"]
    for update in ("adam", "normalized"):
        for what, looks in (("named", range(1, len(STYLES))), ("unseen", range(len(STYLES), len(change)))):
            print(f"\n{update}, {what} looks\n")
            print("\n".join(table(found, change, looks, update)))


if __name__ == "__main__":
    main()
