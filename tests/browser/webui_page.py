"""The extension's accordion and tab in the fake host, on a page of this environment's gradio: to be looked at.

`python -m tests.browser.webui_page FOLDER [CSS...]` saves pictures of both, closed and open, light and dark, at a
desk's and at a phone's width. CSS: files of a host, such as its style.css.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from playwright.sync_api import sync_playwright

from aesthetic_embeddings import pocket

from ..webui import fake_host

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROOT = Path(__file__).resolve().parent.parent.parent
#: What the hosts' own scripts have for ours (script.js, javascript/ui.js).
HOST = """
window.loaded = [];
window.gradioApp = () => document;
window.onUiLoaded = callback => loaded.push(callback);
window.onAfterUiUpdate = callback => loaded.push(callback);
window.switched = 0;
window.switch_to_txt2img = () => switched += 1;
"""
ID = "#script_txt2img_aesthetic_gradients_"
TAB = "#aesthetic_gradients_"


@contextmanager
def host(root: Path) -> Iterator[fake_host.Host]:
    """The fake host, with aesthetics of the pocket model's samples, and its CLIP as the first encoder."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("modules", "backend")}
    fake_host.forget_extension()
    made = fake_host.Host("a1111", root)
    sys.modules.update(made.modules)
    made.script_callbacks = made.modules["modules.script_callbacks"]
    encoder = made.webui("creation").ENCODERS[0]
    shutil.copytree(pocket.MODEL, root / "models/CLIP" / encoder.name, ignore=shutil.ignore_patterns("unet", "vae"))
    try:
        yield made
    finally:
        for name in made.modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)
        fake_host.forget_extension()


def built(host: fake_host.Host, css: str = "") -> gr.Blocks:
    """The page, made as in modules/ui.py, create_ui. Both accordions stand side by side, as wide as in a host."""
    script = host.webui("script")
    script.register()
    with gr.Blocks(analytics_enabled=False) as accordions, gr.Row():
        for is_img2img in (False, True):
            with gr.Column():
                one = script.AestheticGradients()
                one.is_img2img = is_img2img
                one.ui(is_img2img)
    tab = host.webui("tab").build()
    with gr.Blocks(analytics_enabled=False, css=css) as page:
        accordions.render()
        tab.render()
    return page


@contextmanager
def launched(page: gr.Blocks) -> Iterator[str]:
    """The page's address while it is served."""
    with socket.create_server(("127.0.0.1", 0)) as free:  # two that look for one at once can leave gradio's queue dead
        port = free.getsockname()[1]
    page.queue().launch(
        prevent_thread_lock=True, quiet=True, share=False, server_name="127.0.0.1", server_port=port, show_api=False
    )
    try:
        yield page.local_url
    finally:
        page.server.force_exit = True  # uvicorn would wait for an answer that a closed browser does not fetch
        page.close()


@contextmanager
def served(css: Sequence[str] = ()) -> Iterator[tuple[str, fake_host.Host]]:
    """The page's address, and its host. css: of the host, before ours."""
    with tempfile.TemporaryDirectory() as folder, host(Path(folder)) as made:
        style = "\n".join([*css, (ROOT / "style.css").read_text(encoding="utf-8")])
        with launched(built(made, style)) as url:
            yield url, made


def with_scripts(page: Any, url: str) -> None:
    """Open the page, and run our scripts as a host does."""
    page.goto(url)
    page.wait_for_selector(f"{TAB}create")
    page.add_script_tag(content=HOST)
    for file in sorted((ROOT / "javascript").glob("*.js")):
        page.add_script_tag(path=file)
    page.evaluate("loaded.forEach(callback => callback())")


def main(folder: Path, css: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    samples = sorted((pocket.SAMPLES / "aivazovsky").glob("*.png"))
    with served(css) as (url, _), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        with_scripts(page, url)
        page.locator(f"{TAB}pictures input[type=file]").set_input_files(samples)
        page.locator(f"{TAB}name").locator("input, textarea").fill("aivazovsky")
        page.locator(f"{TAB}create").click()
        page.locator(f"{TAB}use").wait_for()
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / "tab.png", full_page=True)
        page.locator(f"{TAB}use").click()
        page.locator(f"{ID}accordion > .label-wrap").click()
        page.wait_for_timeout(1500)
        for width in (1400, 390):
            for theme in ("light", "dark"):
                page.set_viewport_size({"width": width, "height": 1000})
                page.evaluate(f"document.body.classList.toggle('dark', {str(theme == 'dark').lower()})")
                page.wait_for_timeout(400)
                page.locator(f"{ID}accordion").screenshot(path=folder / f"accordion-{width}-{theme}.png")
                page.screenshot(path=folder / f"page-{width}-{theme}.png", full_page=True)
        print(page.locator(f"{ID}accordion").bounding_box())
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(file).read_text(encoding="utf-8") for file in sys.argv[2:]])
