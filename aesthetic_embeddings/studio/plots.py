"""Plots and tables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from ..aesthetics.vectors import unit

COLORS = ("#6366f1", "#f59e0b", "#10b981", "#e11d48", "#0ea5e9", "#a855f7", "#84cc16", "#64748b")
TYPICAL, ODD = "like the others", "unlike the others"


def likeness_plot(elem_id: str) -> gr.BarPlot:
    """The plot that shows `likeness`."""
    return gr.BarPlot(
        x="picture",
        y="similarity",
        color="kind",
        color_map={TYPICAL: "#6366f1", ODD: "#e11d48"},
        color_title=" ",
        x_title="pictures",
        y_title="similarity to their mean",
        x_axis_labels_visible=False,
        sort="y",
        tooltip="all",
        height=220,
        label="How alike the pictures are",
        show_label=False,
        elem_id=elem_id,
    )


def likeness(names: Sequence[str], similarities: Tensor, odd: Sequence[bool]) -> Any:
    """A row for each picture."""
    import pandas

    kinds = [ODD if each else TYPICAL for each in odd]
    numbered = [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]
    return pandas.DataFrame({"picture": numbered, "similarity": similarities.tolist(), "kind": kinds})


def heat_map(names: Sequence[str], vectors: Tensor) -> str:
    """The cosine of each vector, `[names, dim]`, with each, as an HTML table; alike ones stand together.

    A table and not a picture: it has the page's colors and text size, scrolls on a phone, and can be read aloud.
    """
    cosines = unit(vectors) @ unit(vectors).T
    order = _seriation(cosines)
    head = "".join(f"<th scope='col'><span>{escape(names[i])}</span></th>" for i in order)
    rows = "".join(
        f"<tr><th scope='row'>{escape(names[i])}</th>" + "".join(_cell(float(cosines[i, j])) for j in order) + "</tr>"
        for i in order
    )
    return f"<div class='heat'><table><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _cell(cosine: float) -> str:
    color = "99 102 241" if cosine > 0 else "225 29 72"
    return f"<td style='background: rgb({color} / {round(80 * abs(cosine))}%)'>{cosine:.2f}</td>"


def _seriation(cosines: Tensor) -> list[int]:
    """By the angle in the plane of the two largest principal components (Friendly, *Corrgrams*, 2002)."""
    _, components = torch.linalg.eigh(cosines.double())
    return torch.atan2(components[:, -2], components[:, -1]).argsort().tolist()


def curves(runs: Mapping[str, Sequence[float]]) -> str:
    """Similarity over steps as an SVG figure. runs: label -> the similarity before the first step and after each.

    gradio's own plot puts marks between whole steps, and fixes its colors before the labels are known.
    """
    values = [value for run in runs.values() for value in run]
    if not values:
        return ""
    x_ticks = ticks(0, max(2, *map(len, runs.values())) - 1, smallest=1)
    y_ticks = ticks(min(values), max(values))

    def x(step: float) -> float:
        return 46 + 344 * step / x_ticks[-1]

    def y(value: float) -> float:
        return 150 - 140 * (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])

    digits = 2 if y_ticks[1] - y_ticks[0] < 0.1 else 1
    marks = [
        f"<line x1='46' x2='390' y1='{y(v):.1f}' y2='{y(v):.1f}'/><text x='40' y='{y(v) + 4:.1f}'>{v:.{digits}f}</text>"
        for v in y_ticks
    ]
    marks += [f"<text class='step' x='{x(k):.1f}' y='168'>{k:g}</text>" for k in x_ticks]
    lines, legend = [], []
    for (label, run), color in zip(runs.items(), itertools.cycle(COLORS), strict=False):
        path = " ".join(f"{x(k):.1f},{y(value):.1f}" for k, value in enumerate(run))
        dots = "".join(f"<circle cx='{x(k):.1f}' cy='{y(value):.1f}' r='2.5'/>" for k, value in enumerate(run))
        lines.append(f"<g style='stroke: {color}; fill: {color}'><polyline points='{path}'/>{dots}</g>")
        legend.append(f"<span><i style='background: {color}'></i>{escape(label)}</span>")
    words = "; ".join(f"{label}: {run[0]:.3f} to {run[-1]:.3f}" for label, run in runs.items() if run)
    return (
        "<figure class='curves'><figcaption>Similarity to the aesthetic, over steps</figcaption>"
        f"<svg viewBox='0 0 400 172' role='img' aria-label='{escape(words)}'>{''.join(marks)}{''.join(lines)}</svg>"
        f"<div class='legend'>{''.join(legend)}</div></figure>"
    )


def ticks(low: float, high: float, smallest: float = 0.0) -> list[float]:
    """From three to seven round numbers whose range holds `low` and `high`; they are `smallest` apart at least."""
    span = max(high - low, 0.05)
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = max(smallest, next(power * k for k in (1, 2, 5, 10) if power * k >= span / 5))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 9) for i in range(first, max(last, first + 1) + 1)]
