"""What is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from torch import Tensor

USUAL, ODD = "like the others", "unlike the others"


def likeness_plot(elem_id: str) -> gr.BarPlot:
    """Of `likeness`."""
    return gr.BarPlot(
        x="picture",
        y="similarity",
        color="kind",
        color_map={USUAL: "#6366f1", ODD: "#e11d48"},
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

    kinds = [ODD if each else USUAL for each in odd]
    numbered = [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]
    return pandas.DataFrame({"picture": numbered, "similarity": similarities.tolist(), "kind": kinds})
