"""What the tabs share."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..aesthetics.image_encoder import Encoder
from ..aesthetics.library import Library
from .engine import Engine

_versions = itertools.count(1)
_KEPT = 48  # jobs whose pictures are kept


@dataclass
class Studio:
    """One page and what it works with.

    encoders: the CLIPs that look at pictures, as `creation.create_with_report` takes them.
    folder: for files that pages are given, such as pictures just made; gone when the studio ends.
    version: a `gr.State`, set while the page is built. Whoever changes the library puts `changed()` into it, as an
        output; whoever shows the library listens to its `change`, and to the page's `load`.
    """

    library: Library
    engine: Engine
    encoders: tuple[Encoder, ...]
    folder: Path
    version: Any = None
    _folders: deque[Path] = field(default_factory=deque)

    def changed(self) -> int:
        """The library's next version: a number that was not there before."""
        return next(_versions)

    def new_folder(self) -> Path:
        """For the pictures of one job. There are as many as jobs may still be looked at: the oldest goes."""
        made = Path(tempfile.mkdtemp(dir=self.folder, prefix="pictures-"))
        self._folders.append(made)
        while len(self._folders) > _KEPT:
            shutil.rmtree(self._folders.popleft(), ignore_errors=True)
        return made


def elem_id(name: str) -> str:
    return f"studio_{name}"
