"""Pillow's filters as looks of the pocket model's evaluation."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers")

from pocket_model.evaluate import drawings
from pocket_model.filters import FILTERS
from pocket_model.looks import PLAIN_LOOK


@pytest.mark.parametrize("name", FILTERS)
def test_filters_change_a_drawing_and_keep_its_size(name: str):
    (drawing,) = drawings(PLAIN_LOOK, 0, 1)
    filtered = FILTERS[name](drawing)
    assert (filtered.mode, filtered.size) == (drawing.mode, drawing.size)
    assert filtered.tobytes() != drawing.tobytes()
