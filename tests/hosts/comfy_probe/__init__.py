"""A node pack for tests of a real ComfyUI: writes conditioning to the folder of its own `out`."""

from pathlib import Path

import comfy.sd
import comfy.utils
import folder_paths
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


class FluxWithSmallT5:
    """Flux's CLIP from a file, beside a T5 of one layer that gives zeros: the real one takes 9 GB."""

    CATEGORY = "tests"
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"clip_name": (folder_paths.get_filename_list("text_encoders"),)}}

    def load(self, clip_name):
        weights = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("text_encoders", clip_name))
        small = {"t5xxl_model_config": {"num_layers": 1, "d_ff": 64}}
        clip = comfy.sd.load_text_encoder_state_dicts(
            [weights, {}], clip_type=comfy.sd.CLIPType.FLUX, model_options=small
        )
        with torch.no_grad():
            for parameter in clip.cond_stage_model.t5xxl.parameters():
                parameter.zero_()
        return (clip,)


NODE_CLASS_MAPPINGS = {"ConditioningProbe": ConditioningProbe, "FluxWithSmallT5": FluxWithSmallT5}
