"""A user who shares pictures and settings, at a real host's page: `python -m tests.hosts.pasting --url ...`.

The host needs the aesthetics sac_8plus and gloomcore, and a CLIP that looks at pictures.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

from .browser import ID, generate, journey, number, open_page, pick, toggle, unfold

MIX = "sac_8plus:0.7 gloomcore:-0.3"
TEXT = 'snow, "ice": and so on'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--screenshots", type=Path, help="a folder for screenshots")
    arguments = parser.parse_args()
    with journey(arguments.url, 1900, arguments.screenshots) as (page, see):
        plain, plain_text = generate(page)[0], infotext(page)
        toggle(page)
        write(page, "embedding", MIX)
        number(page, "steps", "4")
        number(page, "epsilon", "0.005")  # beyond the slider's end
        unfold(page, "advanced")
        number(page, "weight", "0.65")
        pick(page, f"{ID}update", "normalized")
        page.fill(f"{ID}text textarea", TEXT)
        chosen = values(page)
        first, text = generate(page)[0], infotext(page)
        see("a mix typed: another picture", first != plain and "Aesthetic hash" in text)
        see("an epsilon beyond the slider's end is kept", "Aesthetic epsilon: 0.005" in text)
        file = save(page)

        page.click("#txt2img_send_to_img2img, #img2img_tab")
        missing = differing(page, chosen, "img2img")
        see(f"Send to img2img: the same values {missing}", not missing)
        page.click("#tabs > .tab-nav button:has-text('txt2img')")

        open_page(page, arguments.url)
        paste(page, text)
        see(f"the arrow: the same values {(missing := differing(page, chosen))}", not missing)
        see("the arrow: the same picture", generate(page)[0] == first)
        paste(page, plain_text)
        see("the arrow: a plain picture's is off", not ticked(page))
        see("the arrow: and plain", generate(page)[0] == plain)

        open_page(page, arguments.url)
        page.click("#tabs > .tab-nav button:has-text('PNG Info')")
        page.set_input_files("#pnginfo_image input[type=file]", file)
        page.wait_for_timeout(2000)
        page.click("#tab_pnginfo #txt2img_tab")
        see(f"PNG Info: the same values {(missing := differing(page, chosen))}", not missing)
        see("PNG Info: the same picture", generate(page)[0] == first)

        unfold(page, "my_presets")
        page.locator(f"{ID}my_presets input").first.fill("by a test")
        page.keyboard.press("Tab")
        page.click(f"{ID}save_preset")
        page.wait_for_timeout(1000)
        open_page(page, arguments.url)
        toggle(page)
        unfold(page, "my_presets")
        pick(page, f"{ID}my_presets", "by a test")
        page.click(f"{ID}load_preset")
        see(f"a preset: the same values {(missing := differing(page, chosen))}", not missing)
        page.click(f"{ID}delete_preset")

        paste(page, re.sub("Aesthetic hash: .{10}", "Aesthetic hash: 0000000000", text))
        see("a missing one: said", "is not here" in page.inner_text("body"))

        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, f"{color}.png") for color in ("red", "green", "blue")]
            for each in files:
                Image.new("RGB", (64, 64), each.stem).save(each)
            page.set_input_files(f"{ID}pictures input[type=file]", files)
            page.wait_for_timeout(2000)
            tuned, said = generate(page)
        see("pictures: another picture, and said", tuned not in (plain, first) and "gradients: 3 pictures" in said)
        see("pictures: in the infotext", "Aesthetic embedding: 3 pictures" in infotext(page))
        paste(page, infotext(page))
        see("pictures: pasted it is off, and said", not ticked(page) and "not stored" in page.inner_text("body"))

        open_page(page, arguments.url)
        page.fill("#txt2img_prompt textarea", "a photo of a cat<aesthetic:sac_8plus:1:steps=4>")
        tagged = generate(page)
        see("a tag: another picture, and said", tagged[0] != plain and "gradients: sac_8plus" in tagged[1])
        toggle(page)
        write(page, "embedding", "sac_8plus")
        page.fill("#txt2img_prompt textarea", "a photo of a cat")
        pick(page, "#script_list", "X/Y/Z plot")
        pick(page, "#script_txt2img_xyz_plot_x_type", "[Aesthetic] Steps")
        steps = page.locator("#script_txt2img_xyz_plot_x_values").locator("textarea, input").first
        steps.fill("2,4")
        generate(page)
        width = page.eval_on_selector("#txt2img_gallery img[src*='file=']", "image => image.naturalWidth")
        see("XYZ: a grid of two, the first cell's infotext", width >= 128 and "Aesthetic steps: 2" in infotext(page))
        steps.fill("2,500")
        ours = refused(page)
        pick(page, "#script_txt2img_xyz_plot_x_type", "Steps")
        steps.fill("2,wrong")
        theirs = refused(page)
        # reForge and Forge Classic say of any failed script, their own too, only that there is no result
        wanted = "between 0 and 100" if "wrong" in theirs else theirs
        see(f"XYZ: a wrong value is said as the host's own axes say it: {ours}", bool(ours) and wanted in ours)


def refused(page: Page) -> str:
    """What the page says instead of a picture."""
    page.click("#txt2img_generate")
    page.wait_for_timeout(4000)
    return page.locator("#txt2img_results .error").first.inner_text()


def infotext(page: Page) -> str:
    return page.inner_text("#html_info_txt2img").strip().replace("\n\n", "\n")


def save(page: Page) -> str:
    """The picture that is shown, as a file."""
    data = page.evaluate(
        """async () => {
            const image = document.querySelector("#txt2img_gallery img[src*='file=']");
            return Array.from(new Uint8Array(await (await fetch(image.src)).arrayBuffer()));
        }"""
    )
    file = Path(tempfile.mkdtemp(), "picture.png")
    file.write_bytes(bytes(data))
    return str(file)


def paste(page: Page, text: str) -> None:
    page.fill("#txt2img_prompt textarea", text)
    page.click("#paste")
    page.wait_for_timeout(2500)


def write(page: Page, name: str, text: str) -> None:
    """What no choice offers."""
    page.locator(f"{ID}{name} input").first.fill(text)
    page.keyboard.press("Tab")
    page.wait_for_timeout(300)


def ticked(page: Page, tab: str = "txt2img") -> bool:
    return page.locator(f"{ID.replace('txt2img', tab)}accordion-checkbox input").is_checked()


def values(page: Page, tab: str = "txt2img") -> dict[str, Any]:
    prefix = ID.replace("txt2img", tab)
    found: dict[str, Any] = {"enabled": ticked(page, tab)}
    for name in ("embedding", "negative", "steps", "epsilon", "update", "weight", "blend", "text_strength"):
        found[name] = page.locator(f"{prefix}{name} input").first.input_value()
    found["text"] = page.locator(f"{prefix}text textarea").input_value()
    return found


def differing(page: Page, wanted: dict[str, Any], tab: str = "txt2img") -> dict[str, Any]:
    """The values that are not as wanted, each with the wanted one, once the page had up to 15 s to show them."""
    for _ in range(30):
        page.wait_for_timeout(500)
        shown = values(page, tab)
        found = {name: (shown[name], wanted[name]) for name in wanted if shown[name] != wanted[name]}
        if not found:
            break
    return found


if __name__ == "__main__":
    main()
