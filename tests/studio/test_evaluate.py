"""The tab Evaluate, in Chromium: a tiny run, one that is cancelled and continued, and what is refused."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from aesthetic_embeddings.errors import AestheticError
from aesthetic_embeddings.studio.evaluate.run import make_evaluation

pytest.importorskip("scipy")


@pytest.fixture
def tab(page: Any) -> Any:
    page.get_by_role("tab", name="Evaluate").click()
    page.get_by_text("The paper's experiment on this model").wait_for()
    return page


def fill(page: Any, prompts: str, images: int, steps: int = 2) -> None:
    page.get_by_label("Prompts, one per line").fill(prompts)
    for name, value in (("images", images), ("steps", steps)):
        number = page.locator(f"#studio_evaluate_{name} input[type=number]")
        number.fill(str(value))
        number.press("Tab")


def test_a_tiny_run(tab: Any, tmp_path: Path):
    fill(tab, "a castle in a meadow\n\na ship at sea\na tree in the snow", 1)
    tab.locator("#studio_evaluate_start").click()
    tab.locator("#studio_evaluate_message progress").wait_for()
    tab.locator("#studio_evaluate_message").get_by_text("9 pictures.").wait_for()
    shown = tab.frame_locator("#studio_evaluate_results iframe")
    shown.get_by_role("heading", name="aivazovsky").wait_for()
    assert shown.locator(".row img").count() == 9
    assert shown.locator("table tr").count() == 5  # two scores of two variants
    tab.locator("#studio_evaluate_cancel").wait_for(state="hidden")
    with tab.expect_download() as download:
        tab.locator("#studio_evaluate_download").click()
    download.value.save_as(tmp_path / "all.zip")
    names = zipfile.ZipFile(tmp_path / "all.zip").namelist()
    assert {"index.html", "results.csv", "results.jsonl", "experiment.json"} <= set(names)
    assert len([name for name in names if name.endswith(".png")]) == 9


def test_what_was_cancelled_is_continued(tab: Any, studio: Any):
    fill(tab, "a lighthouse by the sea\na fountain in a meadow", 4)
    before = set(studio.folder.glob("evaluations/*"))
    tab.locator("#studio_evaluate_start").click()
    tab.locator("#studio_evaluate_message").get_by_text(re.compile("Picture [2-9] of 24")).wait_for()
    tab.locator("#studio_evaluate_cancel").click()
    tab.get_by_text("Cancelled. What is finished is kept: Start continues.").wait_for()
    (folder,) = set(studio.folder.glob("evaluations/*")) - before
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert 1 < len(made) < 24
    tab.locator("#studio_evaluate_start").click()
    tab.locator("#studio_evaluate_message").get_by_text("24 pictures.").wait_for()
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"names": []}, "Choose an aesthetic first"),
        ({"names": ["nothing"]}, "no aesthetic called 'nothing'"),
        ({"prompts": "\n \n"}, "There is no prompt"),
        ({"prompts": "a tree\n" * 10_000}, "10000 prompts are too many"),
        ({"prompts": "a" * 3000}, "at most 2000 characters"),
        ({"prompts": "a\n" * 100_000}, "The prompts can have at most 100000 characters"),
        ({"images": 0}, "1 to 12 pictures"),
        ({"prompts": "a tree\n" * 900}, "2700 pictures; there can be 2000"),
        ({"scorers": ["nobody"]}, "no scorer 'nobody'"),
        ({"steps": 5000}, "steps should lie between"),
    ],
)
def test_what_is_refused(studio: Any, changed: dict[str, Any], said: str):
    values = {"names": ["gloomcore"], "prompts": "a tree", "images": 1, "columns": ["keyword", "personalized"]}
    values |= {"scorers": [], "steps": 2, "epsilon": 1e-4}
    assert make_evaluation(studio, **values).pictures == 3
    with pytest.raises(AestheticError, match=said):
        make_evaluation(studio, **values | changed)
