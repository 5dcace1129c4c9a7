"""An extension for tests of a real SD.Next: writes what each pass is conditioned on to the folder of its own `out`."""

import itertools
from pathlib import Path

import torch
from modules import processing_diffusers, scripts

FOLDER = Path(__file__).resolve().parents[1] / "out"
number = itertools.count()


class ConditioningProbe(scripts.Script):
    def title(self):
        return "Conditioning probe"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        import gradio as gr

        return [gr.Checkbox(visible=False)]  # SD.Next runs no script without arguments

    def process(self, p, *args):
        FOLDER.mkdir(exist_ok=True)
        for file in FOLDER.glob("*"):
            file.unlink()
        real = vars(processing_diffusers).setdefault("probed", processing_diffusers.set_pipeline_args)

        def probed(*args, **kwargs):
            given = real(*args, **kwargs)
            tensors = {name: x.clone() for name, x in given.items() if "prompt_embeds" in name and x is not None}
            torch.save(tensors, FOLDER / f"{next(number):05}.pt")
            return given

        processing_diffusers.set_pipeline_args = probed

    def postprocess(self, p, processed, *args):
        (FOLDER / "comments.txt").write_text(str(processed.comments), encoding="utf-8")
