"""Tables and the plot of the results of `directions`.

    python -m pocket_model.direction_tables --kind cone cone-0.pt cone-1.pt --kind natural pocket.pt --plot taste.png

The looks of all files of one kind of CLIP are pooled. Targets are compared on the looks that all of them were run on.
The style is right if the probe predicts the look's name, or, for looks without a name, if the change of the colors
points towards that of the look (cosine over .5).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .directions import STEPS, Results
from .evaluate import RIGHT
from .measures import interval
from .scene import STYLES

UPDATES, KINDS = ("adam", "normalized"), ("named", "unseen")


@dataclass(frozen=True)
class Findings:
    """The contents of one file. change: `[looks, 11]`, the change of standardized color statistics by each look."""

    results: Results
    change: Tensor

    def correct(self, target: str, update: str, steps: int, kind: str) -> dict[int, tuple[Tensor, Tensor]]:
        """Look -> whether style and subject are right after this many steps, `[prompts]` each."""
        # adam's n-th step does not depend on the planned number; the other rule's steps get smaller towards the end
        run_wanted = target, update, max(STEPS) if update == "adam" else steps
        return {
            look: (self._style(result, look)[steps].float(), result["subject"][steps].float())
            for (*run, look), result in self.results.items()
            if tuple(run) == run_wanted and (kind == "named") == (look < len(STYLES))
        }

    def _style(self, correct: dict[str, Tensor], look: int) -> Tensor:
        if look < len(STYLES):
            return correct["style"] == look
        change = correct["color"] - correct["color"][0]
        return torch.nan_to_num(torch.cosine_similarity(change, self.change[look].expand_as(change), dim=-1)) > RIGHT


def scores(
    files: Sequence[Findings], targets: Sequence[str], update: str, steps: int, kind: str
) -> dict[str, list[np.ndarray]]:
    """Target -> style and subject, `[looks, prompts]` each, for the looks that every target was run on."""
    rows: dict[str, list[tuple[Tensor, Tensor]]] = {target: [] for target in targets}
    for findings in files:
        by_target = {target: findings.correct(target, update, steps, kind) for target in targets}
        for look in sorted(set.intersection(*map(set, by_target.values()))):
            for target in targets:
                rows[target].append(by_target[target][look])
    return {target: [torch.stack(each).numpy() for each in zip(*row, strict=True)] for target, row in rows.items()}


def table(files: Sequence[Findings], targets: Sequence[str]) -> list[str]:
    """For each rule, kind of look and target: style / subject at each number of steps."""
    heads = ["rule, looks", "direction", *(f"n = {n}" for n in STEPS)]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for update, kind in product(UPDATES, KINDS):
        columns = [scores(files, targets, update, n, kind) for n in STEPS]
        for target in targets:
            cells = [" / ".join(map(format_interval, column[target])) for column in columns]
            lines.append(f"| {update}, {kind} | {target} | {' | '.join(cells)} |")
    return lines


def format_interval(values: np.ndarray) -> str:
    """The mean and the 95 % interval, as text."""
    middle, low, high = (f"{value:.2f}".removeprefix("0") for value in (values.mean(), *interval(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def plot(kinds: dict[str, Sequence[Findings]], targets: dict[str, str], path: Path) -> None:
    """Subject against style over Adam's steps, for each kind of CLIP and of look. targets: name -> label."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(kinds), 2, figsize=(9, 3.6 * len(kinds)), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for row, (clip, files) in zip(axes, kinds.items(), strict=True):
        for axis, kind in zip(row, KINDS, strict=True):
            runs = [scores(files, list(targets), "adam", n, kind) for n in range(max(STEPS) + 1)]
            for target, label in targets.items():
                style, subject = ([run[target][i].mean() for run in runs] for i in (0, 1))
                (line,) = axis.plot(style, subject, label=label)
                for n, marker in zip(STEPS, "os^", strict=True):
                    axis.plot(style[n], subject[n], marker, color=line.get_color())
            axis.set(title=f"{clip}, {kind} looks", xlim=(-0.03, 1.03), ylim=(0, 1.05))
    for n, marker in zip(STEPS, "os^", strict=True):
        axes[0][0].plot([], [], marker, color="gray", label=f"n = {n}")
    axes[0][0].legend(loc="lower left")
    figure.supxlabel("style right")
    figure.supylabel("subject kept")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", nargs="+", action="append", required=True, metavar=("NAME", "FILE"))
    parser.add_argument("--targets", nargs="+", default=["mean", "component 1.0", "difference 1.0"])
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    kinds: dict[str, Sequence[Findings]] = {}
    for name, *files in options.kind:
        saved = [torch.load(file, weights_only=True) for file in files]
        kinds[name] = [Findings(data["found"], data["change"]) for data in saved]
        print(f"\n{name}: style right / subject kept\n")
        print("\n".join([*(f"{file}: {data['about']}" for file, data in zip(files, saved, strict=True)), ""]))
        print("\n".join(table(kinds[name], options.targets)))
    if options.plot:
        plot(kinds, {"mean": "mean, as published", "difference 1.0": "contrast 1"}, options.plot)


if __name__ == "__main__":
    main()
