"""Plots and tables."""

from __future__ import annotations

import itertools
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


def curves_plot(elem_id: str) -> gr.LinePlot:
    """The plot that shows `curves`."""
    return gr.LinePlot(
        x="step",
        y="similarity",
        color="of",
        color_title=" ",
        x_title="steps",
        y_title="similarity to the aesthetic",
        height=240,
        label="Similarity over the steps",
        show_label=False,
        visible=False,
        elem_id=elem_id,
    )


def colors(labels: Sequence[str]) -> dict[str, str]:
    """A color for each curve."""
    return dict(zip(labels, itertools.cycle(COLORS), strict=False))


def curves(each: Mapping[str, Sequence[float]]) -> Any:
    """A row for each step of each curve."""
    import pandas

    rows = [(k, similarity, of) for of, run in each.items() for k, similarity in enumerate(run)]
    return pandas.DataFrame(rows, columns=["step", "similarity", "of"])
