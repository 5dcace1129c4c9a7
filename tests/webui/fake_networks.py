"""A small fake of the hosts' modules/ui_extra_networks.py, which is the same in both as far as cards touch it."""

from __future__ import annotations

import contextlib
import html
import json
import os
import urllib.parse
from pathlib import Path
from typing import Any


def module() -> dict[str, Any]:
    """Its contents, new for each host."""
    pages: list[Any] = []
    allowed: set[str] = set()

    def register_page(page: Any) -> None:
        pages.append(page)
        allowed.clear()
        for one in pages:
            allowed.update(one.allowed_directories_for_previews())

    return {
        "ExtraNetworksPage": ExtraNetworksPage,
        "quote_js": quote_js,
        "extra_pages": pages,
        "allowed_dirs": allowed,
        "register_page": register_page,
    }


def quote_js(s: str) -> str:
    s = s.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{s}"'


class MassFileLister:
    """modules/util.py: a folder is listed once, until reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.folders: dict[str, set[str]] = {}

    def exists(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self.folders:
            self.folders[folder] = set(os.listdir(folder))
        return name in self.folders[folder]


class ExtraNetworksPage:
    def __init__(self, title: str) -> None:
        self.title, self.name = title, title.lower()
        self.extra_networks_tabname = self.name.replace(" ", "_")
        self.items: dict[str, Any] = {}
        self.lister = MassFileLister()

    def create_html(self, tabname: str) -> str:
        """Cards, and the tree: as far as names and paths go."""
        self.lister.reset()
        self.items = {item["name"]: item for item in self.list_items()}
        cards = [self.create_item_html(tabname, item) for item in self.items.values()]
        return "".join(cards) + self.create_tree_view_html(tabname)

    def create_item_html(self, tabname: str, item: dict[str, Any]) -> str:
        terms = "".join(f"<span>{term}</span>" for term in item.get("search_terms", []))  # not escaped
        onclick = html.escape(f"cardClicked('{tabname}', {item['prompt']}, '', false);")
        description = html.escape(item.get("description", "") or "")
        return f'<div data-name="{html.escape(item["name"])}" onclick="{onclick}">{terms}{description}</div>'

    def create_tree_view_html(self, tabname: str) -> str:
        """create_tree_view_html and get_tree: roots are told apart by the last part of their path."""
        files = {item["filename"] for item in self.items.values()}
        tree: dict[str, list[str]] = {}
        for root in self.allowed_directories_for_previews():
            below = (os.path.join(at, name) for at, _, names in os.walk(root) for name in sorted(names))
            tree[os.path.basename(root)] = [path for path in below if path in files]
        found = "".join(f"<li>{path}</li>" for paths in tree.values() for path in paths)
        return f"<ul>{found}</ul>"

    def read_user_metadata(self, item: dict[str, Any], use_cache: bool = True) -> None:
        metadata: Any = {}
        beside = Path(os.path.splitext(item["filename"])[0] + ".json")
        if beside.exists():
            with contextlib.suppress(Exception):  # goes to the console
                metadata = json.loads(beside.read_text(encoding="utf8"))
        description = metadata.get("description", None)
        if description is not None:
            item["description"] = description
        item["user_metadata"] = metadata

    def link_preview(self, filename: str) -> str:
        return f"./sd_extra_networks/thumb?filename={urllib.parse.quote(filename)}&mtime={os.stat(filename).st_mtime}"

    def search_terms_from_path(self, filename: str) -> str:
        for parent in map(os.path.dirname, map(os.path.abspath, self.allowed_directories_for_previews())):
            if os.path.abspath(filename).startswith(parent):
                return os.path.relpath(filename, parent)
        return ""

    def find_preview(self, path: str) -> str | None:
        for extension in ("png", "jpg", "jpeg", "webp", "gif"):
            for file in (f"{path}.{extension}", f"{path}.preview.{extension}"):
                if self.lister.exists(file):
                    return self.link_preview(file)
        return None

    def find_description(self, path: str) -> str | None:
        for file in (f"{path}.txt", f"{path}.description.txt"):
            if os.path.exists(file):
                return Path(file).read_text(encoding="utf-8", errors="replace")
        return None

    def get_sort_keys(self, path: str) -> dict[str, Any]:
        return {"date_created": 0, "date_modified": 0, "name": Path(path).name.lower(), "path": path.lower()}


class UserMetadataEditor:
    """modules/ui_extra_networks_user_metadata.py: what it keeps of a card, and when."""

    def __init__(self, ui: Any, tabname: str, page: Any) -> None:
        self.ui, self.tabname, self.page = ui, tabname, page

    def get_user_metadata(self, name: str) -> dict[str, Any]:
        item = self.page.items.get(name, {})
        user_metadata = item.get("user_metadata", None)
        if not user_metadata:
            user_metadata = {"description": item.get("description", "")}
            item["user_metadata"] = user_metadata
        return user_metadata

    def save_user_metadata(self, name: str, desc: str, notes: str) -> None:
        user_metadata = self.get_user_metadata(name)
        user_metadata["description"] = desc
        user_metadata["notes"] = notes
        path = Path(os.path.splitext(self.page.items[name]["filename"])[0] + ".json")
        path.write_text(json.dumps(user_metadata, indent=4, ensure_ascii=False), encoding="utf8")

    def save_preview(self, index: str, gallery: list[bytes], name: str) -> tuple[str, str]:
        """As Forge Classic's; A1111 and Forge tell the lister of the new file."""
        item = self.page.items[name]
        Path(item["local_preview"]).write_bytes(gallery[int(index)])
        item["preview"] = item["preview"] or self.page.find_preview(os.path.splitext(item["filename"])[0])
        return f"<img src='{html.escape(item['preview'])}'>" if item["preview"] else "", ""
