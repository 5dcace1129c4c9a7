"""javascript/aesthetic_gradients.js in Chromium, on a real gradio page with the accordions of both tabs.

What the hosts' own scripts do is faked: `gradioApp`, `onUiLoaded`, and the hidden checkbox that follows the accordion.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aesthetic_embeddings.settings import Settings

gr = pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROOT = Path(__file__).resolve().parent.parent.parent
HOST = """
window.loaded = [];
window.gradioApp = () => document;
window.onUiLoaded = callback => loaded.push(callback);
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@contextlib.contextmanager
def input_accordion(value: bool, label: str, elem_id: str) -> Iterator[Any]:
    """modules/ui_components.py, InputAccordion; here its checkbox is seen, to be ticked."""
    with gr.Accordion(label, elem_id=elem_id, open=True):
        yield gr.Checkbox(value, label="on", elem_id=f"{elem_id}-checkbox")


def tool_button(value: str, tooltip: str = "", **more: Any) -> Any:
    return gr.Button(value, **more)


@pytest.fixture(scope="module")
def generated() -> list[dict[str, Any]]:
    """What the handler of each click on "Generate" was given, by name."""
    return []


@pytest.fixture(scope="module")
def url(generated: list[dict[str, Any]]) -> Iterator[str]:
    from aesthetic_embeddings.webui import accordion

    from .webui_page import launched

    library = SimpleNamespace(names=lambda: ["dusk", "pale sea"], entries=(), folders=[Path("folder")], refresh=int)
    with gr.Blocks(analytics_enabled=False) as page:
        for tab in ("txt2img", "img2img", "configured"):

            def elem_id(name: str, tab: str = tab) -> str:
                return f"script_{tab}_aesthetic_gradients_{name}"

            with gr.Column():
                parts = accordion.build(elem_id, library, input_accordion, tool_button, tab == "img2img")
                names = [name for name in parts if name not in ("hint", "about")]
                generate = gr.Button("Generate", elem_id=f"{tab}_generate")
                generate.click(  # what no event takes as an input, gradio does not let people change
                    lambda *values, names=names: generated.append(dict(zip(names, values, strict=True))),
                    inputs=[parts[name] for name in names],
                )
                # what a pasted infotext or a preset does
                gr.Button("Paste", elem_id=f"{tab}_paste").click(
                    lambda: gr.update(value=0.25), inputs=[], outputs=[parts["epsilon"]]
                )
            if tab == "configured":
                parts["epsilon"].value = 0.5  # what modules/ui_loadsave.py does for ui-config.json
    with launched(page) as address:
        yield address


@pytest.fixture
def page(url: str) -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 2400})
        page.set_default_timeout(10_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#script_img2img_aesthetic_gradients_steps input")
        page.add_script_tag(content=HOST)
        page.add_script_tag(path=ROOT / "javascript" / "aesthetic_gradients.js")
        page.evaluate("loaded.forEach(callback => callback())")
        yield page
        browser.close()
    assert errors == []


def part(page: Any, name: str, tab: str = "txt2img") -> Any:
    return page.locator(f"#script_{tab}_aesthetic_gradients_{name}").first


def header(page: Any, tab: str = "txt2img") -> Any:
    return playwright.expect(part(page, "accordion", tab).locator(".label-wrap > span").first)


FOLDS = {"negative": "advanced"}


def choose(page: Any, name: str, value: str, tab: str = "txt2img") -> None:
    if name in FOLDS and not part(page, name, tab).is_visible():
        part(page, f"{FOLDS[name]}_fold", tab).locator(".label-wrap").click()
    part(page, name, tab).locator("input").click()
    page.locator("ul.options li", has_text=value).first.click()


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_the_header_shows_what_is_on(page: Any, tab: str):
    header(page, tab).to_have_text("Aesthetic gradients")
    choose(page, "embedding", "pale sea", tab)
    header(page, tab).to_have_text("Aesthetic gradients")
    box = part(page, "accordion-checkbox", tab).locator("input")
    box.check()
    header(page, tab).to_have_text("Aesthetic gradients: pale sea, 10 steps, epsilon 0.0001")
    choose(page, "negative", "dusk", tab)
    header(page, tab).to_have_text("Aesthetic gradients: pale sea, negative dusk, 10 steps, epsilon 0.0001")
    part(page, "preset_2", tab).click()
    header(page, tab).to_have_text("Aesthetic gradients: pale sea, negative dusk, 20 steps, epsilon 0.0001")
    choose(page, "embedding", "None", tab)
    choose(page, "negative", "None", tab)
    header(page, tab).to_have_text("Aesthetic gradients: no embedding is chosen")
    box.uncheck()
    header(page, tab).to_have_text("Aesthetic gradients")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [("0.0001", "0.0001"), ("0.00001", "0.00001"), ("0.5", "0.5"), ("1", "1"), ("2e-4", "2e-4"), ("3.3e-7", "3.3e-7")],
)
def test_a_typed_epsilon_is_kept(page: Any, generated: list[dict[str, Any]], typed: str, shown: str):
    part(page, "accordion-checkbox").locator("input").check()
    choose(page, "embedding", "pale sea")
    number = epsilon(page)
    playwright.expect(number).to_have_value("0.0001")
    number.fill(typed)
    number.blur()
    page.wait_for_timeout(300)
    playwright.expect(number).to_have_value(shown)
    header(page).to_have_text(f"Aesthetic gradients: pale sea, 10 steps, epsilon {shown}")
    assert handed_over(page, generated) == float(typed)


@pytest.mark.parametrize(("tab", "value"), [("txt2img", 0.25), ("configured", 0.5)])
def test_an_epsilon_beyond_the_slider_is_sent(page: Any, generated: list[dict[str, Any]], tab: str, value: float):
    """It was pasted, or is the user's default."""
    if tab == "txt2img":
        page.locator("#txt2img_paste").click()
    playwright.expect(epsilon(page, tab)).to_have_value(str(value))
    epsilon(page, tab).focus()
    epsilon(page, tab).blur()
    page.wait_for_timeout(300)
    playwright.expect(epsilon(page, tab)).to_have_value(str(value))
    assert handed_over(page, generated, tab) == value


def test_epsilons_slider_shows_the_value_itself(page: Any, generated: list[dict[str, Any]]):
    part(page, "epsilon").locator("input[type=range]").press("ArrowRight")
    playwright.expect(epsilon(page)).to_have_value("0.00011")
    assert handed_over(page, generated) == 1.1e-4


def epsilon(page: Any, tab: str = "txt2img") -> Any:
    return part(page, "epsilon", tab).locator("input[type=number]")


def handed_over(page: Any, generated: list[dict[str, Any]], tab: str = "txt2img") -> float:
    """The epsilon that a click on "Generate" sends."""
    generated.clear()
    page.locator(f"#{tab}_generate").click()
    for _ in range(200):
        if generated:
            break
        page.wait_for_timeout(50)
    value: float = generated[-1]["epsilon"]
    return value


def test_a_preset_shows_its_epsilon(page: Any):
    part(page, "preset_0").click()
    playwright.expect(epsilon(page)).to_have_value("0.00005")


def test_steps_above_fifty_stay(page: Any):
    number = part(page, "steps").locator("input[type=number]")
    number.fill("80")
    number.blur()
    page.wait_for_timeout(300)
    playwright.expect(number).to_have_value("80")


def test_help_is_its_first_sentence_with_the_whole_as_a_tooltip(page: Any):
    page.evaluate("() => { window.onAfterUiUpdate = onUiLoaded }")
    page.add_script_tag(path=ROOT / "javascript" / "aesthetic_gradients_access.js")
    page.evaluate("for (let i = 0; i < 2; i++) loaded.forEach(callback => callback())")
    for name, first in (("steps", "Tuning steps before each picture."), ("embedding", "One embedding, or a mix: ")):
        shown = part(page, name).locator("[data-testid=block-info] + div").first
        assert shown.text_content().strip().startswith(first)
        assert (shown.text_content() == first) == (name == "steps")
    tooltip = part(page, "steps").locator("[data-testid=block-info] + div").first.get_attribute("title")
    assert tooltip == Settings.__dataclass_fields__["steps"].metadata["help"]


def test_a_page_without_the_accordion_is_left_alone(page: Any):
    page.evaluate("gradioApp = () => document.createElement('div')")
    page.wait_for_timeout(600)  # two more rounds; the fixture asserts that nothing was thrown
