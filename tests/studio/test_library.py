"""The tab Library, in Chromium; and what becomes of files."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.aesthetics.library import Library
from aesthetic_embeddings.errors import AestheticError
from aesthetic_embeddings.studio import plots
from aesthetic_embeddings.studio.library import cards, files, similarity

FAMILY = "clip-192x3-64"


def embedding(name: str, seed: int = 0, family: str = FAMILY, dim: int = 64) -> ae.AestheticEmbedding:
    vector = torch.randn(dim, generator=torch.Generator().manual_seed(seed))
    return ae.AestheticEmbedding({family: vector}, name=name, images=3)


@pytest.fixture
def own(library: Path) -> ae.AestheticEmbedding:
    """One of one's own, called mine."""
    e = embedding("mine", 1)
    e.save(library / "mine.safetensors", overwrite=True)
    return e


@pytest.fixture
def tab(own: Any, page: Any) -> Any:
    page.get_by_role("tab", name="Library").click()
    page.locator("#studio_cards .card").first.wait_for()
    return page


def card(page: Any, name: str) -> Any:
    return page.locator("#studio_cards .card").filter(has=page.locator("b", has_text=name))


def choose(page: Any, name: str) -> None:
    card(page, name).click()
    page.locator("#studio_facts h3", has_text=name).wait_for()


# ---- journeys -------------------------------------------------------------------------------------------------------


def test_cards_facts_and_map(tab: Any):
    names = tab.locator("#studio_cards .card b").all_inner_texts()
    assert names == ["aivazovsky", "cloudcore", "gloomcore", "glowwave", "mine"]
    for name in pocket.AESTHETICS:
        words = card(tab, name).inner_text()
        assert "12 pictures" in words
        assert "pocket model" in words
        assert card(tab, name).locator("img").count() == 1
    cells = tab.locator("#studio_map td:not(:empty)").all_inner_texts()
    assert len(cells) == 25
    assert cells.count("1.00") == 5
    choose(tab, "glowwave")
    said = tab.locator("#studio_facts").inner_text()
    assert "12" in said
    assert "Nearest:" in said
    assert card(tab, "glowwave").get_attribute("aria-pressed") == "true"


def test_by_keyboard_alone(tab: Any):
    card(tab, "gloomcore").focus()
    tab.keyboard.press("Enter")
    tab.locator("#studio_facts h3", has_text="gloomcore").wait_for()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    tab.locator("#studio_facts h3", has_text="glowwave").wait_for()


def test_delete_and_undo(tab: Any, own: Any, library: Path):
    Image.new("RGB", (8, 8)).save(library / "mine.preview.png")
    choose(tab, "mine")
    tab.get_by_role("button", name="Delete").click()
    tab.get_by_text("Deleted mine.").wait_for()
    card(tab, "mine").wait_for(state="hidden")
    assert list(library.glob("mine*")) == []
    tab.get_by_role("button", name="Undo: bring mine back").click()
    card(tab, "mine").wait_for()
    assert ae.load(library / "mine.safetensors").content_hash == own.content_hash
    assert (library / "mine.preview.png").is_file()


def test_rename(tab: Any, library: Path):
    choose(tab, "mine")
    box = tab.get_by_label("New name")
    for name, said in {
        "../../out": "no part of it may start with a dot",
        "glowwave": "There is an aesthetic called 'glowwave' already",
        "": "Write the new name first.",
    }.items():
        box.fill(name)
        tab.locator("#studio_rename").click()
        tab.get_by_text(said).wait_for()
    box.fill("yours")
    box.press("Enter")
    tab.get_by_text("mine is called yours now.").wait_for()
    card(tab, "yours").wait_for()
    (library / "yours.safetensors").unlink()


def test_imported_and_downloaded(tab: Any, library: Path, tmp_path: Path):
    torch.save(torch.randn(1, 768), tmp_path / "paper.pt")
    embedding("mine", 2).save(tmp_path / "mine.safetensors")
    (tmp_path / "junk.pt").write_text("<html>")
    files = [tmp_path / "paper.pt", tmp_path / "mine.safetensors", tmp_path / "junk.pt"]
    tab.locator("input[data-testid='Import .safetensors or .pt files-upload-button']").set_input_files(files)
    tab.get_by_text("Imported paper.").wait_for()
    tab.get_by_text("Imported mine 2.").wait_for()
    tab.get_by_text("junk.pt is neither a safetensors nor a .pt file.").wait_for()
    assert str(tmp_path) not in tab.locator("#studio_library_message").inner_text()
    choose(tab, "paper")
    assert "SD1" in card(tab, "paper").inner_text()
    assert tab.locator("#studio_cards .dimmed .card b").all_inner_texts() == ["paper"]
    tab.locator("#studio_blend_parts input").click()
    tab.get_by_role("option", name="glowwave", exact=True).wait_for()
    assert tab.get_by_role("option", name="paper", exact=True).count() == 0  # it cannot be blended with these
    tab.keyboard.press("Escape")
    for id, name in (("export", "paper.safetensors"), ("export_legacy", "paper.pt")):
        with tab.expect_download() as found:
            tab.locator(f"#studio_{id}").click()
        assert found.value.suggested_filename == name
        found.value.save_as(tmp_path / "back" / name)
        back = ae.load(tmp_path / "back" / name)
        assert back.content_hash == ae.load(tmp_path / "paper.pt").content_hash
    choose(tab, "mine 2")  # of the pocket model, which no file of the old extension can mean
    tab.locator("#studio_export_legacy").wait_for(state="hidden")
    for name in ("paper", "mine 2"):
        (library / f"{name}.safetensors").unlink()


def test_blend_with_live_preview(tab: Any, library: Path):
    (library / "mine.safetensors").unlink()
    box = tab.locator("#studio_blend_parts input")
    for name in ("aivazovsky", "glowwave"):
        box.click()
        tab.get_by_role("option", name=name, exact=True).click()
    tab.keyboard.press("Escape")
    preview = tab.locator("#studio_blend_preview")
    preview.get_by_text("aivazovsky × 0.5, glowwave × 0.5").wait_for()
    tab.locator("#studio_blend_message").get_by_text("aivazovsky +").wait_for()
    tab.locator("#studio_blend_save").click()
    tab.get_by_text("Give the blend a name first.").wait_for()
    tab.get_by_label("Name of the blend").fill("both")
    tab.locator("#studio_blend_save").click()
    tab.get_by_text("Saved as both, from 24 pictures").wait_for()
    choose(tab, "both")
    assert ae.load(library / "both.safetensors").notes == "blend of aivazovsky × 0.5, glowwave × 0.5"
    with Image.open(library / "both.preview.png") as image:
        assert image.size == (128, 128)

    before = preview.locator("img").get_attribute("src")
    weight = tab.locator("#studio_blend_weight_1 input[type=number]")
    weight.fill("-0.5")
    weight.press("Tab")
    preview.get_by_text("aivazovsky × 0.5, glowwave × -0.5").wait_for()
    assert preview.locator("img").get_attribute("src") != before
    tab.locator("#studio_blend_parts .token-remove").first.click()
    preview.get_by_text("a castle in a meadow: glowwave × -0.5").wait_for()
    assert tab.locator("#studio_blend_weight_0 input[type=number]").input_value() == "-0.5"


def test_element_ids_are_unique(tab: Any):
    for name in ("Compare", "Create", "Library"):  # a tab is drawn when it is opened
        tab.get_by_role("tab", name=name).click()
    ids = tab.evaluate("[...document.querySelectorAll('[id^=studio_]')].map(element => element.id)")
    assert len(ids) == len(set(ids)) > 30


# ---- without a browser ----------------------------------------------------------------------------------------------


def test_saving_says_where_it_is_listed(tmp_path: Path):
    library = Library([tmp_path])
    assert "Choose it under Compare" in files.save(library, embedding("a", 1), None)
    assert "It equals a, and Compare lists it by that name." in files.save(library, embedding("b", 1), None)


def test_undo_does_not_overwrite(tmp_path: Path):
    library = Library([tmp_path])
    library.save(embedding("a", 1))
    gone = files.delete(library, "a")
    library.save(embedding("a", 2))
    with pytest.raises(AestheticError, match="There is another a by now"):
        files.restore(library, gone)
    library.rename("a", "b")
    files.restore(library, gone)
    assert library.get("a").content_hash == embedding("a", 1).content_hash
    assert library.names() == ["a", "b"]


def test_undo_overwrites_no_file_that_comes_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    library = Library([tmp_path])
    library.save(embedding("a", 1))
    library.set_preview("a", b"theirs")
    gone = files.delete(library, "a")
    last, write = gone.files[-1][0], files.write_atomically

    def beside_a_stranger(*args: Any, **options: Any) -> None:
        last.write_bytes(b"a stranger's")
        write(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomically", beside_a_stranger)
        with pytest.raises(AestheticError, match="There is another a by now"):
            files.restore(library, gone)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(last.name, b"a stranger's")]
    last.unlink()
    files.restore(library, gone)
    assert library.names() == ["a"]


def test_deleting_leaves_what_belongs_to_another(tmp_path: Path):
    library = Library([tmp_path])
    library.save(embedding("a", 1))
    torch.save(torch.randn(768), tmp_path / "a.pt")
    (tmp_path / "a.txt").write_text("mine")
    library.refresh()
    gone = files.delete(library, "a")
    assert [file.name for file, _ in gone.files] == ["a.safetensors"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.pt", "a.txt"]


def test_cards_of_unreadable_files(tmp_path: Path):
    library = Library([tmp_path])
    library.save(embedding("a & b", 1))
    library.save(embedding("twin", 1))
    torch.save(torch.randn(768), tmp_path / "twin.pt")
    (tmp_path / "junk.pt").write_text("junk")
    (tmp_path / "junk.preview.png").write_text("no picture")
    library.refresh()
    studio = SimpleNamespace(library=library, engine=SimpleNamespace(supports=lambda e: True))
    html = cards.cards(studio, "junk")
    assert "<b>a &amp; b</b>" in html
    assert "the same as a &amp; b" in html
    assert "hidden: another file has this name" in html
    assert html.count(" disabled") == 1
    assert "unreadable" in html
    assert "is neither a safetensors" in cards.facts(library, cards.find(library.entries, "junk"))


def test_names_for_imports_are_free(tmp_path: Path):
    library = Library([tmp_path / "library"])
    for i in range(3):
        embedding("a", i).save(tmp_path / str(i) / "A.safetensors")
        files.import_files(library, [tmp_path / str(i) / "A.safetensors"])
    assert library.names() == ["A", "A 2", "A 3"]
    many = [tmp_path / "0" / "A.safetensors"] * (files.MAX_IMPORTS + 1)
    assert f"Only the first {files.MAX_IMPORTS} of 51 files were imported." in files.import_files(library, many)


def test_the_legacy_file_is_what_the_old_extension_reads(tmp_path: Path):
    both = ae.AestheticEmbedding({FAMILY: torch.ones(64), "clip-vit-l-14": torch.arange(768.0)}, name="x/both")
    path = files.export(tmp_path, both, ".pt")
    old = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    assert (path.name, old.shape) == ("both.pt", (1, 768))
    assert files.export(tmp_path, embedding("pocket"), ".pt") is None


def test_the_map_leaves_out_vectors_of_another_length(tmp_path: Path) -> None:
    for name, length in {"neutral": 5, "a": 7, "b": 7, "c": 7, "d": 5}.items():
        vector = torch.randn(length, generator=torch.Generator().manual_seed(ord(name[0])))
        ae.AestheticEmbedding({"family": vector}).save(tmp_path / f"{name}.safetensors")
    html = similarity.similarity_map(Library([tmp_path]), "family")
    assert "Without what ordinary pictures share" not in html
    assert [name for name in "abcd" if f">{name}<" in html] == ["a", "b", "c"]


def test_the_map_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    library = Library([tmp_path])
    assert "Two or more aesthetics" in similarity.similarity_map(library, "")
    for i in range(4):
        library.save(embedding(f"e{i}", i))
    monkeypatch.setattr(similarity, "MAX_SHOWN", 3)
    html = similarity.similarity_map(library, FAMILY)
    assert html.count("<td style=") == 9
    assert "The first 3 of 4 are shown." in html


def test_similar_ones_are_placed_together():
    a, b = torch.randn(2, 64, generator=torch.Generator().manual_seed(3))
    vectors = torch.stack([a, b, a + 0.1 * b, b - 0.1 * a])
    html = plots.heat_map(["a", "b", "a'", "b'"], vectors)
    heads = [part.split("</span>")[0] for part in html.split("scope='col'><span>")[1:]]
    assert {heads.index("a"), heads.index("a&#x27;")} in ({0, 1}, {2, 3})
