"""A user at the cards of a real host, which was started with --api: `python -m tests.hosts.cards NAME --url ...`.

NAME: of an aesthetic that the host has. A blend of it is made, described, given a preview, and deleted.
"""

from __future__ import annotations

import argparse
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from .browser import generate, journey

NEW = "card test/new"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--pictures", type=Path, help="a folder for screenshots")
    arguments = parser.parse_args()

    def api(method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url, headers = f"{arguments.url}/aesthetic-gradients/v1/{path}", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as response:
            return json.loads(response.read())

    with journey(arguments.url, 1200, arguments.pictures) as (page, see):
        page.set_default_timeout(20000)
        generate(page)  # for a preview
        for tab in ("txt2img", "img2img"):
            tab_of(page, "#tabs", tab)
            prompt = page.locator(f"#{tab}_prompt textarea")
            prompt.fill("a cat")
            tab_of(page, f"#{tab}_extra_tabs", "Aesthetics")
            card(page, tab, arguments.name).click()
            said = prompt.input_value()
            see(f"{tab}, a click: {said}", said == f"a cat <aesthetic:{arguments.name}:1>")
            card(page, tab, arguments.name).click()
            see(f"{tab}, another click takes it out", prompt.input_value() == "a cat")

        if card(page, "txt2img", NEW).count():  # an earlier run's, which the host's page still has
            tab_of(page, "#tabs", "txt2img")
            page.click("#txt2img_aesthetics_extra_refresh")
            page.wait_for_timeout(2000)
        made = api("POST", "blend", {"name": NEW, "parts": {arguments.name: 0.5}, "replace": True})
        try:
            tab_of(page, "#tabs", "txt2img")
            see("before refresh it is not there", card(page, "txt2img", NEW).count() == 0)
            page.click("#txt2img_aesthetics_extra_refresh")
            card(page, "txt2img", NEW).wait_for()
            see("refresh brings what is new", card(page, "txt2img", arguments.name).is_visible())

            search = page.locator("#txt2img_aesthetics_extra_search").first  # refresh leaves another behind
            for words, found in ((made["hash"][:12], True), ("card test", True), ("no such thing", False)):
                search.fill(words)
                page.wait_for_timeout(500)
                see(f"search {words}", card(page, "txt2img", NEW).is_visible() == found)
            search.fill("")
            page.wait_for_timeout(500)
            tree = page.locator("#txt2img_aesthetics_tree .tree-list-content-dir")
            if tree.count():  # Settings, Extra Networks directory view style
                if not tree.first.is_visible():  # Forge Classic hides it behind a button
                    page.click("#txt2img_aesthetics_extra_tree_view")
                tree.first.click()
                tree.filter(has_text="card test").click()
            else:
                page.locator("#txt2img_aesthetics_dirs button", has_text="card test").click()
            page.wait_for_timeout(500)
            shown = [card(page, "txt2img", name).is_visible() for name in (NEW, arguments.name)]
            see(f"the sub-folder in the {'tree' if tree.count() else 'row'} shows its own", shown == [True, False])

            edit(page, NEW)
            editor = page.locator("#txt2img_aesthetics_edit_user_metadata")
            editor.get_by_label("Description").fill("Calm seas")
            editor.get_by_label("Notes").fill("from a test")
            editor.get_by_label("Favorite").check()
            editor.get_by_role("button", name="Save").click()
            card(page, "txt2img", NEW).get_by_text("★ Calm seas").wait_for()
            see("the editor: a description is on the card", True)
            for words, shown in (("favorite", [True, False]), ("", [True, True])):
                search.fill(words)
                page.wait_for_timeout(500)
                see(
                    f"favorites, search {words!r}",
                    [card(page, "txt2img", name).is_visible() for name in (NEW, arguments.name)] == shown,
                )
            page.click("#txt2img_aesthetics_extra_refresh")
            page.wait_for_timeout(2000)
            see(
                "favorites come first",
                page.locator("#txt2img_aesthetics_cards .card").first.get_attribute("data-name") == NEW,
            )

            edit(page, NEW)
            editor.get_by_role("button", name="Replace preview").click()
            editor.locator("img.preview").wait_for()
            editor.get_by_role("button", name="Cancel").click()
            picture = card(page, "txt2img", NEW).locator("img.preview")
            picture.wait_for()
            page.wait_for_timeout(1000)
            see("replace preview: it is on the card", picture.evaluate("image => image.naturalWidth > 0"))
            beside = sorted(path.name for path in Path(made["file"]).parent.iterdir())
            see(f"beside the file: {beside}", beside == ["new.json", "new.preview.png", "new.safetensors"])

            card(page, "txt2img", NEW).hover()
            card(page, "txt2img", NEW).locator(".metadata-button").click()
            popup = page.locator(".global-popup")
            popup.wait_for()
            see("the button with the i shows the facts", made["hash"] in popup.inner_text())
        finally:
            api("DELETE", "embeddings/card%20test/new")


def card(page: Page, tab: str, name: str) -> Any:
    return page.locator(f"#{tab}_aesthetics_cards .card[data-name='{name}']")


def tab_of(page: Page, tabs: str, name: str) -> None:
    page.locator(f"{tabs} > .tab-nav button", has_text=re.compile(rf"^\s*{name}\s*$", re.IGNORECASE)).click()


def edit(page: Page, name: str) -> None:
    card(page, "txt2img", name).hover()
    card(page, "txt2img", name).locator(".edit-button").click()
    page.locator("#txt2img_aesthetics_edit_user_metadata").wait_for()
    page.wait_for_timeout(1000)


if __name__ == "__main__":
    main()
