"""A user in the Settings of a real host that was started with --api: `python -m tests.hosts.options --url ...`.

What is changed there is put back.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from playwright.sync_api import Page

import aesthetic_embeddings as ae

from .browser import journey
from .cards import tab_of
from .client import Host


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--picture", type=Path, help="a file for a screenshot")
    arguments = parser.parse_args()
    host = Host(arguments.url)

    def names() -> list[str]:
        return [entry["name"] for entry in host.call("/aesthetic-gradients/v1/embeddings")]

    def listed(page: Page, wanted: bool) -> bool:
        """Whether it is listed as wanted once the host had up to 15 s to apply its settings, which reForge may need."""
        for _ in range(30):
            if ("elsewhere" in names()) == wanted:
                return True
            page.wait_for_timeout(500)
        return False

    with tempfile.TemporaryDirectory() as folder, journey(arguments.url, 1100) as (page, see):
        vector = {"clip-vit-l-14": torch.randn(768)}
        ae.AestheticEmbedding(vector, name="elsewhere").save(Path(folder) / "elsewhere.safetensors")
        tab_of(page, "#tabs", "Settings")
        tab_of(page, "#settings", "Aesthetic gradients")
        see("before, it is not there", "elsewhere" not in names())
        apply(page, folder, "CPU")
        if arguments.picture:
            page.screenshot(path=arguments.picture)
        see("a folder more, at once", listed(page, True))
        plain, tuned = host.txt2img(), host.txt2img([{"embedding": "elsewhere"}])
        see("tuned on the CPU", tuned.hash != plain.hash and "→" in tuned.comments)
        apply(page, "", "auto")
        see("put back, at once", listed(page, False))


def apply(page: Page, folders: str, device: str) -> None:
    page.fill("#setting_aesthetic_gradients_folders textarea", folders)
    page.locator("#setting_aesthetic_gradients_device label", has_text=device).click()
    page.click("#settings_submit")
    page.wait_for_timeout(3000)


if __name__ == "__main__":
    main()
