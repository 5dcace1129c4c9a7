"""Runs JavaScript when a page opens."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import gradio as gr


def run_on_load(page: gr.Blocks, code: str) -> None:
    """Let the page call a JavaScript function when it opens."""
    load: Any = page.load
    name = "js" if "js" in inspect.signature(load).parameters else "_js"  # its name in gradio 3
    load(None, None, None, **{name: code})


def accept_folders(page: gr.Blocks, zone: str, limit: int) -> None:
    """Let a drop zone accept folders of up to `limit` files. zone: its element id."""
    code = Path(__file__).with_name("drop_folder.js").read_text(encoding="utf-8")
    run_on_load(page, f"() => ({code})('{zone}', {limit})")
