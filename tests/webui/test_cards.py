"""Cards in extra networks."""

from __future__ import annotations

import html
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import embedding
from .fake_host import Host

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both


@pytest.fixture
def page(host: Host) -> Any:
    host.webui("script").register()
    for callback in host.callbacks["on_before_ui"]:
        callback()
    (page,) = host.modules["modules.ui_extra_networks"].extra_pages
    return page


@pytest.fixture
def folder(host: Host) -> Path:
    return host.root / "models/aesthetic_embeddings"


def card(page: Any, name: str = "dusk") -> dict[str, Any]:
    page.refresh()
    page.create_html("txt2img")
    return page.items[name]


def test_a_click_inserts_the_tag(page: Any):
    item = card(page)
    assert item["prompt"] == '"<aesthetic:dusk:" + opts.extra_networks_default_multiplier + ">"'


def test_the_title_is_one_word(page: Any):
    """Hosts find a page by its id for some buttons, and by its name for others."""
    assert page.name == page.extra_networks_tabname == "aesthetics"


def test_search_by_folder_hash_family_and_model(page: Any, folder: Path):
    embedding("deep", 5).save(folder / "moods/deep.safetensors")
    (folder / "moods/deep.civitai.info").write_text(json.dumps({"name": "v2", "model": {"name": "Deep <b> Sea"}}))
    item = card(page, "moods/deep")
    path, content, family, model = item["search_terms"]
    assert path == "aesthetic_embeddings/moods/deep.safetensors"
    assert content.startswith(item["shorthash"])
    assert family == "clip-768x2-768"
    assert model == html.escape("Deep Sea v2")


@pytest.mark.parametrize("ending", [".preview.png", ".jpg", ".webp", ".preview.gif"])
def test_previews_beside_the_file(page: Any, folder: Path, ending: str):
    assert card(page)["preview"] is None
    (folder / f"dusk{ending}").write_bytes(b"x")
    assert f"dusk{ending}&mtime" in card(page)["preview"]


def test_replacing_a_preview_replaces_what_is_shown(page: Any, folder: Path):
    assert card(page)["local_preview"] == str(folder / "dusk.preview.png")
    (folder / "dusk.jpg").write_bytes(b"x")
    assert card(page)["local_preview"] == str(folder / "dusk.jpg")


def test_the_editor_shows_a_replaced_preview_at_once(page: Any):
    page.create_html("txt2img")
    editor = page.create_user_metadata_editor(None, "txt2img")
    shown, _ = editor.save_preview("0", [b"x"], "dusk")
    assert "dusk.preview.png" in shown


def test_descriptions(page: Any, folder: Path):
    assert not card(page)["description"]
    info = {"description": None, "model": {"description": "<p>Dark &amp; <b>calm</b></p>\n<p>seas</p>"}}
    (folder / "dusk.civitai.info").write_text(json.dumps(info))
    assert card(page)["description"] == "Dark & calm seas"
    (folder / "dusk.txt").write_text("mine")
    assert card(page)["description"] == "mine"
    (folder / "dusk.json").write_text(json.dumps({"description": "the editor's"}))
    assert card(page)["description"] == "the editor's"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"model": 3, "name": [], "trainedWords": 1}', "[" * 100_000])
def test_unreadable_side_files(page: Any, folder: Path, text: str):
    for ending in (".json", ".civitai.info"):
        (folder / f"dusk{ending}").write_text(text)
    assert card(page)["description"] == ""
    page.create_html("txt2img")


@pytest.mark.parametrize(
    "description",
    [
        *(3, ["x"], {"a": 1}, "<" * 1_000_000, "<a" * 400_000, "&#" + "9" * 900_000 + ";", "&" * 1_000_000),
        *("<b>" * 300_000, " " * 1_000_000, "&#x" + "f" * 500_000),
    ],
)
def test_any_description_of_a_megabyte_is_shown_or_left_out_at_once(page: Any, folder: Path, description: Any):
    (folder / "dusk.civitai.info").write_text(json.dumps({"description": description}))
    started = time.process_time()
    card(page)
    assert time.process_time() - started < 0.5


def test_a_description_that_is_a_pipe_is_not_waited_for(page: Any, folder: Path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("Windows has no such files")
    os.mkfifo(folder / "dusk.civitai.info")
    assert not card(page)["description"]


def test_a_description_that_is_not_text(page: Any, folder: Path):
    (folder / "dusk.json").write_text('{"description": 3}')
    assert card(page)["description"] == ""
    page.create_html("txt2img")


def test_names_that_a_tag_cannot_hold_have_no_card(page: Any, folder: Path):
    for seed, name in enumerate(("a:b", "<img src=x onerror=alert(1)>", 'say "hi"'), 10):
        embedding("odd", seed).save(folder / f"{name}.safetensors")
    (folder / "broken.pt").write_bytes(b"nothing of the kind")
    page.refresh()
    assert [item["name"] for item in page.list_items()] == ["dawn", "dusk"]


def test_quotes_and_spaces_in_names(page: Any, folder: Path):
    embedding("odd", 10).save(folder / "it's a & b.safetensors")
    assert card(page, "it's a & b")["prompt"].startswith('"<aesthetic:it\'s a & b:"')


def test_a_new_file_comes_with_refresh(page: Any, folder: Path):
    embedding("late", 5).save(folder / "late.safetensors")
    assert page.create_item("late") is None
    page.refresh()
    assert page.create_item("late", enable_filter=False)["name"] == "late"
    (folder / "late.safetensors").unlink()
    page.refresh()
    assert page.create_item("late") is None


def test_every_folder_is_in_the_tree(host: Host, page: Any, folder: Path):
    embedding("elsewhere", 5).save(host.root / "aesthetic_embeddings/elsewhere.safetensors")
    page.refresh()
    shown = page.create_html("txt2img")
    for path in (folder / "dusk.safetensors", host.root / "aesthetic_embeddings/elsewhere.safetensors"):
        assert f"<li>{path}</li>" in shown


def test_previews_may_be_fetched_from_the_folders_in_use_alone(host: Host, page: Any, folder: Path):
    allowed = host.modules["modules.ui_extra_networks"].allowed_dirs
    assert allowed == {str(folder)}
    embedding("elsewhere", 5).save(host.root / "aesthetic_embeddings/elsewhere.safetensors")
    page.refresh()
    page.create_html("txt2img")
    assert allowed == {str(folder), str(host.root / "aesthetic_embeddings")}


def test_the_facts(page: Any):
    about = card(page)["metadata"]
    assert (about["families"], about["for"]) == ("clip-768x2-768", "models with a clip-768x2-768")
    json.dumps(about)


def test_favorites_come_first_and_are_found(page: Any):
    page.create_html("txt2img")
    editor = page.create_user_metadata_editor(None, "txt2img")
    assert not editor.is_favorite("dusk")
    editor.save_user_metadata("dusk", "Calm seas", "", True)
    page.create_html("txt2img")
    editor = page.create_user_metadata_editor(None, "txt2img")
    assert editor.is_favorite("dusk")
    item = card(page)
    assert item["description"] == "★ Calm seas"
    assert "favorite" in item["search_terms"]
    for key in ("default", "path"):  # Forge Classic's cards have no other first order than that of paths
        assert item["sort_keys"][key] < card(page, "dawn")["sort_keys"][key]
    editor.save_user_metadata("dusk", "Calm seas", "", False)
    assert card(page)["description"] == "Calm seas"
