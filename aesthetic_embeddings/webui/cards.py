"""Cards in the host's extra networks, beside those of LoRAs: a click puts `<aesthetic:name:1>` into the prompt.

Hosts bring search, sorting, tree, refresh, the editor of descriptions and "Replace preview"; what it takes of them here
is modules/ui_extra_networks.py and modules/ui_extra_networks_user_metadata.py, in both alike. Favorites are ours.
"""

from __future__ import annotations

import contextlib
import copy
import html
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..aesthetics.families import supported_models
from ..aesthetics.library import Entry
from ..aesthetics.names import check_name
from ..errors import AestheticError
from . import host

networks, metadata_editor = host.ui_extra_networks, host.metadata_editor

FAVORITE = "favorite"  # in the JSON beside the file
LARGEST_INFO = 2**20  # bytes of a side file; Civitai's have some thousands
LONGEST_TEXT = 20_000  # letters of a description that are shown
STAR = "\N{BLACK STAR} "


def register() -> None:
    """To be called before the page is built."""
    networks.register_page(Cards())


class Cards(networks.ExtraNetworksPage):  # type: ignore[misc, name-defined]
    """One card for each name that the dropdowns have and that can stand in a tag."""

    def __init__(self) -> None:
        super().__init__("Aesthetics")  # one word: hosts mix up the title and its id, which has no spaces

    def refresh(self) -> None:
        host.library.refresh()

    def list_items(self) -> Iterator[dict[str, Any]]:
        networks.allowed_dirs.update(self.allowed_directories_for_previews())  # hosts ask only once
        for index, name in enumerate(host.library.names()):
            if item := self.create_item(name, index):
                yield item

    def create_item(self, name: str, index: int | None = None, enable_filter: bool = True) -> dict[str, Any] | None:
        entry = next((entry for entry in host.library.entries if entry.name == name and not entry.fault), None)
        with contextlib.suppress(AestheticError):
            check_name(name)  # colons and angle brackets would end the tag
            return self._item(entry, index) if entry else None
        return None

    def _item(self, entry: Entry, index: int | None) -> dict[str, Any]:
        e, path = entry.embedding, os.path.abspath(entry.path)
        assert e is not None
        stem = os.path.splitext(path)[0]
        preview = host.library.preview(entry.name)
        model = _civitai_info(Path(stem + ".civitai.info"))
        terms = [self.search_terms_from_path(path), e.content_hash, *e.vectors, model.get("name", "")]
        tag = networks.quote_js(f"<aesthetic:{entry.name}:")
        item = {
            "name": entry.name,
            "filename": path,
            "shorthash": e.content_hash[:10],
            "preview": self.link_preview(str(preview)) if preview else self.find_preview(stem),
            "description": self.find_description(stem) or model.get("description", ""),
            "search_terms": [html.escape(term) for term in terms if term],  # hosts do not escape these
            # what is shown is what "Replace preview" replaces
            "local_preview": str(preview or f"{stem}.preview.{host.shared.opts.samples_format}"),
            "prompt": f'{tag} + opts.extra_networks_default_multiplier + ">"',
            "metadata": {
                "families": ", ".join(e.vectors),
                "for": supported_models(e.vectors),
                **({"pictures": e.images} if e.images else {}),
                **{key: x for key in ("created", "encoder", "notes") if (x := getattr(e, key))},
                **({"civitai": model["name"]} if "name" in model else {}),
                "hash": e.content_hash,
            },
            "sort_keys": {"default": index, **self.get_sort_keys(path)},
        }
        self.read_user_metadata(item)
        return item

    def read_user_metadata(self, item: dict[str, Any], use_cache: bool = True) -> None:
        """The .json beside the file, whose description goes first. Hosts call it for one card that has changed, too."""
        try:
            super().read_user_metadata(item, use_cache)
        except AttributeError:  # it is JSON, but no object
            item["user_metadata"] = {}
        if not isinstance(item["description"], str):
            item["description"] = ""
        if item["user_metadata"].get(FAVORITE) is True:
            item["description"] = STAR + item["description"].removeprefix(STAR)  # it may be read again
            item["search_terms"].append(FAVORITE)
            item["sort_keys"]["default"] = -1

    def create_user_metadata_editor(self, ui: Any, tabname: str) -> Any:
        return Editor(ui, tabname, self)

    def allowed_directories_for_previews(self) -> list[str]:
        """Those folders of the library that hold something, and the one that new files go to."""
        first, *more = host.library.folders
        used = [f for f in more if any(entry.path.is_relative_to(f) for entry in host.library.entries)]
        return [os.path.abspath(folder) for folder in (first, *used)]

    def create_tree_view_html(self, tabname: str) -> str:
        """Folder by folder, as they share a name, by which the host's own tree tells them apart."""
        trees = []
        for folder in self.allowed_directories_for_previews():
            one = copy.copy(self)
            one.allowed_directories_for_previews = lambda folder=folder: [folder]  # type: ignore
            trees.append(super(Cards, one).create_tree_view_html(tabname))
        return "".join(trees)


class Editor(metadata_editor.UserMetadataEditor):  # type: ignore[misc, name-defined]
    """The host's, with a box for favorites."""

    def create_extra_default_items_in_left_column(self) -> None:
        self.favorite = gr.Checkbox(False, label="Favorite", info="Comes first; search for this word.")

    def create_editor(self) -> None:
        super().create_editor()
        self.button_edit.click(self.is_favorite, inputs=[self.edit_name_input], outputs=[self.favorite])

    def setup_save_handler(self, button: Any, func: Any, components: list[Any]) -> None:
        super().setup_save_handler(button, func, [*components, self.favorite])

    def is_favorite(self, name: str) -> bool:
        return self.get_user_metadata(name).get(FAVORITE) is True

    def save_user_metadata(self, name: str, description: str, notes: str, favorite: bool) -> None:
        self.get_user_metadata(name)[FAVORITE] = favorite
        super().save_user_metadata(name, description, notes)


def _civitai_info(path: Path) -> dict[str, str]:
    """The name and description that downloaders store from Civitai (`NAME.civitai.info`)."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_INFO:  # not a pipe, which would be waited for
            return {}
        about = json.loads(path.read_text(encoding="utf-8"))
        model = about.get("model") or {}
        words = ", ".join(about.get("trainedWords") or [])
        texts = {
            "name": " ".join(filter(None, [model.get("name"), about.get("name")])),
            "description": about.get("description") or model.get("description") or words,
        }
        plain = {key: html.unescape(re.sub(r"<[^<>]*>", " ", text[:LONGEST_TEXT])) for key, text in texts.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
    return {key: " ".join(text.split()) for key, text in plain.items() if text.strip()}
