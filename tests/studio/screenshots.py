"""The README's pictures of the studio, still and moving: `python -m tests.studio.screenshots [FOLDER]`.

FOLDER is `docs` by default.
"""

from __future__ import annotations

import io
import itertools
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from aesthetic_embeddings.studio import app, server

from .conftest import CHROMIUM
from .test_compare import ask, at, generate, number, shown

WIDTH = 1280
WAIT = 300_000  # milliseconds
SEED, STEPS = 8, 14  # chosen: these pictures are among the better ones


def main(folder: Path) -> None:
    pages: dict[str, Callable[[Any], None]] = {"-create": _create, "-library": _library}
    with (
        tempfile.TemporaryDirectory() as library,
        app.open_studio(folders=[library]) as studio,
        sync_playwright() as driver,
    ):
        served = server.launch(studio)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.set_default_timeout(WAIT)
        page.goto(served.local_url)
        shown(page, "original")
        for name, show in pages.items():
            show(page)
            page.mouse.move(0, 0)
            page.wait_for_timeout(1500)  # for plots and transitions to settle
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=folder / f"studio{name}.png", full_page=True)
            print(folder / f"studio{name}.png")
        _film(browser.new_page(viewport={"width": 1000, "height": 750}), served.local_url, folder / "studio.webp")
        browser.close()
        served.close()


def _strong(page: Any) -> None:
    """The preset, with fewer steps. "More" is open before, and folded afterwards."""
    at(page, "more").get_by_role("button", name="Strong").click()
    expect(number(page, "steps")).to_have_value("20")
    ask(page, steps=STEPS)
    at(page, "more").get_by_role("button", name="More").click()


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


def _film(page: Any, url: str, file: Path) -> None:
    """Ten seconds: a prompt in the taste of an aesthetic, then an aesthetic of one's own. Waiting is left out."""
    frames: list[tuple[Image.Image, int]] = []

    def show(milliseconds: int, top: bool = True) -> None:
        if top:
            page.evaluate("scrollTo(0, 0)")
        frames.append((Image.open(io.BytesIO(page.screenshot())), milliseconds))

    page.set_default_timeout(WAIT)
    page.goto(url)
    shown(page, "original")
    ask(page, seed=SEED, count=1)
    _strong(page)
    page.wait_for_timeout(500)
    show(1000)
    prompt = at(page, "prompt").locator("textarea")
    prompt.click()
    for text in itertools.accumulate(re.findall(r"\S+\s?", "an astronaut in the desert")):
        prompt.fill(text)
        show(150)
    box = at(page, "aesthetic").locator("input").first
    box.fill("glowwave")
    show(600)
    box.press("Enter")
    generate(page)
    shown(page, "personalized")
    page.wait_for_timeout(500)
    show(1500)
    page.get_by_label("Slider", exact=True).check()
    shown(page, "slider")
    box = at(page, "slider").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for share in (0.5, 0.42, 0.34, 0.26, 0.18, 0.26, 0.34, 0.42, 0.5, 0.58, 0.66, 0.74, 0.82):
        page.mouse.move(box["x"] + box["width"] * share, y)
        show(80)
    page.mouse.up()
    page.get_by_role("tab", name="Create").click()
    show(600)
    _create(page)
    page.wait_for_timeout(500)
    show(1200)
    at(page, "remove_odd").click()
    at(page, "remove_odd").wait_for(state="hidden")
    page.wait_for_timeout(500)
    show(800)
    at(page, "create_save").click()
    tried = page.get_by_role("button", name="Try it now")
    tried.wait_for()
    show(800, top=False)
    generate(page, tried.click)
    page.get_by_label("Side by side", exact=True).check()
    shown(page, "personalized")
    page.wait_for_timeout(500)
    show(1500)
    images, durations = zip(*frames, strict=True)
    images[0].save(file, save_all=True, append_images=images[1:], duration=durations, loop=0, quality=80, method=6)
    print(file, f"{sum(durations) / 1000:.1f} s, {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
