"""An extension for tests of a real host: writes what each sampling is conditioned on to the folder of its own `out`.

It also lets things fail: prompts with "sampling fails" in their sampling, with "memory fails" while they are tuned.
"""

import itertools
import sys
from pathlib import Path

import torch
from modules import scripts

FOLDER = Path(__file__).resolve().parents[1] / "out"
number = itertools.count()


class ConditioningProbe(scripts.Script):
    def title(self):
        return "Conditioning probe"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        for file in FOLDER.glob("*"):
            file.unlink()
        if "sampling fails" in p.prompt:
            p.sample = _sampling_fails
        conditioner = sys.modules.get("aesthetic_embeddings.webui.conditioner")
        if conditioner is not None:
            real = vars(conditioner).setdefault("probed", conditioner.personalize_each)
            conditioner.personalize_each = _memory_fails if "memory fails" in p.prompt else real

    def process_before_every_sampling(self, p, *args, **kwargs):
        hires = getattr(p, "is_hr_pass", False)
        c, uc = (p.hr_c, p.hr_uc) if hires else (p.c, p.uc)
        _save(f"{next(number):05}.pt", c, uc, hires=hires)

    def post_sample(self, p, ps, *args):
        _save("last.pt", p.c, p.uc)  # the refiner's, where there was one

    def postprocess(self, p, processed, *args):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "comments.txt").write_text("\n".join(p.comments), encoding="utf-8")
        torch.save(_encoder(p.sd_model), FOLDER / "encoder.pt")


def _sampling_fails(*args, **kwargs):
    raise RuntimeError("The probe lets sampling fail.")


def _memory_fails(*args, **kwargs):
    raise torch.cuda.OutOfMemoryError("The probe lets memory run out.")


def _encoder(model):
    """What the text encoder's modules are like: attributes, hooks, LoRAs, and each parameter."""
    if hasattr(model, "forge_objects"):
        encoder = model.forge_objects.clip.cond_stage_model
        patcher = model.forge_objects.clip.patcher
        loader = getattr(patcher, "lora_loader", None)  # Neo's patcher does it itself
        loras = (
            (sorted(patcher.patches), sorted(patcher.backup))
            if loader is None
            else (loader.loaded_hash, sorted(loader.backup), len(loader.online_backup))
        )
    else:
        encoder, loras = getattr(model, "conditioner", None) or model.cond_stage_model, None
    return {"loras": loras} | {
        name: (
            sorted(vars(module)),
            (len(module._forward_hooks), len(module._forward_pre_hooks), module.training),
            str(getattr(module, "network_current_names", None)),
            getattr(module, "network_weights_backup", None) is None,
            {key: _summary(x) for key, x in module._parameters.items()},
        )
        for name, module in encoder.named_modules()
    }


def _summary(x):
    if x is None:
        return None
    return (
        str(x.dtype),
        str(x.device),
        type(x).__name__,
        x.requires_grad,
        x.grad is None,
        float(x.detach().float().sum()),
    )


def _save(name, c, uc, **more):
    positive = [[_schedules(part.schedules) for part in parts] for parts in c.batch]
    negative = None if uc is None else [_schedules(schedules) for schedules in uc]
    FOLDER.mkdir(exist_ok=True)
    torch.save({"c": positive, "uc": negative, **more}, FOLDER / name)


def _schedules(schedules):
    with torch.inference_mode(False):
        return [_kept(cond) for _, cond in schedules]


def _kept(cond):
    """SDXL's has several parts."""
    if isinstance(cond, dict):
        return {name: _kept(part) for name, part in cond.items()}
    return cond.detach().clone().float().cpu()
