"""What other extensions do to a job, on request: a request's `styles` name one of the functions below.

Written from what these extensions do, with nothing of theirs: the hosts ignore names of styles that they do not know.
"""

import copy

from modules import processing, scripts

OURS = "aesthetic gradients"
_undo = []


class Neighbours(scripts.Script):
    def title(self):
        return "Neighbours probe"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        while _undo:
            _undo.pop()()
        for name, action in (("probe region", _region), ("probe wrapper", _wrapper)):
            if name in p.styles and not hasattr(p, "inner"):
                action(p)

    def postprocess_image(self, p, pp, *args):
        for name, action in (("probe detailer", _detailer), ("probe copy", _copy)):
            if name in p.styles and not hasattr(p, "inner"):
                inner = action(p, pp.image)
                tuned = any("similarity" in comment for comment in inner.comments)
                p.comment(f"Neighbours probe: {name}, {'tuned' if tuned else 'plain'}")

    def postprocess(self, p, processed, *args):
        while _undo and not hasattr(p, "inner"):
            _undo.pop()()


def _detailer(p, image):
    """ADetailer, scripts/!adetailer.py: an inner job with some of the scripts and the outer one's own infotext; then
    the scripts' `process` again, for a copy of the outer job."""
    inner = processing.StableDiffusionProcessingImg2Img(
        init_images=[image],
        prompt=p.prompt,
        negative_prompt=p.negative_prompt,
        seed=p.seed,
        sampler_name=p.sampler_name,
        batch_size=1,
        n_iter=1,
        steps=2,
        width=64,
        height=64,
        denoising_strength=0.5,
        do_not_save_samples=True,
        do_not_save_grid=True,
        extra_generation_params=p.extra_generation_params,
    )
    inner.cached_c, inner.cached_uc = [None] * len(p.cached_c), [None] * len(p.cached_uc)
    inner.scripts, inner.script_args, inner.inner = _only_ours(p.scripts), list(p.script_args), True
    processing.process_images(inner)
    p.scripts.process(copy.copy(p))
    return inner


def _copy(p, image):
    """A whole job that is a copy of this one, methods on the instance and all."""
    inner = copy.copy(p)
    inner.scripts, inner.n_iter, inner.batch_size, inner.inner = _only_ours(p.scripts), 1, 1, True
    inner.comments = {}
    inner.prompt = inner.prompt[0] if isinstance(inner.prompt, list) else inner.prompt
    inner.do_not_save_samples = inner.do_not_save_grid = True
    processing.process_images(inner)
    return inner


def _only_ours(runner):
    runner = copy.copy(runner)
    runner.alwayson_scripts = [script for script in runner.alwayson_scripts if script.title().lower() == OURS]
    runner.callback_map = {}
    return runner


def _wrapper(p):
    """Methods of the job, wrapped on the instance."""
    conds, key = p.get_conds_with_caching, p.cached_params
    p.get_conds_with_caching = lambda *args, **kwargs: conds(*args, **kwargs)
    p.cached_params = lambda *args, **kwargs: (*key(*args, **kwargs), "neighbour")


def _region(p):
    """Regional Prompter in latent mode: an adapter that is on while one region's prompt is encoded."""
    model = p.sd_model
    forge = getattr(model, "forge_objects", None)
    encoder = forge.clip.cond_stage_model if forge else model.cond_stage_model
    fc1 = next(module for name, module in encoder.named_modules() if name.endswith("layers.0.mlp.fc1"))
    real, on = model.get_learned_conditioning, []

    def encode(texts):
        on[:] = ["sea" in texts[0]]
        return real(texts)

    hook = fc1.register_forward_hook(lambda _, __, out: out * 1.5 if any(on) else out)
    model.get_learned_conditioning = encode
    _undo.extend([hook.remove, lambda: model.__dict__.pop("get_learned_conditioning")])
