"""The README's pictures of the studio: `python -m tests.studio.screenshots [FOLDER]`, by default `docs`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from aesthetic_embeddings.studio import app, server

from .conftest import CHROMIUM
from .test_compare import ask, at, generate, shown

WIDTH = 1280


def main(folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as library,
        app.open_studio(folders=[library]) as studio,
        sync_playwright() as driver,
    ):
        served = server.launch(studio)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(served.local_url)
        _compare(page)
        _save(page, folder / "studio.png")
        browser.close()
        served.close()


def _compare(page: Any) -> None:
    ask(page, "a lighthouse in the snow", "glowwave", seed=11)
    at(page, "more").get_by_role("button", name="More").click()
    generate(page)
    shown(page, "personalized")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # for the plot to settle


def _save(page: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height = page.evaluate("scrollY + document.querySelector('#studio_compare').getBoundingClientRect().bottom")
    page.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height + 16})
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
