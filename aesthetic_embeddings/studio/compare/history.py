"""The results of each page, so that it can show them again, also after a reload."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

from .results import Result

MAX_PAGES, MAX_RESULTS = 256, 12  # and results of each page


class History:
    """Results by page. A page is identified by a secret key that its browser stores."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, deque[Result]] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, claimed: Any) -> str:
        """The page's key: the one from its browser if it is valid, else a new one. The oldest page may be dropped."""
        with self._lock:
            key = claimed if isinstance(claimed, str) and claimed in self._pages else secrets.token_urlsafe(16)
            self._pages.setdefault(key, deque(maxlen=MAX_RESULTS))
            self._pages.move_to_end(key)
            while len(self._pages) > MAX_PAGES:
                self._pages.popitem(last=False)
            return key

    def add(self, key: Any, result: Result) -> None:
        with self._lock:
            if isinstance(key, str) and key in self._pages:
                self._pages[key].append(result)

    def results(self, key: Any) -> list[Result]:
        """The page's results whose pictures are still on the disk, newest first."""
        with self._lock:
            results = [*self._pages.get(key, ())] if isinstance(key, str) else []
        return [result for result in reversed(results) if Path(result.file).is_file()]
