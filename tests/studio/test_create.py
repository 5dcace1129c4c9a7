"""The tab Create, in Chromium; and what bounds uploads."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.errors import AestheticError
from aesthetic_embeddings.studio import picture_html
from aesthetic_embeddings.studio.create import report, uploads

from .test_compare import at

SAMPLES = pocket.SAMPLES / "cloudcore"
ENCODERS = (str(pocket.MODEL),)


def quiet(*_: Any) -> None:
    """In place of progress."""


@pytest.fixture
def tab(page: Any) -> Any:
    page.get_by_role("tab", name="Create").click()
    page.get_by_text("Use at least five pictures").wait_for()
    return page


def drop(page: Any, *files: Path) -> None:
    page.locator("#studio_zone input[type=file]").set_input_files(files)


def seen(page: Any, count: int) -> Any:
    """Wait until so many pictures are shown."""
    page.locator("#studio_alike").get_by_text(re.compile(rf"^{count} pictures$")).wait_for()
    cards = page.locator("#studio_pictures .tile")
    assert cards.count() == count
    return cards


def save(page: Any, name: str) -> None:
    page.get_by_label("Name of the new aesthetic").fill(name)
    page.locator("#studio_create_save").click()


# ---- journeys -------------------------------------------------------------------------------------------------------


def test_from_a_folder_without_its_outlier_to_compare_and_library(tab: Any, library: Path, tmp_path: Path):
    folder = tmp_path / "holiday"
    shutil.copytree(SAMPLES, folder)
    shutil.copy(pocket.SAMPLES / "gloomcore" / "01.png", folder / "odd.png")
    (folder / "cut.png").write_bytes((SAMPLES / "01.png").read_bytes()[:200])
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("a caption")
    tab.locator("input[data-testid='Choose a folder-upload-button']").set_input_files(folder)
    shown = seen(tab, 13)
    assert all(words in shown.first.inner_text() for words in ("odd.png", "unlike the others"))
    said = tab.locator("#studio_alike").inner_text()
    assert "Skipped: 3" in said
    for line in ("cut.png: damaged or cut short", "empty.jpg: empty", "notes.txt: not a picture"):
        assert line in said
    tab.locator("#studio_likeness").locator("svg, canvas").first.wait_for()

    tab.get_by_role("button", name="Remove the one unlike the others").click()
    seen(tab, 12)
    assert "odd.png" not in tab.locator("#studio_pictures").inner_text()
    tab.get_by_role("button", name="Remove 01.png").click()
    seen(tab, 11)

    save(tab, "holiday")
    tab.get_by_text("Saved as holiday, from 11 pictures").wait_for()
    assert (library / "holiday.safetensors").is_file()
    assert (library / "holiday.preview.png").is_file()
    save(tab, "holiday")
    tab.get_by_text("There is an aesthetic called 'holiday' already").wait_for()
    tab.get_by_role("button", name="Remove 02.png").click()
    seen(tab, 10)
    tab.get_by_label("Replace the aesthetic of this name").check()
    save(tab, "holiday")
    tab.get_by_text("Saved as holiday, from 10 pictures").wait_for()

    tab.get_by_role("button", name="Try it now").click()
    at(tab, "message").get_by_text("Similarity to holiday").wait_for()
    assert at(tab, "aesthetic").locator("input").first.input_value() == "holiday"

    tab.get_by_role("tab", name="Library").click()
    card = tab.locator("#studio_cards .card", has_text="holiday")
    card.get_by_text("10 pictures").wait_for()  # the cards are drawn anew after what is saved is said
    tab.get_by_role("tab", name="Compare").click()
    tab.locator("#studio_aesthetic input").first.fill("holi")
    tab.get_by_role("option", name="holiday").wait_for()


def test_a_dropped_folder_is_walked(tab: Any, tmp_path: Path):
    """As Chromium hands it over: an entry for the folder, and none of its files among the transfer's."""
    tab.evaluate(
        """async pictures => {
          const file = (name, bytes) => ({isFile: true, isDirectory: false, name, file: done =>
            done(new File([Uint8Array.from(bytes)], name, {type: 'image/png'}))});
          const folder = (name, entries) => ({isFile: false, isDirectory: true, name, createReader() {
            const batches = [entries.slice(0, 2), entries.slice(2), []];
            return {readEntries: done => done(batches.shift())};
          }});
          const inner = folder('more', pictures.slice(4).map((each, i) => file(`b${i}.png`, each)));
          const outer = folder('all', [...pictures.slice(0, 4).map((each, i) => file(`a${i}.png`, each)), inner,
                                       file('.hidden.png', pictures[0])]);
          const drop = new Event('drop', {bubbles: true, cancelable: true});
          drop.dataTransfer = {items: [{webkitGetAsEntry: () => outer}], files: [new File([], 'all')]};
          document.querySelector('#studio_zone button').dispatchEvent(drop);
        }""",
        [list(file.read_bytes()) for file in sorted(SAMPLES.iterdir())[:7]],
    )
    seen(tab, 7)


def test_more_pictures_join_those_before(tab: Any):
    files = sorted(SAMPLES.iterdir())
    drop(tab, *files[:4])
    seen(tab, 4)
    drop(tab, *files[2:7])
    seen(tab, 7)
    tab.get_by_role("button", name="Reset").click()
    tab.locator("#studio_pictures .tile").first.wait_for(state="hidden")
    drop(tab, *files[:3])
    seen(tab, 3)


def test_files_that_are_not_pictures_are_reported(tab: Any, tmp_path: Path):
    (tmp_path / "page.png").write_text("<html>")
    drop(tab, tmp_path / "page.png")
    tab.get_by_text("None of the pictures could be read, 1 in all. page.png: not a picture").wait_for()
    assert str(tmp_path) not in tab.locator("#studio_create_message").inner_text()
    drop(tab, SAMPLES / "01.png")  # and goes on
    tab.locator("#studio_alike").get_by_text("One picture.").wait_for()


def test_names_do_not_leave_the_library(tab: Any, library: Path):
    drop(tab, SAMPLES / "01.png")
    tab.locator("#studio_alike").get_by_text("One picture.").wait_for()
    before = sorted(library.parent.rglob("*"))
    for name, said in {
        "../out": "no part of it may start with a dot",
        "/tmp/out": "has an empty part between slashes",
        "a\\b": "Windows does not allow",
        " ": "Give the new aesthetic a name first",
    }.items():
        save(tab, name)
        tab.locator("#studio_saved").get_by_text(said).wait_for()
    assert sorted(library.parent.rglob("*")) == before


def test_cancel(tab: Any, monkeypatch: pytest.MonkeyPatch):
    def slow(file: str, *rest: Any, thumbnail: Any = picture_html.thumbnail) -> bytes:
        raise AssertionError("no picture should get so far")

    def waiting(files: Any, encoders: Any, on_progress: Any) -> None:
        for i in range(600):
            on_progress("", i, 600)
            time.sleep(0.05)

    monkeypatch.setattr(uploads, "create_each", waiting)
    monkeypatch.setattr(picture_html, "thumbnail", slow)
    drop(tab, *sorted(SAMPLES.iterdir()))
    tab.get_by_text(re.compile(r"\d+ of 600 pictures")).first.wait_for()
    tab.locator("#studio_create_cancel").click()
    tab.get_by_text("Cancelled.").wait_for()
    tab.locator("#studio_create_cancel").wait_for(state="hidden")
    tab.locator("#studio_zone").get_by_text("Click to Upload").wait_for()  # free for the next ones
    monkeypatch.undo()
    drop(tab, SAMPLES / "01.png")
    tab.locator("#studio_alike").get_by_text("One picture.").wait_for()


def test_two_people_at_once_see_their_own(again: Callable[..., Any]):
    pages = [again(), again()]
    kinds = sorted(SAMPLES.iterdir())[:6], sorted((pocket.SAMPLES / "gloomcore").iterdir())[6:11]
    for page in pages:
        page.get_by_role("tab", name="Create").click()
        page.locator("#studio_zone input[type=file]").wait_for(state="attached")
    for page, files in zip(pages, kinds, strict=True):
        drop(page, *files)
    for page, files in zip(pages, kinds, strict=True):
        seen(page, len(files))
        said = page.locator("#studio_pictures").inner_text()
        assert all(file.name in said for file in files)


def test_too_large_a_file_is_refused(tab: Any, tmp_path: Path):
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(65 * 2**20)
    drop(tab, tmp_path / "huge.png")
    tab.get_by_text('File(s) exceed the maximum allowed size of 64.0 Mb: "huge.png"').wait_for()
    tab.locator("#studio_zone").get_by_label("Clear").click()
    drop(tab, SAMPLES / "01.png")  # and goes on
    tab.locator("#studio_alike").get_by_text("One picture.").wait_for()


def test_only_what_was_uploaded_is_read(studio: Any, url: str, library: Path):
    """What a page would not do, but another program can: name a file of this machine as if it had been uploaded."""
    import httpx

    config = httpx.get(f"{url}config").json()
    zone = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "studio_zone")
    handlers = [each["id"] for each in config["dependencies"] if zone in each["inputs"] and each["backend_fn"]]
    assert handlers
    for secret in (SAMPLES / "01.png", library / "../escape.png"):
        data = [[{"path": str(secret), "meta": {"_type": "gradio.FileData"}}], None]
        for handler in handlers:
            asked = {"data": data, "fn_index": handler, "session_hash": "outsider"}
            httpx.post(f"{url}gradio_api/queue/join", json=asked).raise_for_status()
            with httpx.stream("GET", f"{url}gradio_api/queue/data?session_hash=outsider", timeout=20) as answer:
                said = next(line for line in answer.iter_lines() if "process_completed" in line)
            assert '"success":false' in said.replace(" ", "")
    for path in (
        SAMPLES / "01.png",
        library,
        studio.folder / "samples" / "glowwave.safetensors",
        Path("pyproject.toml"),
    ):
        assert httpx.get(f"{url}gradio_api/file={path}").status_code in (403, 404)
    up = httpx.post(f"{url}gradio_api/upload", files={"files": ("../../../escape.png", b"x")})
    if up.is_success:
        (path,) = up.json()
        assert (studio.folder / "served").resolve() in Path(path).resolve().parents
    assert not list(studio.folder.parent.glob("escape*"))


# ---- without a browser ----------------------------------------------------------------------------------------------


def test_pictures_are_bounded_in_number_and_pixels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(uploads, "MAX_PICTURES", 3)
    monkeypatch.setattr(uploads, "MAX_PIXELS", 128 * 128)
    Image.new("RGB", (256, 128)).save(tmp_path / "wide.png")
    files = [str(tmp_path / "wide.png"), *map(str, sorted(SAMPLES.iterdir()))]
    two = uploads.add(uploads.Pictures(), files[1:3], ENCODERS, quiet)
    full = uploads.add(two, files, ENCODERS, quiet)
    assert full.creations[0].files == tuple(files[1:4])
    reasons = dict(full.refused)
    assert reasons[files[0]].startswith("too large: 256 × 128 pixels")
    assert reasons[files[4]] == "too many: the limit is 3"
    assert "aesthetic-gradients create NAME FOLDER" in report.summary(full)
    assert "aesthetic-gradients create NAME FOLDER" not in report.summary(two)
    with pytest.raises(AestheticError, match=r"All 1 pictures were refused. 12.png: too many"):
        uploads.add(full, files[-1:], ENCODERS, quiet)


def test_the_mean_is_that_of_the_remaining_pictures():
    files = [str(file) for file in sorted(SAMPLES.iterdir())]
    chosen = uploads.add(uploads.Pictures(), files, ENCODERS, quiet).without(files[:5])
    expected = uploads.add(uploads.Pictures(), files[5:], ENCODERS, quiet)
    e, other = chosen.aesthetic("dusk"), expected.aesthetic("dusk")
    assert (e.name, e.images, e.encoder) == ("dusk", 7, "pocket")
    torch.testing.assert_close(e.vectors, other.vectors)
    assert chosen.without(files) == uploads.Pictures()


def test_several_encoders_make_a_vector_each(tmp_path: Path):
    from transformers import CLIPModel

    torch.manual_seed(1)
    model = CLIPModel.from_pretrained(pocket.MODEL)
    model.visual_projection = torch.nn.Linear(128, 32, bias=False)
    model.text_projection = torch.nn.Linear(192, 32, bias=False)
    model.config.projection_dim = 32
    model.save_pretrained(tmp_path / "other")
    chosen = uploads.add(uploads.Pictures(), [str(SAMPLES / "01.png")], (*ENCODERS, str(tmp_path / "other")), quiet)
    assert set(chosen.aesthetic("two").vectors) == {"clip-192x3-64", "clip-192x3-32"}


def test_the_mean_of_ordinary_pictures_is_saved_beside_the_aesthetic(tab: Any, library: Path):
    ordinary = pocket.SAMPLES / "glowwave" / "01.png"
    drop(tab, *sorted(SAMPLES.iterdir())[:5])
    seen(tab, 5)
    tab.locator("#studio_ordinary input[type=file]").set_input_files(ordinary)
    tab.locator("#studio_ordinary").get_by_label("01.png").wait_for()  # as text, it is whole only while it arrives
    save(tab, "told apart")
    tab.get_by_text("Saved as told apart, from 5 pictures").wait_for()
    (against,) = ae.load(library / "told apart.safetensors").against.values()
    (expected,) = ae.create(ordinary, pocket.MODEL).vectors.values()
    torch.testing.assert_close(against, expected)


def test_ordinary_pictures_that_cannot_be_taken_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(uploads, "MAX_PIXELS", 10)
    with pytest.raises(AestheticError, match="All 1 ordinary pictures were refused: too large"):
        uploads.mean_vectors([str(SAMPLES / "01.png")], ENCODERS)
