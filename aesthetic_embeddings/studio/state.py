"""State that the tabs share."""

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
_MAX_JOB_FOLDERS = 48  # older ones are deleted

#: Options of an event that is not part of the page's API, and whose outputs are not dimmed while it runs.
INTERNAL_EVENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
#: Options of an event that changes the library. Only one runs at a time.
CHANGES_LIBRARY: dict[str, Any] = {**INTERNAL_EVENT, "concurrency_id": "library", "concurrency_limit": 1}


@dataclass
class Studio:
    """The library, model and encoders behind the page, and components that its tabs share.

    encoders: the CLIPs that embed pictures, as `creation.create_with_report` takes them.
    folder: for files that pages load, such as generated pictures. It is deleted when the studio ends.
    is_demo: whether the model is the bundled pocket model.

    Set while the page is built. Each open page has its own values:
    version: a `gr.State`. A handler that changes the library returns `next_version()` for it; a part that shows the
        library updates on its `change` and on the page's `load`.
    aesthetic_to_try: a `gr.State`. A button "Try it now" returns `(name, next_version())` for it.
    tabs: the page's `gr.Tabs`.
    """

    library: Library
    engine: Engine
    encoders: Sequence[Encoder]
    folder: Path
    is_demo: bool = False
    version: Any = None
    aesthetic_to_try: Any = None
    tabs: Any = None
    _job_folders: deque[Path] = field(default_factory=deque)

    def next_version(self) -> int:
        """A number that is new each time, for a state whose `change` should fire."""
        return next(_versions)

    def supported_names(self) -> list[str]:
        """The names of the aesthetics that the model supports."""
        return [name for name in self.library.names() if self.engine.supports(self.library.get(name))]

    def new_job_folder(self) -> Path:
        """A new folder for the pictures of one job. The oldest is deleted if there are too many."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="pictures-"))
        self._job_folders.append(folder)
        while len(self._job_folders) > _MAX_JOB_FOLDERS:
            shutil.rmtree(self._job_folders.popleft(), ignore_errors=True)
        return folder


def page_id(request: gr.Request) -> str:
    """The id of an open page, until it is closed."""
    return request.session_hash or ""


def elem_id(name: str) -> str:
    return f"studio_{name}"
