"""Guidance at every step: the picture itself is steered while it is made, beside the tuned prompt or in its place.

    python -m pocket_model.guidance --work FOLDER [--picture FILE]

At each k-th step of the sampler the predicted clean latent is decoded, CLIP's image tower sees it, and the prediction
moves along the gradient of its cosine with a target. There is no gradient through the UNet. As in clip-guided diffusion
(the community pipeline of diffusers, disco-diffusion) CLIP sees cut-outs, so that it cannot be satisfied by single
pixels, and the strength falls with the noise. The gradient is scaled to a given length, since that of a cosine differs
a lot between steps and pictures.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from aesthetic_embeddings.diffusion.contact_sheet import sheet

from .evaluate import ADAM, HEADER, NORMALIZED, Bench, Condition, Evaluation, table, table_row
from .judge import pixels


@dataclass(frozen=True)
class Guidance:
    """How the predicted clean latent x0 moves.

    scale: the root-mean-square length of a move, at full noise. towards: "aesthetic", "prompt" (the tuned prompt's
    feature), or "both". every: which steps. until: the share of the steps that are guided; the UNet mends the others.
    cutouts: squares that CLIP sees besides the whole picture. coarse: over how many latents the gradient is averaged.
    """

    scale: float
    towards: str = "aesthetic"
    every: int = 2
    until: float = 0.8
    cutouts: int = 1
    coarse: int = 1


def uphill(x0: Tensor, objective: Callable[[Tensor], Tensor], coarse: int) -> Tensor:
    """The gradient of `objective(x0)`, `[n]`, at a root-mean-square length of one for each latent."""
    with torch.enable_grad():
        x0 = x0.detach().requires_grad_()
        (g,) = torch.autograd.grad(objective(x0).sum(), x0)
    if coarse > 1:
        g = F.interpolate(F.avg_pool2d(g, coarse), scale_factor=coarse, mode="bilinear")
    return g / g.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)


@contextmanager
def guided(pipeline: Any, objective: Callable[[Tensor], Tensor], guidance: Guidance) -> Iterator[None]:
    """Inside the block the pipeline's sampler moves its predictions along the gradient of the objective."""
    scheduler = pipeline.scheduler
    step = scheduler.step

    @functools.wraps(step)
    def guided_step(v: Tensor, t: Any, x: Tensor, **options: Any) -> Any:
        number = int((scheduler.timesteps == t).nonzero()[0])
        if number % guidance.every == 0 and number < guidance.until * len(scheduler.timesteps):
            sigma = (1 - scheduler.alphas_cumprod[int(t)]).sqrt().to(x)
            alpha = (1 - sigma.square()).clamp(min=0).sqrt()
            x0 = (alpha * x - sigma * v).float()
            v = v - guidance.scale * uphill(x0, objective, guidance.coarse).to(v)  # v = (alpha x - x0) / sigma
        return step(v, t, x, **options)

    scheduler.step = guided_step
    try:
        yield
    finally:
        del scheduler.step


def cut(pictures: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The pictures `[n, 3, size, size]`, and squares of them at random places, resized to the same size."""
    yield pictures
    size = pictures.shape[-1]
    for _ in range(count):
        side = int(size * (0.5 + 0.4 * torch.rand((), generator=generator)))
        top, left = (int(torch.randint(size - side + 1, (), generator=generator)) for _ in range(2))
        part = pictures[..., top : top + side, left : left + side]
        yield F.interpolate(part, size=(size, size), mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Guided(Condition):
    """A condition with guidance beside its tuning; `steps=0` of its settings leaves the prompt plain."""

    guidance: Guidance = Guidance(0.0)

    @property
    def key(self) -> str:
        return f"{super().key}-guided-" + "-".join(map(str, vars(self.guidance).values()))


class GuidedEvaluation(Evaluation):
    """The evaluation, with guidance in the conditions that have it."""

    def __init__(self, bench: Bench, split: str, work: Path) -> None:
        super().__init__(bench, split, work)
        bench.clip.requires_grad_(False)
        bench.pipeline.vae.requires_grad_(False)

    def images(self, condition: Condition, number: int) -> list[Image.Image]:
        made = self.conditionings(condition, number)
        if not isinstance(condition, Guided):
            return self.bench.pictures(made, self.first_seed)
        (e,) = self.target(condition, number).vectors.values()
        targets = F.normalize(e.float(), dim=-1).expand(len(made), -1)
        if condition.guidance.towards != "aesthetic":
            said = self.features(torch.cat(made))
            targets = said if condition.guidance.towards == "prompt" else F.normalize(said + targets, dim=-1)
        generator = torch.Generator().manual_seed(number)

        def objective(x0: Tensor) -> Tensor:
            vae = self.bench.pipeline.vae
            with torch.autocast("cpu", enabled=False):
                shown = vae.decode(x0 / vae.config.scaling_factor).sample.clamp(-1, 1)
                seen = [self.seen(part) for part in cut(shown, condition.guidance.cutouts, generator)]
            return torch.stack([(F.normalize(x.float(), dim=-1) * targets).sum(-1) for x in seen]).mean(0)

        with guided(self.bench.pipeline, objective, condition.guidance):
            return self.bench.pictures(made, self.first_seed)

    def seen(self, pictures: Tensor) -> Tensor:
        """CLIP's features of pictures in [-1, 1]."""
        clip = self.bench.clip
        return clip.visual_projection(clip.vision_model(pictures).pooler_output)

    @torch.no_grad()
    def features(self, hidden: Tensor) -> Tensor:
        """The unit features of conditionings `[n, length, width]`."""
        words = self.bench.pipeline.tokenizer(
            self.prompts, padding="max_length", max_length=hidden.shape[1], truncation=True, return_tensors="pt"
        ).input_ids
        ends = (words == self.bench.pipeline.tokenizer.eos_token_id).int().argmax(1)
        return F.normalize(self.bench.clip.text_projection(hidden[torch.arange(len(hidden)), ends]), dim=-1)


ALONE = (
    Condition("published", "mean", ADAM),
    Condition("contrast", "contrast", replace(NORMALIZED, steps=5)),
    Condition("contrast", "contrast", NORMALIZED),
)
TRIED = (Guidance(0.1), Guidance(0.3), Guidance(1.0), Guidance(0.3, coarse=4), Guidance(1.0, coarse=4))


def comparison(evaluation: GuidedEvaluation, number: int, count: int = 3) -> Image.Image:
    """Some prompts towards one look, with guidance alone and with tuning alone. A title has CLIP's mean cosine."""
    untuned = replace(NORMALIZED, steps=0)
    columns = {"plain": evaluation.plain}
    for scale in (1.0, 5.0):
        condition = Guided("", "contrast", untuned, Guidance(scale))
        columns[f"guidance {scale:g}"] = evaluation.images(condition, number)
    columns["tuning"] = evaluation.images(ALONE[-1], number)
    (e,) = evaluation.target(ALONE[-1], number).vectors.values()
    titles = []
    for name, images in columns.items():
        with torch.no_grad():
            features = evaluation.seen(pixels(images[:count])).float()
        titles.append(f"{name}\ncosine {F.cosine_similarity(features, e[None].float()).mean():.2f}")
    return sheet(list(zip(*columns.values(), strict=True))[:count], titles, evaluation.prompts[:count], cell=128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("report", "choose"), default="choose")
    parser.add_argument("--every", type=int, default=3, help="of the split's looks, take every so many")
    parser.add_argument("--work", type=Path, required=True, help="folder for what was measured already")
    parser.add_argument("--picture", type=Path, help="draw the comparison here, and measure nothing")
    options = parser.parse_args()
    evaluation = GuidedEvaluation(Bench(), options.split, options.work)
    evaluation.looks = evaluation.looks[:: options.every]
    if options.picture:
        comparison(evaluation, number=0).save(options.picture, optimize=True)
        return
    rows = []
    for alone in ALONE:
        rows.append(table_row(alone, evaluation.scores(alone)))
        for guidance in TRIED:
            name = f"with guidance {guidance.scale:g}" + (", coarse" if guidance.coarse > 1 else "")
            condition = Guided(name, alone.target, alone.settings, guidance)
            rows.append(table_row(condition, evaluation.scores(condition)))
    print("\n".join(table(HEADER, rows)))


if __name__ == "__main__":
    main()
