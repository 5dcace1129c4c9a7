"""Plots and tables of similarities."""

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
TYPICAL, OUTLIER = "like the others", "unlike the others"


def similarity_plot(elem_id: str) -> gr.BarPlot:
    """The plot that shows a `similarity_table`."""
    return gr.BarPlot(
        x="picture",
        y="similarity",
        color="kind",
        color_map={TYPICAL: "#6366f1", OUTLIER: "#e11d48"},
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


def similarity_table(names: Sequence[str], similarities: Tensor, is_outlier: Sequence[bool]) -> Any:
    """The data of the plot: a row for each picture. is_outlier: whether each is unlike the others."""
    import pandas

    kinds = [OUTLIER if outlier else TYPICAL for outlier in is_outlier]
    numbered = [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names, 1)]
    return pandas.DataFrame({"picture": numbered, "similarity": similarities.tolist(), "kind": kinds})


def heat_map(names: Sequence[str], vectors: Tensor) -> str:
    """The cosines between all vectors, `[names, dim]`, as an HTML table. Similar ones are placed together.

    It is a table rather than an image, so it follows the page's colors and text size, scrolls on a phone, and works
    with screen readers.
    """
    cosines = unit(vectors) @ unit(vectors).T
    order = _similarity_order(cosines)
    head = "".join(f"<th scope='col'><span>{escape(names[row])}</span></th>" for row in order)
    rows = "".join(
        f"<tr><th scope='row'>{escape(names[row])}</th>"
        + "".join(_cell(float(cosines[row, column])) for column in order)
        + "</tr>"
        for row in order
    )
    return f"<div class='heat'><table><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _cell(cosine: float) -> str:
    color = "99 102 241" if cosine > 0 else "225 29 72"
    return f"<td style='background: rgb({color} / {round(80 * abs(cosine))}%)'>{cosine:.2f}</td>"


def _similarity_order(cosines: Tensor) -> list[int]:
    """An order that places similar vectors together (Friendly, *Corrgrams*, 2002).

    It is that of the angles in the plane of the two largest principal components.
    """
    _, components = torch.linalg.eigh(cosines.double())
    return torch.atan2(components[:, -2], components[:, -1]).argsort().tolist()


def curves(runs: Mapping[str, Sequence[float]]) -> str:
    """Similarity over steps as an SVG figure. runs: label -> the similarity before the first step and after each.

    Gradio's own plot puts ticks between whole steps, and fixes its colors before the labels are known.
    """
    values = [value for run in runs.values() for value in run]
    if not values:
        return ""
    x_ticks = ticks(0, max(2, *map(len, runs.values())) - 1, min_step=1)
    y_ticks = ticks(min(values), max(values))

    def x(step: float) -> float:
        return 46 + 344 * step / x_ticks[-1]

    def y(value: float) -> float:
        return 150 - 140 * (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])

    digits = 2 if y_ticks[1] - y_ticks[0] < 0.1 else 1
    marks = [
        f"<line x1='46' x2='390' y1='{y(value):.1f}' y2='{y(value):.1f}'/>"
        f"<text x='40' y='{y(value) + 4:.1f}'>{value:.{digits}f}</text>"
        for value in y_ticks
    ]
    marks += [f"<text class='step' x='{x(step):.1f}' y='168'>{step:g}</text>" for step in x_ticks]
    lines, legend = [], []
    for (label, run), color in zip(runs.items(), itertools.cycle(COLORS), strict=False):
        path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in enumerate(run))
        dots = "".join(f"<circle cx='{x(step):.1f}' cy='{y(value):.1f}' r='2.5'/>" for step, value in enumerate(run))
        lines.append(f"<g style='stroke: {color}; fill: {color}'><polyline points='{path}'/>{dots}</g>")
        legend.append(f"<span><i style='background: {color}'></i>{escape(label)}</span>")
    description = "; ".join(f"{label}: {run[0]:.3f} to {run[-1]:.3f}" for label, run in runs.items() if run)
    return (
        "<figure class='curves'><figcaption>Similarity to the aesthetic, over steps</figcaption>"
        f"<svg viewBox='0 0 400 172' role='img' aria-label='{escape(description)}'>"
        f"{''.join(marks)}{''.join(lines)}</svg>"
        f"<div class='legend'>{''.join(legend)}</div></figure>"
    )


def ticks(lowest: float, highest: float, min_step: float = 0.0) -> list[float]:
    """Three to seven round numbers whose range includes `lowest` and `highest`, at least `min_step` apart."""
    span = max(highest - lowest, 0.05)
    magnitude = 10.0 ** math.floor(math.log10(span / 5))
    step = max(min_step, next(magnitude * factor for factor in (1, 2, 5, 10) if magnitude * factor >= span / 5))
    first_index, last_index = math.floor(lowest / step), math.ceil(highest / step)
    return [round(index * step, 9) for index in range(first_index, max(last_index, first_index + 1) + 1)]
