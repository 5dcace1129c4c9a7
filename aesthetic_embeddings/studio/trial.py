"""The button that tries an aesthetic which was just saved."""

from __future__ import annotations

import gradio as gr

from .state import QUIET, Studio, elem_id


def build(studio: Studio, name: str) -> gr.State:
    """Draw the button. It is shown once the state that is returned holds the name of an aesthetic."""
    saved = gr.State("")
    button = gr.Button("Try it now", variant="primary", visible=False, elem_id=elem_id(name))
    saved.change(lambda aesthetic: gr.update(visible=bool(aesthetic)), saved, button, **QUIET)
    button.click(lambda aesthetic: (aesthetic, studio.changed()), saved, studio.trial, **QUIET)
    return saved
