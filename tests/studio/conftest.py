"""A studio on the pocket model, and Chromium to look at it: the journeys wait for what a person would see."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """With an empty folder of one's own beside the bundled aesthetics."""
    from aesthetic_embeddings.studio import app

    with app.open_studio(folders=[tmp_path_factory.mktemp("library")]) as studio:
        yield studio


@pytest.fixture(scope="module")
def url(studio: Any) -> Iterator[str]:
    from aesthetic_embeddings.studio import server

    page = server.launch(studio)
    yield page.local_url
    page.close()


@pytest.fixture
def library(studio: Any) -> Path:
    """The folder of one's own."""
    return studio.library.folders[0]


@pytest.fixture
def again(chromium: Any, url: str) -> Iterator[Callable[..., Any]]:
    """Opens the page in a browser of its own. Errors in its scripts fail the test."""
    contexts, errors = [], []

    def opened(**options: Any) -> Any:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        context.set_default_timeout(90_000)  # machines under test are busy
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(url)
        page.locator("#studio_original img").wait_for()  # the first comparison
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def page(again: Callable[..., Any]) -> Any:
    return again()
