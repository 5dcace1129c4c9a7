"""The input widgets of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ...settings import STRENGTHS
from ...ui import messages, text_fields, widgets
from ..state import INTERNAL_EVENT, Studio, elem_id
from . import vocabulary
from .request import GRID, LAYOUTS, MAX_ROWS, NUMBERS, PAIRS, STRIP

#: Example prompt -> the bundled aesthetic that its button chooses.
EXAMPLES = {
    "a castle in a meadow": "cloudcore",
    "a ship at sea": "aivazovsky",
    "a lighthouse in the snow": "gloomcore",
    "a pyramid in the desert": "glowwave",
}
_MAIN_SETTINGS = ("steps",)  # the others are under "More"


@dataclass
class Form:
    """The input widgets, by name.

    folded: the names of the inputs under "More". examples: the example buttons, with the values that each sets.
    """

    inputs: dict[str, Any] = field(default_factory=dict)
    folded: list[str] = field(default_factory=list)
    examples: list[tuple[gr.Button, dict[str, Any]]] = field(default_factory=list)

    def build(self, studio: Studio) -> None:
        """Build the main inputs."""
        names = studio.supported_names()
        examples = example_prompts(names)
        self.examples = _example_buttons(studio, examples)
        prompt, aesthetic = next(iter(examples.items()), (next(iter(EXAMPLES)), None))
        self.inputs["prompt"] = gr.Textbox(
            prompt, label="Prompt", lines=1, max_lines=4, max_length=text_fields.PROMPT, elem_id=elem_id("prompt")
        )
        if studio.is_demo:
            _build_unknown_words_warning(studio, self.inputs["prompt"])
        self.inputs["aesthetic"] = gr.Dropdown(
            names,
            value=aesthetic,
            label="Aesthetic",
            info="Or a mix, as gloomcore:0.7 cloudcore:0.3",
            allow_custom_value=True,
            elem_id=elem_id("aesthetic"),
        )
        for name in _MAIN_SETTINGS:
            self.inputs[name] = widgets.setting(name, elem_id(name))
        self.inputs["layout"] = gr.Radio(list(LAYOUTS.items()), value=PAIRS, label="Show", elem_id=elem_id("layout"))
        self.inputs["grid"] = gr.Dropdown(
            names,
            value=names[:MAX_ROWS],
            multiselect=True,
            max_choices=MAX_ROWS,
            label="Aesthetics in the grid",
            allow_custom_value=True,  # one that is gone matters to a grid alone
            visible=False,
            elem_id=elem_id("grid"),
        )

    def build_more(self, studio: Studio) -> None:
        """Build the other inputs, under "More"."""
        main = [*self.inputs]
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
            minimum, maximum, default, _ = NUMBERS["seed"]
            self.inputs["seed"] = gr.Number(
                default,
                precision=0,
                minimum=minimum,
                maximum=maximum,
                label="Seed",
                info="First seed; increments per image. -1: random.",
                elem_id=elem_id("seed"),
            )
            self._slider("count", "Pictures")
        with gr.Row():
            self._slider("sampler_steps", "Sampler steps")
            self._slider("cfg", "CFG", step=0.5)
        unused = {name for family, name in STRENGTHS.items() if family not in studio.engine.families}
        for name in widgets.FIELDS:
            if name not in self.inputs:
                kwargs = {"max_length": text_fields.PROMPT} if name == "text" else {}
                self.inputs[name] = widgets.setting(name, elem_id(name), visible=name not in unused, **kwargs)
        self.folded = [name for name in self.inputs if name not in main]
        widgets.connect_presets(presets, self.inputs, **INTERNAL_EVENT)
        self._hide_unused()

    def _hide_unused(self) -> None:
        """Show only inputs that the layout uses: a strip has fixed steps, a grid its own aesthetics and one seed."""
        used = {"steps": (PAIRS, GRID), "aesthetic": (PAIRS, STRIP), "grid": (GRID,), "count": (PAIRS, STRIP)}
        self.inputs["layout"].change(
            lambda layout: [gr.update(visible=layout in layouts) for layouts in used.values()],
            inputs=[self.inputs["layout"]],
            outputs=[self.inputs[name] for name in used],
            **INTERNAL_EVENT,
        )

    def _slider(self, name: str, label: str, step: float = 1) -> None:
        minimum, maximum, default, _ = NUMBERS[name]
        self.inputs[name] = gr.Slider(minimum, maximum, default, step=step, label=label, elem_id=elem_id(name))


def example_prompts(names: Sequence[str]) -> dict[str, str]:
    """Example prompt -> an aesthetic from `names`."""
    bundled = {prompt: name for prompt, name in EXAMPLES.items() if name in names}
    return bundled or dict(zip(EXAMPLES, names, strict=False))


def _example_buttons(studio: Studio, examples: Mapping[str, str]) -> list[tuple[gr.Button, dict[str, Any]]]:
    buttons = []
    with gr.Row(elem_id=elem_id("examples")):
        for index, (prompt, name) in enumerate(examples.items()):
            button = gr.Button(
                f"{prompt}, {name}",
                icon=studio.library.preview(name),
                size="sm",
                min_width=100,
                elem_id=elem_id(f"example_{index}"),
            )
            buttons.append((button, {"prompt": prompt, "aesthetic": name, "layout": PAIRS}))
    return buttons


def _build_unknown_words_warning(studio: Studio, prompt: gr.Textbox) -> None:
    """Build the warning about words that the model may not know."""
    note = gr.HTML(visible=False, elem_id=elem_id("unknown_words"))

    def update(text: str) -> Any:
        sentence = vocabulary.warning(text[: text_fields.PROMPT], studio.engine.pipeline.tokenizer)
        return gr.update(visible=bool(sentence), value=messages.status(sentence))

    prompt.change(update, [prompt], [note], trigger_mode="always_last", **INTERNAL_EVENT)
