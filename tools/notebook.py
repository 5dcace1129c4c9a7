"""Run the notebook, and keep what it shows: `python -m tools.notebook`."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

from .environments import ROOT

NOTEBOOK = ROOT / "examples" / "aesthetic_gradients.ipynb"


def executed() -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in this environment. Raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=place).execute()
    return notebook


def without_noise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what libraries wrote to stderr, such as bars of progress."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    nbformat.write(without_noise(executed()), NOTEBOOK)
