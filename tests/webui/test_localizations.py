"""Translations of the page, as hosts take them: text -> text (javascript/localization.js), equal in whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from .fake_host import Host

pytestmark = pytest.mark.parametrize("flavor", ["forge"])  # it has a piece more to download

FILES = sorted((Path(__file__).parents[2] / "localizations").glob("*.json"))
KEPT = {"None", "adam", "normalized", "gradient", "lerp", "slerp"}  # values, as the infotext and the API have them


def fixed_texts(host: Host) -> set[str]:
    """All that is written on both pages and among the settings, whatever the library holds."""
    with gr.Blocks() as page:
        host.webui("script").AestheticGradients().ui(False)
    tab = host.webui("tab").build()
    found: set[Any] = {"Aesthetic gradients", "Create aesthetic embedding"}  # the accordion, the tab
    for block in [*page.blocks.values(), *tab.blocks.values()]:
        found |= {getattr(block, name, None) for name in ("label", "info")}
        if isinstance(block, gr.Button) or "aesthetic-caption" in (block.elem_classes or ()):
            found.add(block.value)
        if isinstance(block, (gr.Radio, gr.CheckboxGroup)):
            found |= {choice[0] if isinstance(choice, tuple) else choice for choice in block.choices}
    for _, label, help, _, more in host.webui("options")._options().values():
        found |= {label, f"({help})", *more.get("choices", [])}  # in brackets: modules/options.py, OptionInfo.info
    return {text for text in found if text and text.isascii()} - KEPT


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_every_text_has_its_translation(host: Host, file: Path):
    translated = json.loads(file.read_text(encoding="utf-8"))
    texts = fixed_texts(host)
    assert sorted(texts - translated.keys()) == []
    assert sorted(translated.keys() - texts) == []
    assert all(isinstance(text, str) and text.strip() for text in translated.values())


def test_there_is_one(flavor: str):
    assert FILES
