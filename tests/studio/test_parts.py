"""What pages are given: files, HTML and messages, without a browser."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.aesthetics.library import Library
from aesthetic_embeddings.diffusion.job import Progress
from aesthetic_embeddings.diffusion.png_metadata import TEXT_KEY, read_metadata, save_picture
from aesthetic_embeddings.errors import AestheticError
from aesthetic_embeddings.studio import picture_html, state
from aesthetic_embeddings.studio.compare import results, saving
from aesthetic_embeddings.studio.compare.comparison import Comparison, make_comparison
from aesthetic_embeddings.studio.compare.request import PAIRS, STRIP, parse_request
from aesthetic_embeddings.studio.compare.restoring import restore_settings
from aesthetic_embeddings.studio.create import uploads
from aesthetic_embeddings.studio.library import blend, cards, files
from aesthetic_embeddings.ui import family_names, messages

from .test_request import FORM

FAMILY = "clip-192x3-64"
ENCODERS = (str(pocket.MODEL),)


def silent(*_: Any) -> None:
    """In place of progress."""


@pytest.fixture
def studio(tmp_path: Path) -> state.Studio:
    """With the aesthetics a and b, and a model that is never asked."""
    library = Library([tmp_path / "library"])
    for seed, name in enumerate("ab"):
        vector = torch.randn(64, generator=torch.Generator().manual_seed(seed))
        library.save(ae.AestheticEmbedding({FAMILY: vector}, name=name))
    engine: Any = SimpleNamespace(model="pocket", families={FAMILY}, supports=lambda e: FAMILY in e.vectors)
    return state.Studio(library, engine, ENCODERS, tmp_path)


def made(studio: state.Studio, **form: Any) -> Comparison:
    return make_comparison(parse_request({**FORM, **form}), studio.library)


def picture(color: str) -> Image.Image:
    return Image.new("RGB", (8, 8), color)


# ---- pictures and their settings ------------------------------------------------------------------------------------


def test_pairs_are_saved_as_they_are_made(studio: state.Studio, tmp_path: Path):
    asked = made(studio)
    half = Progress("", pictures=((picture("red"), picture("blue")), (picture("green"), None)))
    first, second = saving.save_pairs(asked, half, tmp_path, "pocket")
    assert second.personalized == ""
    assert [read_metadata(path)["seed"] for path in (first.original, first.personalized, second.original)] == [3, 3, 4]
    assert read_metadata(first.original)["personalized"] is False
    assert "personalized" not in read_metadata(first.personalized)
    assert (read_metadata(first.original)["prompt"], Image.open(first.original).getpixel((0, 0))) == (
        "a ship",
        (255, 0, 0),
    )
    before = os.stat(first.original).st_mtime_ns
    whole = Progress("", pictures=(half.pictures[0], (picture("green"), picture("black"))))
    assert saving.save_pairs(asked, whole, tmp_path, "pocket")[1].personalized
    assert os.stat(first.original).st_mtime_ns == before


def test_notes_are_shown_with_the_result(studio: state.Studio):
    progress = Progress("", curves={"a": (0.1, 0.4)}, notes=("CLIP G <was> left alone.",))
    html = results._summary(made(studio), progress, 1.24)
    assert "Done in 1.2 s, seeds 3 to 4." in html
    assert "Similarity to a: 0.100 → 0.400." in html
    assert "CLIP G &lt;was&gt; left alone." in html


def test_pictures_of_the_first_version_restore_their_settings(studio: state.Studio, tmp_path: Path):
    mixed = ae.blend([(studio.library.get("a"), 0.7), (studio.library.get("b"), -0.3)])
    about = {"prompt": "a tree", "model": "pocket", "sampler_steps": 9, "cfg": 3.0, "seeds": [7], "settings": {}}
    about |= {"aesthetic": "a=0.7 b=-0.3", "aesthetic_hash": mixed.content_hash, "sheet": "A strip over steps"}
    values, sentence = restore_settings(studio, save_picture(picture("red"), tmp_path / "old.png", about))
    assert sentence == "Settings restored from old.png."
    assert (values["layout"], values["aesthetic"], values["seed"]) == (STRIP, "a:0.7 b:-0.3", 7)
    about |= {"sheet": ["?"], "aesthetic": "x" * 10**5}
    with pytest.raises(AestheticError, match="not a picture with settings"):
        restore_settings(studio, save_picture(picture("red"), tmp_path / "odd.png", about))
    values, sentence = restore_settings(
        studio, save_picture(picture("red"), tmp_path / "odd.png", about | {"sheet": "?"})
    )
    assert values["layout"] == PAIRS
    assert "is not here: import the file" in sentence
    assert len(sentence) < 300


def test_a_long_mix_of_a_picture_is_not_blended(studio: state.Studio, tmp_path: Path):
    about = {"prompt": "a tree", "model": "pocket", "sampler_steps": 9, "cfg": 3.0, "seeds": [7], "settings": {}}
    about |= {"aesthetic": "a=1 " * 200_000, "aesthetic_hash": "0" * 64}
    file, start = save_picture(picture("red"), tmp_path / "long.png", about), time.process_time()
    _, sentence = restore_settings(studio, file)
    assert "is not here: import the file" in sentence
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("text", ["[" * 100_000, "3", "null", "[1]", "{" * 9, '{"settings": 1e999}', "9" * 100_000])
def test_pictures_with_any_other_text_restore_nothing(studio: state.Studio, tmp_path: Path, text: str):
    info = PngInfo()
    info.add_itxt(TEXT_KEY, text)
    picture("red").save(tmp_path / "odd.png", pnginfo=info)
    with pytest.raises(AestheticError, match=r"^odd\.png"):
        restore_settings(studio, tmp_path / "odd.png")


def test_only_the_latest_jobs_keep_their_pictures(studio: state.Studio, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state, "_MAX_JOB_FOLDERS", 2)
    folders = [studio.new_job_folder() for _ in range(4)]
    assert [folder.is_dir() for folder in folders] == [False, False, True, True]


# ---- Create ---------------------------------------------------------------------------------------------------------


def test_the_preview_shows_the_most_typical_pictures():
    names = [*sorted((pocket.SAMPLES / "aivazovsky").iterdir())[:5], pocket.SAMPLES / "glowwave" / "01.png"]
    chosen = uploads.add(uploads.Pictures(), [str(file) for file in names], ENCODERS, silent)
    x = chosen.creations[0].similarities
    best = [chosen.creations[0].files[i] for i in sorted(range(6), key=lambda i: -float(x[i]))[:4]]
    assert str(names[-1]) not in best
    assert chosen.preview() == picture_html.mosaic([chosen.thumbnails[file] for file in best])


def test_errors_and_skipped_files_do_not_tell_where_uploads_lie(tmp_path: Path):
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(AestheticError, match=r"page\.png") as error:
        uploads.add(uploads.Pictures(), [str(tmp_path / "page.png")], ENCODERS, silent)
    assert str(tmp_path) not in str(error.value)
    library = Library([tmp_path / "library"])
    (tmp_path / "junk.pt").write_text("<html>")
    html = files.import_files(library, [tmp_path / "junk.pt"])
    assert "junk.pt is neither" in html
    assert str(tmp_path) not in html


def test_hidden_files_of_a_folder_are_left_out(tmp_path: Path):
    data = (pocket.SAMPLES / "aivazovsky" / "01.png").read_bytes()
    for name in ("a.png", ".a.png"):
        (tmp_path / name).write_bytes(data)
    chosen = uploads.add(uploads.Pictures(), [str(file) for file in tmp_path.iterdir()], ENCODERS, silent)
    assert chosen.creations[0].files == (str(tmp_path / "a.png"),)


# ---- Library --------------------------------------------------------------------------------------------------------


def test_cards_of_other_models_come_last(studio: state.Studio):
    studio.library.save(ae.AestheticEmbedding({"clip-vit-l-14": torch.ones(768)}, name="0"))
    html = cards.cards(studio, "")
    mine, others = html.split("For other models")
    assert "<b>a</b>" in mine
    assert "pocket model" in mine
    assert "<b>0</b>" in others
    assert "SD1" in others


def test_blends_offer_what_can_be_blended(studio: state.Studio):
    for name in ("sd1", "sd1 too"):
        studio.library.save(ae.AestheticEmbedding({"clip-vit-l-14": torch.randn(768)}, name=name))
    assert blend._blendable(studio, []) == ["a", "b"]
    assert blend._blendable(studio, ["sd1"]) == ["sd1", "sd1 too"]


def test_a_blend_is_not_saved_with_the_picture_of_another(studio: state.Studio):
    a, b = studio.library.get("a"), studio.library.get("b")
    png = blend._preview_of(a, (a.content_hash, picture("red")))
    assert Image.open(io.BytesIO(png or b"")).getpixel((0, 0)) == (255, 0, 0)
    assert blend._preview_of(b, (a.content_hash, picture("red"))) is None
    assert blend._preview_of(b, None) is None


@pytest.mark.parametrize(
    ("parts", "words"),
    [([], "Choose what to blend"), (["x" * 10**6], "at most 200"), (["a"] * 5, "at most 4"), ([{}], "should be text")],
)
def test_blends_that_the_page_would_not_send(studio: state.Studio, parts: Any, words: str):
    with pytest.raises(AestheticError, match=words):
        blend._blend(studio, parts, [0.5] * len(parts))


def test_a_card_shows_the_picture_that_is_there_now(studio: state.Studio):
    def shown() -> bytes | None:
        studio.library.refresh()
        return cards._preview(studio.library, studio.library.entries[0])

    png = picture_html.encoded(Image.new("RGB", (64, 64), "red"), "PNG")
    path = studio.library.set_preview("a", png)
    before = shown()
    path.write_bytes(picture_html.encoded(Image.new("RGB", (64, 64), "blue"), "PNG"))
    os.utime(path, ns=(1, 1))
    assert before is not None
    assert shown() not in (before, None)


def test_foreign_text_is_escaped():
    html = picture_html.figure(picture_html.encoded(picture("red"), "WEBP"), "<img onerror='x'>")
    assert "<img onerror" not in html
    assert "&lt;img onerror" in html
    assert "<b>" not in messages.error("<b>") + messages.status("<b>")


def test_names_of_families_are_those_of_models():
    assert family_names.label(FAMILY) == "pocket model"
    assert family_names.label("clip-vit-l-14") == "SD1"
    assert family_names.label("clip-1x2-3") == "clip-1x2-3"
    assert family_names.models([FAMILY]) == "the pocket model"


# ---- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "role", "words"),
    [
        (AestheticError("No <such> thing."), "alert", "No &lt;such&gt; thing."),
        (ae.Interrupted("Cancelled."), "status", "Cancelled."),
        (MemoryError(), "alert", "There is not enough memory for this."),
        (
            KeyError("/secret/path"),
            "alert",
            "Something unexpected went wrong (KeyError). The terminal has the details.",
        ),
    ],
)
def test_errors_are_shown_as_text(fault: Exception, role: str, words: str):
    def handler() -> list[Any]:
        raise fault

    def generator() -> Any:
        yield [1, 2]
        raise fault

    text, other = messages.errors_as_text(2)(handler)()
    assert f"role='{role}'" in text
    assert words in text
    assert "secret" not in text
    assert other == gr.update()
    assert messages.errors_as_text(1)(handler)() == text
    assert [*messages.errors_as_text(2)(generator)()] == [[1, 2], [text, other]]
