"""What the tabs share."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..library import Library
from .engine import Engine

_versions = itertools.count(1)


@dataclass
class Studio:
    """One page and what it works with.

    encoders: the CLIPs that look at pictures, as folders or hub ids: what `creation.gather` takes.
    folder: for files that pages are given, such as pictures just made; gone when the studio ends.
    version: a `gr.State`, set while the page is built. Whoever changes the library puts `changed()` into it, as an
        output; whoever shows the library listens to its `change`, and to the page's `load`.
    """

    library: Library
    engine: Engine
    encoders: tuple[str, ...]
    folder: Path
    version: Any = field(default=None)

    def changed(self) -> int:
        """The library's next version: a number that was not there before."""
        return next(_versions)


def elem_id(name: str) -> str:
    return f"studio_{name}"
