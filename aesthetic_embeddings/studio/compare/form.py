"""The widgets that ask for a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ... import pocket
from ...settings import STRENGTHS
from ...ui import text_fields, widgets
from ..state import QUIET, Studio, elem_id
from .request import GRID, LAYOUTS, MAX_ROWS, NUMBERS, PAIRS

EXAMPLES = ("a castle in a meadow", "a ship at sea", "a lighthouse in the snow", "an astronaut in the desert")
_SEEN_AT_ONCE = ("steps",)  # settings; the others are under "More"


@dataclass
class Form:
    """inputs: all that is asked for, by name. examples: buttons, with the inputs that each sets."""

    inputs: dict[str, Any] = field(default_factory=dict)
    examples: list[tuple[gr.Button, dict[str, Any]]] = field(default_factory=list)

    def draw(self, studio: Studio) -> None:
        """Draw what most people use."""
        names = studio.aesthetics()
        self.examples = _examples(studio, names)
        self.inputs["prompt"] = gr.Textbox(
            EXAMPLES[0], label="Prompt", lines=1, max_lines=4, max_length=text_fields.PROMPT, elem_id=elem_id("prompt")
        )
        self.inputs["aesthetic"] = gr.Dropdown(
            names,
            value=names[0] if names else None,
            label="Aesthetic",
            info="Or a mix, as gloomcore:0.7 cloudcore:0.3",
            allow_custom_value=True,
            elem_id=elem_id("aesthetic"),
        )
        for name in _SEEN_AT_ONCE:
            self.inputs[name] = widgets.setting(name, elem_id(name))
        self.inputs["layout"] = gr.Radio(list(LAYOUTS.items()), value=PAIRS, label="Show", elem_id=elem_id("layout"))
        self.inputs["grid"] = gr.Dropdown(
            names,
            value=names[:MAX_ROWS],
            multiselect=True,
            max_choices=MAX_ROWS,
            label="Aesthetics in the grid",
            visible=False,
            elem_id=elem_id("grid"),
        )
        self.inputs["layout"].change(
            lambda layout: gr.update(visible=layout == GRID),
            inputs=[self.inputs["layout"]],
            outputs=[self.inputs["grid"]],
            **QUIET,
        )

    def draw_more(self, studio: Studio) -> None:
        """Draw the rest."""
        with gr.Row():
            presets = widgets.preset_buttons(elem_id, min_width=90)
        self.inputs["negative_prompt"] = gr.Textbox(
            label="Negative prompt",
            info="Never personalized.",
            lines=1,
            max_length=text_fields.PROMPT,
            elem_id=elem_id("negative_prompt"),
        )
        with gr.Row():
            low, high, default, _ = NUMBERS["seed"]
            self.inputs["seed"] = gr.Number(
                default,
                precision=0,
                minimum=low,
                maximum=high,
                label="Seed",
                info="First seed; increments per image. -1: random.",
                elem_id=elem_id("seed"),
            )
            self._slider("count", "Pictures")
        with gr.Row():
            self._slider("sampler_steps", "Sampler steps")
            self._slider("cfg", "CFG", step=0.5)
        useless = {name for family, name in STRENGTHS.items() if family not in studio.engine.families}
        for name in widgets.FIELDS:
            if name not in self.inputs:
                self.inputs[name] = widgets.setting(name, elem_id(name), visible=name not in useless)
        widgets.connect_presets(presets, self.inputs, **QUIET)

    def _slider(self, name: str, label: str, step: float = 1) -> None:
        low, high, default, _ = NUMBERS[name]
        self.inputs[name] = gr.Slider(low, high, default, step=step, label=label, elem_id=elem_id(name))


def _examples(studio: Studio, names: list[str]) -> list[tuple[gr.Button, dict[str, Any]]]:
    examples = []
    with gr.Row(elem_id=elem_id("examples")):
        for i, (prompt, name) in enumerate(zip(EXAMPLES, names, strict=False)):
            bundled = sorted((pocket.SAMPLES / name).glob("*.png"))
            button = gr.Button(
                f"{prompt}, {name}",
                icon=bundled[0] if bundled else studio.library.preview(name),
                size="sm",
                min_width=100,
                elem_id=elem_id(f"example_{i}"),
            )
            examples.append((button, {"prompt": prompt, "aesthetic": name, "layout": PAIRS}))
    return examples
