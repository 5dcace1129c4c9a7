"""What the tabs share."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from ..aesthetics.image_encoder import Encoder
from ..aesthetics.library import Library
from .engine import Engine

_versions = itertools.count(1)
_KEPT_JOBS = 48  # whose pictures stay on the disk

#: Options of an event that is none of the page's API, and that does not dim what it changes.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
#: Options of an event that changes the library: one at a time.
CHANGES_LIBRARY: dict[str, Any] = {**QUIET, "concurrency_id": "library", "concurrency_limit": 1}


@dataclass
class Studio:
    """One page, and what it works with.

    encoders: the CLIPs that embed pictures, as `creation.create_with_report` takes them.
    folder: for files that pages are given, such as pictures just made; deleted when the studio ends.
    is_demo: whether the model is the bundled pocket model.

    Set while the page is built, and different at each page that is open:
    version: a `gr.State`. Whoever changes the library puts `changed()` into it, as an output; whoever shows the library
        listens to its `change`, and to the page's `load`.
    trial: a `gr.State`. Whoever offers to try an aesthetic puts `(its name, changed())` into it.
    tabs: the page's `gr.Tabs`.
    """

    library: Library
    engine: Engine
    encoders: Sequence[Encoder]
    folder: Path
    is_demo: bool = False
    version: Any = None
    trial: Any = None
    tabs: Any = None
    _job_folders: deque[Path] = field(default_factory=deque)

    def changed(self) -> int:
        """A number that was not there before, such as the library's next version."""
        return next(_versions)

    def aesthetics(self) -> list[str]:
        """The names of those that suit the model."""
        return [name for name in self.library.names() if self.engine.supports(self.library.get(name))]

    def new_folder(self) -> Path:
        """For the pictures of one job. The oldest job's folder is deleted where there are too many."""
        made = Path(tempfile.mkdtemp(dir=self.folder, prefix="pictures-"))
        self._job_folders.append(made)
        while len(self._job_folders) > _KEPT_JOBS:
            shutil.rmtree(self._job_folders.popleft(), ignore_errors=True)
        return made


def session(caller: gr.Request) -> str:
    """What identifies a page that is open, until it is closed."""
    return caller.session_hash or ""


def elem_id(name: str) -> str:
    return f"studio_{name}"
