"""Writes an evaluation as one self-contained HTML page: the paper's figures 1 to 3, statistics and all pictures."""

from __future__ import annotations

import base64
import io
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from ..storage.paths import write_atomically
from .experiment import ORIGINAL, Experiment
from .paired_test import Comparison, compare

matplotlib.rcParams["svg.hashsalt"] = "aesthetic-gradients"  # makes figures reproducible byte by byte
_THUMBNAIL = 160
#: The color of the original, then of each variant.
_COLORS = ("#9a9a9a", *("#c2410c", "#1d4ed8", "#15803d", "#a21caf", "#b45309", "#0e7490") * 4)


def write_report(experiment: Experiment, lines: Sequence[Mapping[str, Any]], output: Path) -> Path:
    """Write `index.html` from the lines of `results.jsonl`, and return its path."""
    names = [variant.name for variant in experiment.variants if variant.name != ORIGINAL]
    sections = [_section(experiment, aesthetic.name, names, lines, output) for aesthetic in experiment.aesthetics]
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("report.html")
    page = template.render(experiment=experiment, sections=sections, pictures=len(lines), names=names)
    path = output / "index.html"
    write_atomically(path, page.encode())
    return path


def _section(
    experiment: Experiment, aesthetic: str, names: Sequence[str], lines: Sequence[Mapping[str, Any]], output: Path
) -> dict[str, Any]:
    """The page's section for one aesthetic, as variables of the template."""
    relevant = [line for line in lines if line["aesthetic"] in ("", aesthetic)]
    of_variant = {name: [line for line in relevant if line["variant"] == name] for name in [ORIGINAL, *names]}
    metrics = [
        name
        for name in dict.fromkeys(name for line in relevant for name in line["scores"])
        if not any(name.endswith(f" {other.name}") for other in experiment.aesthetics if other.name != aesthetic)
    ]
    tests = [
        {
            "metric": _title(metric, aesthetic),
            "variant": name,
            "before": _mean(of_variant[ORIGINAL], metric),
            "after": _mean(of_variant[name], metric),
            "test": _paired(of_variant[ORIGINAL], of_variant[name], metric),
        }
        for metric in metrics
        for name in names
    ]
    return {
        "aesthetic": aesthetic,
        "tests": [test for test in tests if test["test"]],
        "distributions": _svg(_distributions(of_variant, metrics, aesthetic)) if metrics else "",
        "curves": _svg(_curves(of_variant)) if any(line["similarities"] for line in relevant) else "",
        "grid": _grid(experiment, of_variant, output),
    }


def _title(metric: str, aesthetic: str) -> str:
    titles = {"prompt": "cosine with the plain prompt", f"similarity {aesthetic}": "cosine with the aesthetic"}
    return titles.get(metric, metric.removesuffix(f" {aesthetic}"))


def _mean(lines: Sequence[Mapping[str, Any]], metric: str) -> float:
    return float(np.mean([line["scores"][metric] for line in lines if metric in line["scores"]] or [np.nan]))


def _paired(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], metric: str) -> Comparison | None:
    """Compare the means of each prompt, over the prompts and seeds that both variants have."""
    values: list[dict[tuple[int, int], float]] = [
        {(line["prompt_number"], line["seed"]): line["scores"][metric] for line in lines if metric in line["scores"]}
        for lines in (before, after)
    ]
    pairs: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for key in values[0].keys() & values[1].keys():
        pairs[key[0]].append((values[0][key], values[1][key]))
    means = [np.mean(pairs[prompt], axis=0) for prompt in sorted(pairs)]
    return compare([float(pair[0]) for pair in means], [float(pair[1]) for pair in means]) if means else None


def _distributions(
    of_variant: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Sequence[str], aesthetic: str
) -> Figure:
    """Figure 2: the distribution of each score over the pictures, for the original and each variant."""
    figure = Figure(figsize=(4.2 * len(metrics), 3.3), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        scores = {
            name: [line["scores"][metric] for line in lines if metric in line["scores"]]
            for name, lines in of_variant.items()
        }
        all_scores = [score for values in scores.values() for score in values]
        bins = np.histogram_bin_edges(all_scores, bins=24) if all_scores else 1
        for (name, values), color in zip(scores.items(), _COLORS, strict=False):
            if values:
                axes.hist(values, bins, density=True, color=color, alpha=0.45, label=name)
                axes.axvline(float(np.mean(values)), color=color, linewidth=1.5)
        axes.set_xlabel(_title(metric, aesthetic))
        axes.set_yticks([])
        axes.spines[["top", "left", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(of_variant), frameon=False)
    return figure


def _curves(of_variant: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """The similarity of prompt and aesthetic over the steps: of each prompt, and the mean."""
    figure = Figure(figsize=(4.6, 3), layout="constrained")
    axes = figure.subplots()
    for (name, lines), color in zip(of_variant.items(), _COLORS, strict=False):
        runs = {line["prompt_number"]: line["similarities"] for line in lines if line["similarities"]}
        families = dict.fromkeys(family for run in runs.values() for family in run)
        for family, style in zip(families, itertools.cycle(("-", "--", ":")), strict=False):
            curves = [run[family] for run in runs.values() if family in run]
            for curve in curves:
                axes.plot(curve, style, color=color, linewidth=0.6, alpha=0.3)
            if len({len(curve) for curve in curves}) == 1:
                axes.plot(np.mean(curves, axis=0), style, color=color, linewidth=2, label=f"{name} ({family})")
    axes.set_xlabel("steps")
    axes.set_ylabel("similarity of prompt and aesthetic")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _svg(figure: Figure) -> str:
    data = io.StringIO()
    figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()[data.getvalue().index("<svg") :]


def _grid(
    experiment: Experiment, of_variant: Mapping[str, Sequence[Mapping[str, Any]]], output: Path
) -> list[dict[str, Any]]:
    """Figures 1 and 3: for each prompt a row of pictures per variant, with equal seeds in the same column."""
    return [
        {
            "prompt": prompt,
            "rows": [
                {
                    "variant": name,
                    "pictures": [
                        {"image": _thumbnail(output / line["picture"]), "seed": line["seed"]}
                        for line in lines
                        if line["prompt_number"] == number
                    ],
                }
                for name, lines in of_variant.items()
            ],
        }
        for number, prompt in enumerate(experiment.prompts)
    ]


def _thumbnail(path: Path) -> str:
    with Image.open(path) as image:
        thumbnail = image.convert("RGB")
    thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
    data = io.BytesIO()
    thumbnail.save(data, "WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
