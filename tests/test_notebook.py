"""The notebook runs, and shows what it showed when it was kept."""

from __future__ import annotations

from typing import Any

import pytest


def pictures(notebook: Any) -> list[int]:
    """How many pictures each cell shows."""
    shown = [[output.get("data", {}) for output in cell.get("outputs", [])] for cell in notebook.cells]
    return [sum("image/jpeg" in data for data in each) for each in shown]


def test_the_notebook_runs():
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    nbformat = pytest.importorskip("nbformat")
    from tools import notebook

    kept = nbformat.read(notebook.NOTEBOOK, as_version=4)
    assert sum(pictures(kept)) >= 5, "run `python -m tools.notebook`"
    assert pictures(notebook.executed()) == pictures(kept)
