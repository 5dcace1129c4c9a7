"""The button that tries an aesthetic that was just saved."""

from __future__ import annotations

import gradio as gr

from .state import INTERNAL_EVENT, Studio, elem_id


def build(studio: Studio, button_id: str) -> gr.State:
    """Build the button, and return the state for the aesthetic's name. The button is visible once that is set."""
    saved = gr.State("")
    button = gr.Button("Try it now", variant="primary", visible=False, elem_id=elem_id(button_id))
    saved.change(lambda aesthetic: gr.update(visible=bool(aesthetic)), saved, button, **INTERNAL_EVENT)
    button.click(lambda aesthetic: (aesthetic, studio.next_version()), saved, studio.aesthetic_to_try, **INTERNAL_EVENT)
    return saved
