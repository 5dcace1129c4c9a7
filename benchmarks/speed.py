"""Time and memory of personalizing one prompt with the published loop and with ours, each in a fresh process.

    python -m benchmarks.speed              # every case, median of 5; writes docs/speed.png
    python -m benchmarks.speed --runs 3 --only "adam, 8 tokens"

The towers have the shapes of CLIP ViT-L/14's and OpenCLIP ViT-bigG/14's, with random weights. Times on a shared machine
drift, so the two run in turn, and the ratio is the figure to quote. The floor is that of benchmarks/floor.py.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch

from aesthetic_embeddings.storage.lru_cache import LRUCache, fingerprint

from .cases import LENGTH, Case, Result, run_in_fresh_process
from .floor import Machine, best_time, lower_bound, measure_machine

CASES = [
    Case("adam", (8,)),
    Case("adam", (75,)),
    Case("adam", (75, 75, 75)),
    Case("normalized", (8,)),
    Case("normalized", (8,), "float16"),
    Case("normalized", (75,)),
    Case("normalized", (75,), "float16"),
    Case("gradient", (8,)),
    Case("normalized", (20,), "float16", sdxl=True),
]


@dataclass(frozen=True)
class Row:
    case: Case
    published: list[Result]  # run in turn with ours
    ours: list[Result]
    floor: float  # seconds

    def __str__(self) -> str:
        (t0, m0), (t1, m1) = medians(self.published), medians(self.ours)
        ratio = statistics.median(p.seconds / o.seconds for p, o in zip(self.published, self.ours, strict=True))
        return (
            f"| {self.case} | {t0:.2f} s | {t1:.2f} s | {ratio:.1f}x | {self.floor:.2f} s | {t1 / self.floor:.1f}x "
            f"| {m0:.0f} MB | {m1:.0f} MB | {m1 / m0:.2f} |"
        )


def medians(results: list[Result]) -> tuple[float, float]:
    return statistics.median(r.seconds for r in results), statistics.median(r.megabytes for r in results)


def measure(case: Case, runs: int, machine: Machine) -> Row:
    pairs = [(run_in_fresh_process(case, "published"), run_in_fresh_process(case, "ours")) for _ in range(runs)]
    published, ours = (list(results) for results in zip(*pairs, strict=True))
    return Row(case, published, ours, max(lower_bound(case, machine)))


def lookup_milliseconds(chunks: int) -> float:
    """The time to find a prompt that was tuned before in the cache, by the inputs of its encoder."""
    ids = torch.zeros(chunks, LENGTH, dtype=torch.long)
    states = [torch.randn(chunks, LENGTH, 768) for _ in range(3)]  # embeddings, hidden states, conditioning
    cache: LRUCache[str] = LRUCache(2**20)
    cache.put(fingerprint(ids, *states), "tuned", 1)
    return 1000 * best_time(lambda: cache.get(fingerprint(ids, *states)), 100)


def draw(rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    names = [str(row.case) for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.55 * len(rows) + 1.3), sharey=True, layout="constrained")
    bars = {
        "published loop": [medians(row.published) for row in rows],
        "ours": [medians(row.ours) for row in rows],
        "floor of this machine": [(row.floor, float("nan")) for row in rows],
    }
    for which, (label, axis) in enumerate(zip(("time of one prompt [s]", "extra memory [MB]"), axes, strict=True)):
        for i, ((name, values), color) in enumerate(zip(bars.items(), ("#b8bcc4", "#d9480f", "#5c7cfa"), strict=True)):
            heights = [value[which] for value in values]
            drawn = axis.barh([y + 0.27 * (i - 1) for y in range(len(rows))], heights, 0.25, label=name, color=color)
            axis.bar_label(drawn, [f"{h:.3g}" if h < 1000 else f"{h:.0f}" for h in heights], padding=2, fontsize=7)
        axis.set(xscale="log", xlabel=label)
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(rows)), names)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="only the cases whose names start with this")
    parser.add_argument("--plot", type=Path, help="a file; by default docs/speed.png if every case is measured")
    arguments = parser.parse_args()
    machine = measure_machine()
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {arguments.runs}; "
        f"copies at {machine.bandwidth / 1e9:.0f} GB/s, products at {machine.rate / 1e9:.0f} GFLOP/s\n"
    )
    print("| case | published | ours | faster | floor | ours / floor | published, extra memory | ours | memory ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for case in CASES:
        if str(case).startswith(arguments.only):
            rows.append(measure(case, 1 if case.sdxl else arguments.runs, machine))
            print(rows[-1], flush=True)
    for chunks in (1, 3):
        print(f"\nAn equal prompt again, of length {chunks} x {LENGTH}: found in {lookup_milliseconds(chunks):.2f} ms")
    if plot := arguments.plot or (None if arguments.only else Path("docs/speed.png")):
        draw(rows, plot)


if __name__ == "__main__":
    main()
