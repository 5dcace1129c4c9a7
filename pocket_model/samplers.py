"""Samplers in place of Adam: several variants of one prompt, each from its own sample of the text encoder's weights.

    python -m pocket_model.samplers --work FOLDER [--picture FILE]

Every rule starts from Adam's step. Without temperature it is Adam, bit for bit.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import aesthetic_embeddings as ae
from aesthetic_embeddings.aesthetics.vectors import unit
from aesthetic_embeddings.diffusion.contact_sheet import sheet
from aesthetic_embeddings.diffusion.pipelines import clip_folder
from aesthetic_embeddings.text_encoder.all_at_once import AllAtOnce
from aesthetic_embeddings.text_encoder.missing_parts import with_missing_parts
from aesthetic_embeddings.text_encoder.prompt import Prompt
from aesthetic_embeddings.text_encoder.record import record_once
from aesthetic_embeddings.text_encoder.towers import Tower, find_tower
from aesthetic_embeddings.text_encoder.update_rules import Step

from .evaluate import ADAM, ORDINARY_SEED, RIGHT, Bench, Evaluation, difference, table
from .judge import pixels
from .measures import cosines
from .scene import random_scene
from .world import draw


@dataclass(frozen=True)
class Sampler:
    """How variants come about. All zero: Adam.

    temperature: of the noise at each step. damping: lambda of the preconditioner. repulsion: strength of the force
    between the variants' text features. cycles: of the step size in one chain, which gives a variant at the end of
    each; 0 for one chain per variant. start: the size of a random change of the weights before Adam's first step,
    relative to each weight's root mean square; the baseline.
    """

    temperature: float = 0.0
    damping: float = 1e-5
    repulsion: float = 0.0
    cycles: int = 0
    start: float = 0.0


def langevin_noise(v: Tensor, step: Step, sampler: Sampler, generator: torch.Generator) -> Tensor:
    """w += sqrt(2 eps T G) xi,   G = 1 / (lambda + sqrt(v / (1 - beta2^k))),   xi ~ N(0, I)

    (Li et al. 2016, arXiv 1512.07666, algorithm 1, with Adam's v, and without the small term Gamma.) Where v = 0 the
    objective does not depend on w, and w stays.
    """
    root = (v / (1 - 0.999**step.k)).sqrt()
    size = (2 * step.eps * sampler.temperature / (sampler.damping + root)).sqrt()
    return torch.where(v > 0, size, 0.0) * torch.randn(v.shape, generator=generator)


def cyclical(k: int, n: int, cycles: int, eps: float) -> float:
    """eps_k = eps / 2 (cos(pi mod(k - 1, ceil(n / M)) / ceil(n / M)) + 1)   (Zhang et al. 2019, equation 1)"""
    length = math.ceil(n / cycles)
    return eps / 2 * (math.cos(math.pi * ((k - 1) % length) / length) + 1)


def repulsion(c: Tensor) -> Tensor:
    """The force on each of the unit features `[n, dim]`:

    1/n sum_j grad_{c_j} k(c_j, c_i) = 1/n sum_j 2/h (c_i - c_j) k(c_j, c_i),   k(a, b) = exp(-||a - b||^2 / h)

    with h = median ||c_i - c_j||^2 / log n (Liu & Wang 2016; for SG-MCMC Gallego & Rios Insua 2018, arXiv 1812.00071).
    """
    apart = c[:, None] - c[None]
    distances = apart.square().sum(-1)
    h = (distances[~torch.eye(len(c), dtype=torch.bool)].median() / math.log(len(c))).clamp(min=1e-12)
    return (2 / h * apart * torch.exp(-distances / h)[..., None]).mean(1)


class Particle(AllAtOnce):
    """The weights of one variant."""

    def __init__(
        self, tower: Tower, prompt: Prompt, settings: ae.Settings, sampler: Sampler, generator: torch.Generator
    ) -> None:
        self.sampler, self.generator = sampler, generator
        super().__init__(tower, prompt, settings)
        if sampler.start:
            for w in self.theta.split(self.sizes):
                w += sampler.start * w.square().mean().sqrt() * torch.randn(w.shape, generator=generator)

    def set_step(self, k: int) -> None:
        super().set_step(k)
        if self.sampler.cycles and self.sampler.temperature:
            n = self.settings.steps
            self.step = replace(self.step, eps=cyclical(k, n, self.sampler.cycles, self.settings.epsilon))

    def ascend(self, objective: Tensor) -> None:
        step = self.step
        super().ascend(objective)
        if self.sampler.temperature:
            with torch.no_grad():
                self.theta += langevin_noise(self.moments[1], step, self.sampler, self.generator)


def variants(
    pipeline: Any, prompt: str, e: Tensor, settings: ae.Settings, sampler: Sampler, count: int, seed: int
) -> Iterator[Tensor]:
    """`count` conditionings of one prompt, each tuned towards e `[dim]` with as many gradients as `settings.steps`."""

    def encode() -> Tensor:
        return pipeline.encode_prompt(prompt, "cpu", 1, False)[0]

    tower, projection = with_missing_parts(find_tower(pipeline.text_encoder), clip_folder(pipeline))
    y = Prompt(tower, record_once(tower, encode))
    e = unit(e.double()).float()
    chains = 1 if sampler.cycles else count
    settings = replace(settings, steps=settings.steps * count // chains)
    generators = [torch.Generator().manual_seed(1000 * seed + i) for i in range(chains)]
    particles = [Particle(tower, y, settings, sampler, generator) for generator in generators]
    kept = []
    for k in range(settings.steps):
        features = [y.pooled(particle.hidden_states()) @ projection.T for particle in particles]
        similarities = [(c @ e / c.norm(dim=-1)).mean() for c in features]
        if sampler.repulsion:
            directions = torch.stack([unit(c).mean(0) for c in features])
            forces = sampler.repulsion * repulsion(directions.detach())
            similarities = [s + f @ c for s, f, c in zip(similarities, forces, directions, strict=True)]
        for particle, objective in zip(particles, similarities, strict=True):
            particle.ascend(objective)
        if sampler.cycles and (k + 1) % (settings.steps // sampler.cycles) == 0:
            kept.append(particles[0].theta.clone())
    for i in range(count):
        particle = particles[i % chains]
        if kept:
            particle.theta.detach().copy_(kept[i])
        with particle.tuned(()).applied(), torch.no_grad():
            yield encode()


# ---------------------------------------------------------------- how they compare

COUNT = 8  # variants of a prompt, all from the same noise


@dataclass(frozen=True)
class Trial:
    """A sampler, and how far it goes."""

    name: str
    sampler: Sampler
    settings: ae.Settings = ADAM

    @property
    def key(self) -> str:
        s = self.settings
        return "-".join(f"{x:g}" for x in (*vars(self.sampler).values(), s.epsilon, s.steps))


class Comparison(Evaluation):
    """Variants of some prompts of a split towards some of its looks, kept on disk."""

    def __init__(self, bench: Bench, split: str, work: Path, looks: int, prompts: int) -> None:
        super().__init__(bench, split, work)
        self.looks = self.looks[:: len(self.looks) // looks]
        every = len(self.prompts) // prompts
        self.prompts, self.subjects = self.prompts[::every], self.subjects[::every]

    @cached_property
    def spread(self) -> Tensor:
        """Of the judge's features, over drawings of all kinds."""
        return self.bench.judge.features(pixels([draw(random_scene(ORDINARY_SEED + i)) for i in range(100)])).std(0)

    def measured(self, trial: Trial) -> dict[str, float]:
        """Of the variants: the shares with the right color, taste and subject, and their mean pairwise distances."""
        path = self.work / f"{self.split}-{len(self.looks)}-{len(self.prompts)}-{trial.key}.npz"
        if not path.exists():
            places = itertools.product(range(len(self.looks)), range(len(self.prompts)))
            rows = [self.of_variants(trial, look, i) for look, i in places]
            np.savez(path, **{name: np.stack([row[name] for row in rows]) for name in rows[0]})
        with np.load(path) as stored:
            return {name: float(stored[name].mean()) for name in stored}

    def pictures(self, trial: Trial, look: int, i: int) -> list[Image.Image]:
        """The variants of prompt i, from the same noise."""
        pipeline, ordinary = self.bench.pipeline, self.bench.ordinary
        (d,) = difference(self.aesthetics[look][0], ordinary).vectors.values()
        made = list(variants(pipeline, self.prompts[i], d, trial.settings, trial.sampler, COUNT, seed=i))
        return self.bench.pictures(made, self.first_seed + i, same_noise=True)

    def of_variants(self, trial: Trial, look: int, i: int) -> dict[str, np.ndarray]:
        """Of the variants of prompt i: color, taste and subject right, `[8]`, and distances, `[28]`."""
        bench, own, images = self.bench, self.aesthetics[look][1:], self.pictures(trial, look, i)
        changes = zip(bench.measure(images), bench.measure([self.plain[i]]), bench.spread, own, strict=True)
        color, taste = (cosines((after - before) / scale, look) > RIGHT for after, before, scale, look in changes)
        with torch.no_grad():
            seen = pixels(images)
            judged = bench.judge.features(seen) / self.spread
            clip = unit(bench.clip.visual_projection(bench.clip.vision_model(seen).pooler_output))
        return {
            "color right": color,
            "taste right": taste,
            "subject kept": bench.judge.classify(images)[0] == self.subjects[i],
            "distance, judge": torch.pdist(judged).numpy(),
            "distance, CLIP": torch.pdist(clip).numpy(),
        }


TRIALS = (
    Trial("Adam", Sampler()),
    *(Trial(f"Adam from a random start, {x:g}", Sampler(start=x)) for x in (0.05, 0.1, 0.15, 0.2)),
    *(Trial(f"pSGLD, T = {t:g}", Sampler(temperature=t)) for t in (1e-6, 1e-5, 3e-5, 1e-4)),
    *(Trial(f"cyclical pSGLD, T = {t:g}", Sampler(temperature=t, cycles=COUNT)) for t in (1e-5, 1e-4)),
    *(Trial(f"repulsion {r:g}", Sampler(temperature=1e-8, repulsion=r)) for r in (0.01, 0.03, 0.1)),
)

SHOWN = TRIALS[4], TRIALS[8], TRIALS[9], TRIALS[11]  # one of each kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("report", "choose"), default="choose")
    parser.add_argument("--looks", type=int, default=4, help="how many of the split's")
    parser.add_argument("--prompts", type=int, default=4, help="how many of the split's")
    parser.add_argument("--work", type=Path, required=True, help="folder for what was measured already")
    parser.add_argument("--picture", type=Path, help="draw one prompt's variants here, and measure nothing")
    options = parser.parse_args()
    comparison = Comparison(Bench(), options.split, options.work, options.looks, options.prompts)
    if options.picture:
        rows = [comparison.pictures(trial, look=0, i=0) for trial in SHOWN]
        sheet(rows, labels=[trial.name for trial in SHOWN], cell=112).save(options.picture, optimize=True)
        return
    rows = [comparison.measured(trial) for trial in tqdm(TRIALS, mininterval=10)]
    cells = [
        " | ".join([trial.name, *(f"{x:.2f}" for x in row.values())]) for trial, row in zip(TRIALS, rows, strict=True)
    ]
    print("\n".join(table(" | ".join(["sampler", *rows[0]]), cells)))


if __name__ == "__main__":
    main()
