"""How well the pocket model and aesthetic gradients do: `python -m pocket_model.evaluate`.

Everything is measured on drawings and seeds that no training saw, by a judge that had no part in training the model.
Settings are chosen on other prompts than those that are reported.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

import aesthetic_embeddings as ae
from aesthetic_embeddings.pocket import MODEL

from . import judge
from .words import AESTHETICS, PLAIN, SETTINGS, STYLES, SUBJECTS, prompt_subjects, prompts
from .world import Scene, draw, random_scene

GUIDANCE, SAMPLING_STEPS = 5.0, 20
EMBEDDING_SEED, RECONSTRUCTION_SEED = 50_000_000, 60_000_000
STEPS = (0, 5, 8, 10, 15, 20)
ADAM = ae.Settings(update="adam", epsilon=1e-4)
NORMALIZED = [ae.Settings(update="normalized", epsilon=size, steps=20) for size in (2e-5, 3e-5, 5e-5)]
PRESERVING = [ae.Settings(update="adam", epsilon=1e-4, steps=20, preservation=p) for p in (0.3, 1.0, 3.0)]

CONDITIONS = len(STEPS) - 1 + len(NORMALIZED) + len(PRESERVING) + 5 + len(STEPS)  # each for every aesthetic
SCORES = 1 + len(AESTHETICS) * CONDITIONS


@dataclass(frozen=True)
class Score:
    """Shares of the pictures that have the right style, the right subject, and both."""

    style: float
    subject: float
    both: float

    def __str__(self) -> str:
        return f"{self.style:.2f} | {self.subject:.2f} | {self.both:.2f}"


def mean(scores: Iterable[Score]) -> Score:
    rows = np.array([(s.style, s.subject, s.both) for s in scores])
    return Score(*rows.mean(0).tolist())


class Studio:
    """The pipeline, the judge, and the aesthetics of held-out drawings."""

    def __init__(self, model: Path) -> None:
        from diffusers import StableDiffusionPipeline

        self.model = model
        self.pipeline = StableDiffusionPipeline.from_pretrained(model)
        self.pipeline.set_progress_bar_config(disable=True)
        self.judge = judge.load()
        self.bar = tqdm(desc="report", total=SCORES, unit="score")
        self.embeddings = {style: ae.create(renders(style), model, name=style) for style in STYLES}

    @cache  # noqa: B019 - one studio a process
    def conditioning(self, prompt: str, embedding: ae.AestheticEmbedding | None, settings: ae.Settings) -> torch.Tensor:
        if embedding is None:
            return self.pipeline.encode_prompt(prompt, "cpu", 1, False)[0]
        return ae.personalized_prompt(self.pipeline, prompt, embedding, settings).arguments["prompt_embeds"]

    def pictures(self, embeds: Sequence[torch.Tensor], first_seed: int) -> list[Image.Image]:
        seeds = [torch.Generator().manual_seed(first_seed + i) for i in range(len(embeds))]
        negative = self.conditioning("", None, ADAM).expand(len(embeds), -1, -1)
        output = self.pipeline(
            prompt_embeds=torch.cat(list(embeds)),
            negative_prompt_embeds=negative,
            generator=seeds,
            guidance_scale=GUIDANCE,
            num_inference_steps=SAMPLING_STEPS,
        )
        return output.images

    def score(
        self, split: str, style: str, texts: list[str], embedding: ae.AestheticEmbedding | None, settings: ae.Settings
    ) -> Score:
        """Of one picture for each text, judged against `style` and the split's subjects."""
        first_seed = 1000 * (1 + STYLES.index(style)) + (500 if split == "report" else 0)
        found = self.judge.verdict(
            self.pictures([self.conditioning(t, embedding, settings) for t in texts], first_seed)
        )
        self.bar.update()
        subject, right = found[0] == prompt_subjects(), found[1] == STYLES.index(style)
        return Score(float(right.mean()), float(subject.mean()), float((right & subject).mean()))

    def personalised(self, split: str, settings: ae.Settings) -> dict[str, Score]:
        """One score for every aesthetic."""
        return {a: self.score(split, a, prompts(split), self.embeddings[a], settings) for a in AESTHETICS}


def renders(style: str, count: int = 100) -> list[Image.Image]:
    """Held-out drawings of one style."""
    rng = random.Random(f"renders {style}")
    first = EMBEDDING_SEED + 1000 * STYLES.index(style)
    return [draw(Scene(rng.choice(SUBJECTS), rng.choice(SETTINGS), style, seed=first + i)) for i in range(count)]


def random_direction(like: ae.AestheticEmbedding) -> ae.AestheticEmbedding:
    """An embedding of nothing: a random vector of unit norm."""
    generator = torch.Generator().manual_seed(0)
    vectors = {
        family: torch.nn.functional.normalize(torch.randn(v.shape, generator=generator), dim=-1)
        for family, v in like.vectors.items()
    }
    return ae.AestheticEmbedding(vectors, name="random")


@torch.no_grad()
def reconstructed_subjects(studio: Studio, count: int = 600) -> float:
    """Share of drawings whose subject the judge still sees after the autoencoder."""
    scenes = [random_scene(RECONSTRUCTION_SEED + i) for i in range(count)]
    pixels = torch.from_numpy(np.stack([np.asarray(draw(s)) for s in scenes])).permute(0, 3, 1, 2) / 127.5 - 1
    vae = studio.pipeline.vae
    output = torch.cat([vae.decode(vae.encode(part).latents).sample for part in pixels.split(100)])
    images = [Image.fromarray(p) for p in ((output.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()]
    return float((studio.judge.verdict(images)[0] == [SUBJECTS.index(s.subject) for s in scenes]).mean())


def best(studio: Studio, candidates: Sequence[ae.Settings], value: Callable[[dict[str, Score]], float]) -> ae.Settings:
    """The settings that do best on the prompts for choosing, by `value` of the aesthetics' scores."""
    return max(candidates, key=lambda settings: value(studio.personalised("choose", settings)))


def both_right(scores: dict[str, Score]) -> float:
    return mean(scores.values()).both


def subject_at_style(scores: dict[str, Score]) -> float:
    """The subject's share, where the style's is about .8 or more."""
    score = mean(scores.values())
    return score.subject - 10 * max(0.0, 0.82 - score.style)


def table(header: str, rows: Iterable[str]) -> list[str]:
    columns = header.count("|") + 1
    return ["| " + header + " |", "|" + " --- |" * columns, *("| " + row + " |" for row in rows), ""]


def report(model: Path) -> str:
    """The whole report as Markdown."""
    studio = Studio(model)
    lines = ["# The pocket model, measured", ""]
    words = prompts("report")

    started = time.perf_counter()
    studio.pictures([studio.conditioning(words[0], None, ADAM)], 0)
    seconds = time.perf_counter() - started

    plain = studio.score("report", PLAIN, words, None, ADAM)
    named = {a: studio.score("report", a, [f"{w}, {a} style" for w in words], None, ADAM) for a in AESTHETICS}
    nothing = random_direction(studio.embeddings[PLAIN])
    adam = best(studio, [replace(ADAM, steps=n) for n in STEPS[1:]], both_right)
    normalized = best(studio, NORMALIZED, both_right)
    preserving = best(studio, PRESERVING, subject_at_style)
    aimless = {a: studio.score("report", a, words, nothing, adam) for a in AESTHETICS}
    rows = {
        "plain prompt": {PLAIN: plain},
        "aesthetic named in the prompt": named,
        f"adam, step size 1e-4, n = {adam.steps}": studio.personalised("report", adam),
        f"normalized, step size {normalized.epsilon:g}, n = {normalized.steps}": studio.personalised(
            "report", normalized
        ),
        f"adam, n = {preserving.steps}, preservation {preserving.preservation:g}": studio.personalised(
            "report", preserving
        ),
        f"a random direction, adam, n = {adam.steps}": aimless,
    }
    each = " | ".join(AESTHETICS)
    lines += table(
        f"condition | style | subject | both | both for {each}",
        (
            f"{name} | {mean(scores.values())} | "
            + " | ".join(f"{scores[a].both:.2f}" if a in scores else "" for a in AESTHETICS)
            for name, scores in rows.items()
        ),
    )
    lines += ["## adam, step size 1e-4: the trade-off over n", ""]
    sweep = {}
    for n in STEPS:
        sweep[n] = studio.personalised("report", replace(ADAM, steps=n))
    lines += table("n | style | subject | both", (f"{n} | {mean(scores.values())}" for n, scores in sweep.items()))
    lines += [
        f"Subject still seen after the autoencoder: {reconstructed_subjects(studio):.3f} of 600 drawings.",
        f"One picture: {seconds:.2f} s on {torch.get_num_threads()} threads.",
        f"{SAMPLING_STEPS} DDIM steps, guidance {GUIDANCE:g}; 24 prompts, one picture for each aesthetic and row; "
        "embeddings of 100 held-out drawings.",
        "",
    ]
    studio.bar.close()
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--output", type=Path, help="a Markdown file to write the report to as well")
    options = parser.parse_args()
    text = report(options.model)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
