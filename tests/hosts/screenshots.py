"""The README's pictures of the extension in a real host: `python -m tests.hosts.screenshots NAME --url ...`.

NAME: of an aesthetic that the host has. The host was started with --api, and has the tab's first encoder in
models/CLIP. A link of that name to the pocket model serves, whose samples are shown.
"""

from __future__ import annotations

import argparse
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from aesthetic_embeddings import pocket

from .browser import ID, choose, generate, journey, number, toggle
from .cards import tab_of

TAB = "#aesthetic_gradients_"
NEW = "old-seas"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    parser.add_argument("--beside", type=Path, help="only this file: the accordion, with the picture beside it")
    arguments = parser.parse_args()
    with journey(arguments.url, 1400) as (page, see):
        toggle(page)
        height = box(page, f"{ID}accordion")["height"]
        see(f"the accordion is {height:.0f} px high at 1400 px", height <= 330)
        choose(page, arguments.name)
        number(page, "steps", "5")
        generate(page)
        if arguments.beside:
            beside(page, arguments.beside)
            return
        accordion(page, arguments.folder / "webui-accordion.png")
        delete(arguments.url)  # of a run that was ended
        tab(page, arguments.folder / "webui-create.png")
        delete(arguments.url)


def accordion(page: Page, file: Path) -> None:
    """The accordion, and below it what is said under the picture."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)
    parts = []
    for selector in (f"{ID}accordion", "#html_log_txt2img"):
        page.locator(selector).first.screenshot(path=file)
        parts.append(Image.open(file).convert("RGB"))
    size = max(part.width for part in parts), sum(part.height for part in parts)
    both = Image.new("RGB", size, parts[0].getpixel((1, parts[0].height // 2)))
    top = 0
    for part in parts:
        both.paste(part, (0, top))
        top += part.height
    both.save(file, optimize=True)


def beside(page: Page, file: Path) -> None:
    """The accordion, the picture, and what is said under it, as they lie on the page."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(3000)  # until the last preview has faded
    boxes = [box(page, selector) for selector in (f"{ID}accordion", "#txt2img_results")]
    left, top = (min(each[edge] for each in boxes) - 8 for edge in ("x", "y"))
    right = max(each["x"] + each["width"] for each in boxes) + 8
    bottom = max(each["y"] + each["height"] for each in boxes)
    page.screenshot(path=file, clip={"x": left, "y": top, "width": right - left, "height": bottom - top})


def tab(page: Page, file: Path) -> None:
    """The tab after pictures were dropped and an aesthetic was made."""
    tab_of(page, "#tabs", "Create aesthetic embedding")
    samples = sorted((pocket.SAMPLES / "aivazovsky").glob("*.png"))
    page.locator(f"{TAB}pictures input[type=file]").set_input_files(samples)
    page.locator(f"{TAB}name").locator("input, textarea").fill(NEW)
    page.wait_for_timeout(3000)  # until they are uploaded
    page.locator(f"{TAB}create").click()
    page.locator(f"{TAB}use").wait_for(timeout=120_000)
    page.mouse.move(0, 0)
    page.wait_for_timeout(3000)
    for path in page.locator(f"{TAB}created code").all():  # as on the reader's machine
        path.evaluate("code => code.innerText = code.innerText.replace(/^.*(?=.models.)/, 'stable-diffusion-webui')")
    page.locator(f"{TAB}parts").screenshot(path=file)


def delete(url: str) -> None:
    """What the tab makes, if it is there."""
    request = urllib.request.Request(f"{url}/aesthetic-gradients/v1/embeddings/{NEW}", method="DELETE")
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request)


def box(page: Page, selector: str) -> dict[str, float]:
    found = page.locator(selector).bounding_box()
    assert found, selector
    return dict(found)


if __name__ == "__main__":
    main()
