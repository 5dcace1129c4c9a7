"""Cards on the host's extra networks page, beside those of LoRAs: a click puts `<aesthetic:name:1>` into the prompt.

The host provides search, sorting, tree, refresh, the editor of descriptions and "Replace preview" (in A1111 and Forge:
modules/ui_extra_networks.py and modules/ui_extra_networks_user_metadata.py). Favorites are our addition.
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

network_pages, metadata_editor = host.ui_extra_networks, host.metadata_editor

FAVORITE = "favorite"  # its key in the JSON file beside the embedding
MAX_INFO_BYTES = 2**20  # Civitai's side files have a few thousand
MAX_DESCRIPTION_LENGTH = 20_000  # characters
STAR = "\N{BLACK STAR} "


def register() -> None:
    """Add the page. Call it before the host builds its user interface."""
    network_pages.register_page(Cards())


class Cards(network_pages.ExtraNetworksPage):  # type: ignore[misc, name-defined]
    """One card for each name in the dropdowns that a tag can hold."""

    def __init__(self) -> None:
        super().__init__("Aesthetics")  # one word: hosts use the title as an id in places

    def refresh(self) -> None:
        host.library.refresh()

    def list_items(self) -> Iterator[dict[str, Any]]:
        network_pages.allowed_dirs.update(self.allowed_directories_for_previews())  # hosts read this list only once
        for index, name in enumerate(host.library.names()):
            if item := self.create_item(name, index):
                yield item

    def create_item(self, name: str, index: int | None = None, enable_filter: bool = True) -> dict[str, Any] | None:
        entry = next((entry for entry in host.library.entries if entry.name == name and not entry.fault), None)
        with contextlib.suppress(AestheticError):
            check_name(name)  # a colon or an angle bracket would end the tag
            return self._item(entry, index) if entry else None
        return None

    def _item(self, entry: Entry, index: int | None) -> dict[str, Any]:
        e, path = entry.embedding, os.path.abspath(entry.path)
        assert e is not None
        stem = os.path.splitext(path)[0]
        preview = host.library.preview(entry.name)
        civitai = _civitai_info(Path(stem + ".civitai.info"))
        search_terms = [self.search_terms_from_path(path), e.content_hash, *e.vectors, civitai.get("name", "")]
        tag = network_pages.quote_js(f"<aesthetic:{entry.name}:")
        item = {
            "name": entry.name,
            "filename": path,
            "shorthash": e.content_hash[:10],
            "preview": self.link_preview(str(preview)) if preview else self.find_preview(stem),
            "description": self.find_description(stem) or civitai.get("description", ""),
            "search_terms": [html.escape(term) for term in search_terms if term],  # hosts do not escape these
            # "Replace preview" replaces the picture that is shown
            "local_preview": str(preview or f"{stem}.preview.{host.shared.opts.samples_format}"),
            "prompt": f'{tag} + opts.extra_networks_default_multiplier + ">"',
            "metadata": {
                "families": ", ".join(e.vectors),
                "for": supported_models(e.vectors),
                **({"pictures": e.images} if e.images else {}),
                **{key: x for key in ("created", "encoder", "notes") if (x := getattr(e, key))},
                **({"civitai": civitai["name"]} if "name" in civitai else {}),
                "hash": e.content_hash,
            },
            "sort_keys": {"default": index, **self.get_sort_keys(path)},
        }
        self.read_user_metadata(item)
        return item

    def read_user_metadata(self, item: dict[str, Any], use_cache: bool = True) -> None:
        """Add what the .json file beside the embedding says. Its description takes precedence.

        Hosts also call it for a single card that was edited.
        """
        try:
            super().read_user_metadata(item, use_cache)
        except AttributeError:  # the JSON is not an object
            item["user_metadata"] = {}
        if not isinstance(item["description"], str):
            item["description"] = ""
        if item["user_metadata"].get(FAVORITE) is True:
            item["description"] = STAR + item["description"].removeprefix(
                STAR
            )  # an item can be read again, with the star
            item["search_terms"].append(FAVORITE)
            item["sort_keys"] |= {"default": -1, "path": ""}  # Forge Classic's first order is that of paths

    def create_user_metadata_editor(self, ui: Any, tabname: str) -> Any:
        return Editor(ui, tabname, self)

    def allowed_directories_for_previews(self) -> list[str]:
        """The library's folders that hold embeddings, and the first, where new files go."""
        first, *others = host.library.folders
        used = [f for f in others if any(entry.path.is_relative_to(f) for entry in host.library.entries)]
        return [os.path.abspath(folder) for folder in (first, *used)]

    def create_tree_view_html(self, tabname: str) -> str:
        """One tree for each folder: the host's own tree would merge them, since the folders have the same name."""
        trees = []
        for folder in self.allowed_directories_for_previews():
            page = copy.copy(self)
            page.allowed_directories_for_previews = lambda folder=folder: [folder]  # type: ignore
            trees.append(super(Cards, page).create_tree_view_html(tabname))
        return "".join(trees)


class Editor(metadata_editor.UserMetadataEditor):  # type: ignore[misc, name-defined]
    """The host's editor of a card, with a checkbox for favorites."""

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

    def save_preview(self, *args: Any) -> Any:
        self.page.lister.reset()  # Forge Classic does not add the new file to this list of files, which it asks next
        return super().save_preview(*args)


def _civitai_info(path: Path) -> dict[str, str]:
    """The name and description in `NAME.civitai.info`, which download tools store beside a file from Civitai."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_INFO_BYTES:  # reading a pipe would block
            return {}
        info = json.loads(path.read_text(encoding="utf-8"))
        model = info.get("model") or {}
        trigger_words = ", ".join(info.get("trainedWords") or [])
        texts = {
            "name": " ".join(filter(None, [model.get("name"), info.get("name")])),
            "description": info.get("description") or model.get("description") or trigger_words,
        }
        plain = {
            key: html.unescape(re.sub(r"<[^<>]*>", " ", text[:MAX_DESCRIPTION_LENGTH])) for key, text in texts.items()
        }
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
    return {key: " ".join(text.split()) for key, text in plain.items() if text.strip()}
