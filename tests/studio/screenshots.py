"""The README's pictures of the studio: `python -m tests.studio.screenshots [FOLDER]`, by default `docs`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from aesthetic_embeddings.studio import app, server

from .conftest import CHROMIUM
from .test_compare import at, generate, shown

WIDTH = 1280


def main(folder: Path) -> None:
    pages: dict[str, Callable[[Any], None]] = {"": _compare, "-create": _create, "-library": _library}
    with (
        tempfile.TemporaryDirectory() as library,
        app.open_studio(folders=[library]) as studio,
        sync_playwright() as driver,
    ):
        served = server.launch(studio)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(served.local_url)
        shown(page, "original")
        for name, show in pages.items():
            show(page)
            page.mouse.move(0, 0)
            page.wait_for_timeout(1500)  # for plots and transitions to settle
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=folder / f"studio{name}.png", full_page=True)
            print(folder / f"studio{name}.png")
        browser.close()
        served.close()


def _compare(page: Any) -> None:
    generate(page, at(page, "example_1").click)
    shown(page, "personalized")


def _create(page: Any) -> None:
    page.get_by_role("tab", name="Create").click()
    at(page, "samples").click()
    at(page, "pictures").locator(".tile").first.wait_for()
    at(page, "new_name").locator("input, textarea").fill("clouds")


def _library(page: Any) -> None:
    page.get_by_role("tab", name="Library").click()
    at(page, "cards").locator(".card").nth(1).click()
    at(page, "facts").locator("h3").wait_for()
    box = at(page, "blend_parts").locator("input")
    for name in ("cloudcore", "glowwave"):
        box.click()
        page.get_by_role("option", name=name, exact=True).click()
    page.keyboard.press("Escape")
    at(page, "blend_preview").get_by_text("cloudcore × 0.5, glowwave × 0.5").wait_for()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
