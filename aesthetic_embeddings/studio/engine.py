"""The pipeline, and what is done with it: one job at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Engine:
    pipeline: Any
    model: str
