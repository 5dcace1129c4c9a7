"""The tab Compare, in Chromium."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aesthetic_embeddings.diffusion.png_metadata import read_metadata, save_picture
from aesthetic_embeddings.studio.compare.request import GRID, LAYOUTS, PAIRS, STRIP


def at(page: Any, name: str) -> Any:
    return page.locator(f"#studio_{name}")


def number(page: Any, name: str) -> Any:
    return at(page, name).locator("input[type=number]").first


def ask(page: Any, prompt: str = "", aesthetic: str = "", layout: str = "", **numbers: float) -> None:
    """Fill in. The others' prompts make little work: a picture of few steps."""
    if not number(page, "last_layers").is_visible():
        at(page, "more").get_by_role("button", name="More").click()
        number(page, "last_layers").wait_for()  # it is drawn from top to bottom
    if layout:
        page.get_by_label(_label(layout), exact=True).check()
    for name, value in numbers.items():
        while number(page, name).input_value() != str(value):  # what has only just been drawn may be drawn once more
            number(page, name).fill(str(value))
            number(page, name).press("Tab")
    if prompt:
        at(page, "prompt").locator("textarea").fill(prompt)
    if aesthetic:
        box = at(page, "aesthetic").locator("input").first
        box.fill(aesthetic)
        box.press("Enter")


def _label(layout: str) -> str:
    return next(label for label, name in LAYOUTS.items() if name == layout)


def generate(page: Any, press: Callable[[], Any] | None = None) -> str:
    """Press the button, and wait until all is made. What was said of the pictures before does not count."""
    page.evaluate(
        """() => {
          window.begun = false;
          const message = document.getElementById('studio_message');
          const look = () => { window.begun ||= !!message.querySelector('progress'); };
          new MutationObserver(look).observe(message, {childList: true, subtree: true});
        }"""
    )
    (press or at(page, "generate").click)()
    page.wait_for_function("window.begun")
    return said(page, "Done in")


def said(page: Any, words: str) -> str:
    at(page, "message").get_by_text(re.compile(words)).first.wait_for()
    return at(page, "message").inner_text()


def shown(page: Any, name: str) -> str:
    """The address of a picture, once it is drawn."""
    picture = at(page, name).locator("img").first
    picture.wait_for()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
    return str(picture.get_attribute("src"))


def download(page: Any, folder: Path) -> Path:
    """What the button gives."""
    with page.expect_download() as coming:
        at(page, "save").click()
    path = folder / coming.value.suggested_filename
    coming.value.save_as(path)
    return path


def values(page: Any) -> dict[str, Any]:
    """What is asked for, as the page shows it."""
    names = ("steps", "count", "sampler_steps", "cfg", "seed", "epsilon", "weight", "preservation")
    return {
        "prompt": at(page, "prompt").locator("textarea").input_value(),
        "negative_prompt": at(page, "negative_prompt").locator("input, textarea").first.input_value(),
        "aesthetic": at(page, "aesthetic").locator("input").first.input_value(),
        "update": at(page, "update").locator("input").first.input_value(),
        **{name: float(number(page, name).input_value()) for name in names},
    }


# ---- pairs ----------------------------------------------------------------------------------------------------------


def test_an_example_is_one_click(page: Any):
    words = generate(page, at(page, "example_0").click)
    assert re.search(r"Similarity to cloudcore: -?0\.\d{3} → 0\.\d{3}", words)
    assert shown(page, "original") != shown(page, "personalized")
    assert at(page, "prompt").locator("textarea").input_value() == "a castle in a meadow"
    at(page, "curves").locator("svg").wait_for()

    small = at(page, "thumbnails").locator("button img")
    assert small.count() == 4
    before = shown(page, "original"), shown(page, "personalized")
    small.nth(2).click()
    page.wait_for_function("before => document.querySelector('#studio_original img').src !== before", arg=before[0])
    assert not {shown(page, "original"), shown(page, "personalized")} & {*before}

    page.get_by_label("Slider", exact=True).check()
    at(page, "slider").locator("img").first.wait_for()
    assert not at(page, "original").is_visible()


def test_a_downloaded_picture_restores_its_settings(page: Any, tmp_path: Path, again: Callable[[], Any]):
    at(page, "more").get_by_role("button", name="More").click()
    page.get_by_role("button", name="Safe start").click()
    ask(page, "a ship at sea", "cloudcore:0.7 gloomcore:0.3", seed=5, count=2, sampler_steps=4, cfg=4.5, weight=0.9)
    ask(page, epsilon=0.002)  # beyond the slider's end
    at(page, "negative_prompt").locator("input, textarea").first.fill("a tree")
    generate(page)
    file = download(page, tmp_path)
    assert file.name == "a-ship-at-sea-5-personalized.png"
    about = read_metadata(file)
    assert about["aesthetic"] == "cloudcore:0.7 gloomcore:0.3"
    assert about["settings"]["epsilon"] == 0.002
    assert about["settings"]["update"] == "normalized"
    assert about["similarities"]

    other = again()
    at(other, "restore").locator("input[type=file]").set_input_files(file)
    assert said(other, "restored") == "Settings restored from a-ship-at-sea-5-personalized.png."
    number(other, "seed").wait_for()  # nothing is set in a closed panel
    assert values(other) == values(page) | {"count": 1}
    generate(other)
    same = download(other, tmp_path)
    with Image.open(same) as one, Image.open(file) as other_one:
        assert one.tobytes() == other_one.tobytes()
    assert read_metadata(same) == about


def test_pictures_of_the_command_line_restore_theirs_too(page: Any, studio: Any, tmp_path: Path):
    e = studio.library.get("glowwave")
    about = {"version": 1, "prompt": "a tree", "negative_prompt": "", "model": "pocket", "sampler_steps": 9, "cfg": 3.0}
    about |= {"aesthetic": "called differently there", "aesthetic_hash": e.content_hash, "seeds": [7, 8]}
    about |= {"settings": {"steps": 12, "epsilon": 1.5e-4}, "similarities": {}}
    file = save_picture(Image.new("RGB", (8, 8)), tmp_path / "compare.png", about)
    at(page, "restore").locator("input[type=file]").set_input_files(file)
    said(page, "restored")
    ask(page)
    found = values(page)
    assert (found["prompt"], found["aesthetic"], found["seed"], found["count"]) == ("a tree", "glowwave", 7, 2)
    ask(page, sampler_steps=2)
    generate(page)
    assert (
        read_metadata(download(page, tmp_path))["settings"]["epsilon"] == 1.5e-4
    )  # exactly, between the slider's stops


def test_cancelling_stops_the_work(page: Any, studio: Any):
    ask(page, "a city at sea", count=8, sampler_steps=100)
    assert not at(page, "cancel").is_visible()
    at(page, "generate").click()
    said(page, "Picture 1 of 16, about .* left")
    at(page, "cancel").click()
    said(page, "^Cancelled.$")
    at(page, "cancel").wait_for(state="hidden")
    end = time.monotonic() + 5
    while studio.engine._queue:
        assert time.monotonic() < end, "it goes on"
        time.sleep(0.05)
    ask(page, count=1, sampler_steps=3)
    generate(page)
    at(page, "cancel").wait_for(state="hidden")
    assert at(page, "thumbnails").locator("button img").count() == 0  # there is a single seed


# ---- what a page keeps ----------------------------------------------------------------------------------------------


def test_a_new_page_shows_a_comparison(page: Any):
    assert shown(page, "original") != shown(page, "personalized")
    assert "Similarity to cloudcore" in said(page, "Done in")
    assert at(page, "prompt").locator("textarea").input_value() == "a castle in a meadow"
    at(page, "save").wait_for()
    assert not at(page, "history").is_visible()


def test_form_and_pictures_survive_a_reload(page: Any):
    ask(page, "a tree at sea", "glowwave", seed=7, count=1, sampler_steps=2)
    generate(page)
    ask(page, "a chair at sea")
    before, picture = values(page), shown(page, "personalized")
    page.reload()
    page.wait_for_function("document.querySelector('#studio_prompt textarea')?.value === 'a chair at sea'")
    number(page, "seed").wait_for()  # what is set is seen
    assert values(page) == before
    assert shown(page, "personalized") == picture
    assert "Similarity to glowwave" in said(page, "Done in")


def test_the_history_shows_earlier_pictures(page: Any, tmp_path: Path):
    ask(page, "a tree at sea", "glowwave", seed=7, count=1, sampler_steps=2)
    generate(page)
    first = shown(page, "personalized")
    ask(page, layout=STRIP)
    generate(page)
    shown(page, "sheet")
    earlier = at(page, "history").locator("button img")
    earlier.nth(1).wait_for()
    assert earlier.count() == 2
    earlier.nth(1).click()
    page.wait_for_function(
        "first => document.querySelector('#studio_personalized img')?.src === first", arg=first, timeout=60_000
    )
    assert not at(page, "sheet").is_visible()
    assert read_metadata(download(page, tmp_path))["seed"] == 7


def test_words_that_the_model_may_not_know(page: Any):
    ask(page, "a banana at sea")
    at(page, "unknown_words").get_by_text("may not know: banana").wait_for()
    ask(page, "a ship at sea")
    at(page, "unknown_words").wait_for(state="hidden")


# ---- sheets ---------------------------------------------------------------------------------------------------------


def test_a_strip_over_steps(page: Any, tmp_path: Path, again: Callable[[], Any]):
    ask(page, "a tree in the snow", "glowwave", STRIP, seed=3, count=1, sampler_steps=3)
    generate(page)
    shown(page, "sheet")
    assert at(page, "curves").locator("polyline").count() == 1
    assert not at(page, "steps").is_visible()
    file = download(page, tmp_path)
    about = read_metadata(file)
    assert (about["sheet"], about["seeds"]) == (STRIP, [3])
    assert [len(run) for run in about["similarities"].values()] == [21]
    with Image.open(file) as image:
        width, height = image.size
    assert width > 3 * height

    other = again()
    at(other, "restore").locator("input[type=file]").set_input_files(file)
    said(other, "restored")
    assert other.get_by_label(_label(STRIP), exact=True).is_checked()


def test_a_grid_of_aesthetics_with_the_keyword_beside(page: Any, tmp_path: Path):
    ask(page, "a castle at sea", layout=GRID, seed=3, sampler_steps=2)
    at(page, "grid").get_by_label("Remove gloomcore").or_(
        at(page, "grid").locator(".token-remove").nth(2)
    ).first.click()
    generate(page)
    shown(page, "sheet")
    assert not at(page, "original").is_visible()
    about = read_metadata(download(page, tmp_path))
    assert about["aesthetics"] == ["aivazovsky", "cloudcore", "glowwave"]
    at(page, "curves").get_by_text("cloudcore").wait_for()

    ask(page, layout=PAIRS, count=1)
    generate(page)
    shown(page, "original")
    assert not at(page, "sheet").is_visible()


def test_pairs_are_made_whatever_became_of_the_grids_aesthetics(page: Any, studio: Any, library: Path):
    """The grid lists one that goes: of two with equal content the library lists the first alone."""
    copy = replace(studio.library.get("cloudcore"), name="a copy").save(library / "a copy.safetensors")
    ask(page, "a ship at sea", "a copy", count=1, sampler_steps=2)
    assert "Similarity to a copy" in generate(page)
    page.get_by_label(_label(GRID), exact=True).check()
    at(page, "grid").get_by_text("gloomcore").wait_for()
    assert "cloudcore" not in at(page, "grid").inner_text()
    copy.unlink()


# ---- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prompt": " "}, "Write a prompt first."),
        ({"aesthetic": "gloomcoer"}, "There is no aesthetic called 'gloomcoer'. Did you mean gloomcore"),
        ({"aesthetic": "gloomcore:1 dusk"}, "In a mix each aesthetic has a weight, but 'dusk' has none"),
    ],
)
def test_errors_appear_beside_the_button(page: Any, wrong: dict[str, str], words: str):
    ask(page, **wrong)
    at(page, "generate").click()
    assert words in said(page, re.escape(words[:30]))
    assert at(page, "message").get_by_role("alert").is_visible()


def test_files_that_cannot_be_restored(page: Any, tmp_path: Path):
    image = Image.new("RGB", (8, 8))
    image.save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("text")
    good = {"prompt": "x", "sampler_steps": 5, "cfg": 5, "aesthetic": "gone", "aesthetic_hash": "0" * 64, "seed": 1}
    good |= {"model": "another", "settings": {}}
    save_picture(image, tmp_path / "list.png", good | {"settings": [1]})
    save_picture(image, tmp_path / "large.png", good | {"sampler_steps": 10**9})
    save_picture(image, tmp_path / "unknown.png", good | {"settings": {"os.system": 1}})
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    save_picture(image, tmp_path / "gone.png", good)
    for name, words in {
        "plain.png": "plain.png holds no settings",
        "text.png": "text.png is not a picture",
        "list.png": "list.png is not a picture with settings",
        "large.png": "sampler steps should be a whole number between 1 and 100",
        "unknown.png": "unknown.png is not a picture with settings",
        "huge.png": "huge.png is too large: 9000 × 9000 pixels.",
        "bomb.png": "bomb.png is not a picture",
        "gone.png": "made with another; this studio runs pocket. Its aesthetic 'gone' is not here",
    }.items():
        at(page, "restore").locator("input[type=file]").set_input_files(tmp_path / name)
        assert words in said(page, re.escape(words[:20]))
        at(page, "restore").get_by_label("Remove this file").or_(
            at(page, "restore").get_by_label("Clear")
        ).first.click()
    assert at(page, "prompt").locator("textarea").input_value() == "x"


# ---- people ---------------------------------------------------------------------------------------------------------


def test_two_people_at_once_wait_in_turn_and_get_their_own(page: Any, again: Callable[[], Any], tmp_path: Path):
    other = again()
    ask(page, "a ship at sea", "glowwave", seed=1, count=2, sampler_steps=25)
    ask(other, "a chair in the snow", "gloomcore", seed=2, count=2, sampler_steps=5)
    at(page, "generate").click()
    said(page, "Picture")
    at(other, "generate").click()
    said(other, "Waiting: 1 before you")
    said(page, "Done in")
    said(other, "Done in")
    for each, prompt, aesthetic, seed in (
        (page, "a ship at sea", "glowwave", 1),
        (other, "a chair in the snow", "gloomcore", 2),
    ):
        about = read_metadata(download(each, tmp_path))
        assert (about["prompt"], about["aesthetic"], about["seed"]) == (prompt, aesthetic, seed)
        assert aesthetic in at(each, "message").inner_text()


def test_by_keyboard_alone(page: Any):
    prompt = at(page, "prompt").locator("textarea")
    ask(page, count=1, sampler_steps=2)
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        if prompt.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Control+A")
    page.keyboard.type("a fountain in a meadow")
    generate(page, lambda: page.keyboard.press("Enter"))
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Generate":
            break
    generate(page, lambda: page.keyboard.press("Space"))


def test_closing_a_page_cancels_its_job(page: Any, again: Callable[[], Any], studio: Any):
    other = again()
    ask(other, "a city at sea", count=8, sampler_steps=100)
    at(other, "generate").click()
    said(other, "Picture 1 of 16")
    other.close()
    end = time.monotonic() + 10
    while studio.engine._queue:
        assert time.monotonic() < end, "it goes on"
        time.sleep(0.05)
