"""A node pack for tests of a real ComfyUI: writes conditioning to the folder of its own `out`."""

from pathlib import Path

import torch

OUT = Path(__file__).resolve().parent / "out"


class ConditioningProbe:
    CATEGORY = "tests"
    RETURN_TYPES = ()
    FUNCTION = "keep"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",), "name": ("STRING", {"default": "last"})}}

    def keep(self, conditioning, name):
        OUT.mkdir(exist_ok=True)
        (cond, more), *_ = conditioning
        torch.save({"cond": cond.clone().cpu(), "pooled": more["pooled_output"].clone().cpu()}, OUT / f"{name}.pt")
        return {"ui": {"text": [name]}}


NODE_CLASS_MAPPINGS = {"ConditioningProbe": ConditioningProbe}
