"""A user at a real host's page: `python -m tests.hosts.browser NAME --url http://127.0.0.1:7860`."""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from .client import Host

ID = "#script_txt2img_aesthetic_gradients_"
#: Neo writes these into its page some time after that has loaded: they should be what open_page chooses.
PRESET = {"sd_t2i_step": 3, "sd_t2i_sampler": "Euler", "sd_t2i_width": 64, "sd_t2i_height": 64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of an aesthetic that the host has")
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--folder", default="aesthetic-gradients", help="this extension's, in the host's extensions")
    parser.add_argument("--pictures", type=Path, help="a folder for screenshots")
    arguments = parser.parse_args()
    with journey(arguments.url, 1500, arguments.pictures) as (page, see):
        plain = generate(page)
        see("plain: nothing said", "Aesthetic gradients" not in plain[1])
        toggle(page)
        choose(page, arguments.name)
        first = generate(page)
        see("on: another picture, and said", first[0] != plain[0] and f"gradients: {arguments.name}" in first[1])
        again = generate(page)
        see("on again: the same picture, reused", again[0] == first[0] and "reused" in again[1])
        number(page, "epsilon", "0.0002")
        other = generate(page)
        see("epsilon: another picture", other[0] not in (plain[0], first[0]))
        choose(page, "None")
        none = generate(page)
        see("None: the plain picture, and said", none[0] == plain[0] and "No embedding is chosen" in none[1])
        toggle(page)
        see("off: the plain picture", generate(page)[0] == plain[0])

        reload(page, arguments.url)
        see("Reload UI: plain is plain", generate(page)[0] == plain[0])
        toggle(page)
        choose(page, arguments.name)
        see("Reload UI: on is on", generate(page)[0] == first[0])

        host = Host(arguments.url)
        host.call("/sdapi/v1/options", {"disabled_extensions": [arguments.folder]})
        reload(page, arguments.url)
        see("disabled: no trace on the page", page.locator(f"{ID}accordion").count() == 0)
        see("disabled: the plain picture", generate(page)[0] == plain[0])
        host.call("/sdapi/v1/options", {"disabled_extensions": []})
        reload(page, arguments.url)
        toggle(page)
        choose(page, arguments.name)
        see("enabled again: on is on", generate(page)[0] == first[0])


@contextmanager
def journey(url: str, height: int, pictures: Path | None = None) -> Iterator[tuple[Page, Callable[[str, bool], None]]]:
    """A page of the host, and what tells whether a line is true; exits with the number of those that were not.

    pictures: a folder for a screenshot after each line.
    """
    host = Host(url)
    host.call("/sdapi/v1/options", {k: v for k, v in PRESET.items() if k in host.call("/sdapi/v1/options")})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": height})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        open_page(page, url)
        failed = 0

        def see(line: str, good: bool) -> None:
            nonlocal failed
            failed += not good
            print(f"{'ok ' if good else 'BAD'} {line}", flush=True)
            if pictures:
                page.screenshot(path=pictures / f"{line.split(':')[0].replace(' ', '-')}.png")

        yield page, see
        print(f"page errors: {sorted(set(errors))}")
        browser.close()
    sys.exit(failed)


def open_page(page: Page, url: str) -> None:
    for _ in range(30):
        try:
            page.goto(url, wait_until="domcontentloaded")
            page.wait_for_selector("#txt2img_prompt textarea", timeout=120_000)
            break
        except Exception:  # it is being built again
            page.wait_for_timeout(1000)
    page.wait_for_timeout(2000)
    page.fill("#txt2img_prompt textarea", "a photo of a cat")
    pick(page, "#txt2img_sampling", "Euler")
    page.fill("#txt2img_seed input", "7")
    for name, value in (("steps", "3"), ("width", "64"), ("height", "64")):
        page.fill(f"#txt2img_{name} input[type=number]", value)
        page.keyboard.press("Tab")


def reload(page: Page, url: str) -> None:
    page.click("a:has-text('Reload UI')")
    page.wait_for_timeout(500)
    page.goto("about:blank")  # A1111 dies where a request comes before it is ready ("Cannot add middleware")
    page.wait_for_timeout(8000)
    open_page(page, url)


def generate(page: Page) -> tuple[str, str]:
    """The picture's bytes, as the page shows it, and what is said under it."""
    done = "#txt2img_results .performance .time"
    page.evaluate("selector => document.querySelector(selector)?.remove()", done)
    page.click("#txt2img_generate")
    page.wait_for_selector(done, timeout=120000)
    page.wait_for_timeout(700)
    source = page.eval_on_selector("#txt2img_gallery img[src*='file=']", "image => image.src")
    data = page.evaluate(
        "async source => Array.from(new Uint8Array(await (await fetch(source)).arrayBuffer())).join()", source
    )
    return _pixels(data), page.inner_text("#txt2img_results")


def _pixels(data: str) -> str:
    image = Image.open(io.BytesIO(bytes(map(int, data.split(",")))))
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()[:12]


def toggle(page: Page) -> None:
    """Open the accordion, which ticks its box, or close it, which unticks it."""
    page.click(f"{ID}accordion .label-wrap .icon")
    page.wait_for_timeout(500)


def unfold(page: Page, fold: str) -> None:
    """Open one of the accordion's folds, unless it is open."""
    label = page.locator(f"{ID}{fold}_fold > .label-wrap")
    if "open" not in (label.get_attribute("class") or "").split():
        label.click()
        page.wait_for_timeout(500)


def choose(page: Page, name: str) -> None:
    pick(page, f"{ID}embedding", name)


def pick(page: Page, dropdown: str, choice: str) -> None:
    box = page.locator(f"{dropdown} input").first
    box.click()
    box.fill(choice)
    page.wait_for_timeout(300)
    page.locator(f"{dropdown} ul li", has_text=re.compile(rf"^\W*{re.escape(choice)}\W*$", re.IGNORECASE)).first.click()
    page.wait_for_timeout(300)


def number(page: Page, name: str, value: str) -> None:
    page.fill(f"{ID}{name} input[type=number]", value)
    page.keyboard.press("Tab")
    page.wait_for_timeout(300)


if __name__ == "__main__":
    main()
