"""The tab Compare."""

from __future__ import annotations

import gradio as gr

from .state import Studio


def build(studio: Studio, page: gr.Blocks) -> None:
    """Draw it, inside its tab."""
    gr.Markdown("to come")
