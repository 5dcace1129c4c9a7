"""Measures how well aesthetic gradients steer the pocket model: `python -m pocket_model.evaluate --work FOLDER`.

There are 24 looks that no training picture had and no caption described, with 24 prompts each. A picture's style is
right if its change from the plain picture of the same prompt and noise points in the direction in which the look
changes drawings. The direction is measured in standardized color statistics, and in the taste of a judge that had no
part in training the model. Settings are chosen on other looks and other prompts. Measurements are stored in FOLDER, so
that a run can be continued.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

import aesthetic_embeddings as ae
from aesthetic_embeddings.pocket import MODEL

from . import judge
from .looks import PLAIN_LOOK, Look, held_out_looks
from .measures import color_statistics, cosines, interval
from .scene import AESTHETICS, PLAIN, SETTINGS, SUBJECTS, Scene, random_scene
from .training.loop import autocast
from .words import caption, look_words, prompt_subjects, prompts
from .world import draw

GUIDANCE, SAMPLING_STEPS = 4.0, 10
PICTURES = 30  # of an aesthetic
DRAWING_SEED, ORDINARY_SEED = 50_000_000, 60_000_000
RIGHT = 0.5  # the cosine above which a change counts as right

ADAM = ae.Settings(update="adam", epsilon=1e-4)
NORMALIZED = ae.Settings(update="normalized", epsilon=1e-4, steps=10)


@dataclass(frozen=True)
class Condition:
    """One way to get a picture in a look. `target` is the direction of tuning.

    mean: the mean of the look's pictures, as published. contrast: that mean minus the mean of plain drawings. random: a
    random direction. words: no tuning; the prompt describes the look in words.
    """

    name: str
    target: str = "mean"
    settings: ae.Settings = ADAM

    @property
    def key(self) -> str:
        s = self.settings
        tuned = "" if self.target == "words" else f"-{s.update}-{s.epsilon:g}-{s.steps}-{s.preservation:g}"
        return f"{self.target}{tuned}"


@dataclass(frozen=True)
class Scores:
    """`[looks, prompts]` each: the cosine of the colors' change and of the taste's, and whether the subject is kept."""

    color: np.ndarray
    taste: np.ndarray
    subject: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return self.color > RIGHT

    @property
    def both(self) -> np.ndarray:
        return self.right & (self.subject > 0)


class Bench:
    """The pipeline, its CLIP, and the judge."""

    def __init__(self, model: Path = MODEL, weights: Path = judge.WEIGHTS) -> None:
        from diffusers import StableDiffusionPipeline
        from transformers import CLIPModel

        self.pipeline = StableDiffusionPipeline.from_pretrained(model)
        self.pipeline.set_progress_bar_config(disable=True)
        self.clip = CLIPModel.from_pretrained(model).float().eval()
        self.judge = judge.load(weights)

    def embedding(self, images: Sequence[Image.Image], name: str = "") -> ae.AestheticEmbedding:
        return ae.create(images, self.clip, name=name)

    @cached_property
    def ordinary(self) -> ae.AestheticEmbedding:
        return self.embedding(drawings(PLAIN_LOOK, ORDINARY_SEED, 100))

    @cached_property
    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """The deviations of color statistics and of taste over all kinds of drawings, as units for changes."""
        statistics, taste = self.measure([draw(random_scene(ORDINARY_SEED + i)) for i in range(300)])
        return statistics.std(0), taste.std(0)

    def measure(self, images: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """Color statistics and taste."""
        return color_statistics(images), self.judge.predict(images)[2].numpy()

    @cache  # noqa: B019 - one bench a process
    def plain(self, prompt: str) -> torch.Tensor:
        with torch.no_grad():
            return self.pipeline.encode_prompt(prompt, "cpu", 1, False)[0]

    def tuned(self, prompt: str, embedding: ae.AestheticEmbedding, settings: ae.Settings) -> torch.Tensor:
        return ae.personalized_prompt(self.pipeline, prompt, embedding, settings).arguments["prompt_embeds"]

    def pictures(self, embeds: Sequence[torch.Tensor], first_seed: int, same_noise: bool = False) -> list[Image.Image]:
        """One picture for each conditioning, with consecutive seeds or all from the first."""
        seeds = [torch.Generator().manual_seed(first_seed + (0 if same_noise else i)) for i in range(len(embeds))]
        with autocast():
            output = self.pipeline(
                prompt_embeds=torch.cat(list(embeds)),
                negative_prompt_embeds=self.plain("").expand(len(embeds), -1, -1),
                generator=seeds,
                guidance_scale=GUIDANCE,
                num_inference_steps=SAMPLING_STEPS,
            )
        return output.images


def drawings(look: Look, first_seed: int, count: int = PICTURES, style: str = PLAIN) -> list[Image.Image]:
    """Drawings of random subjects in random settings, which are the same for every look."""
    rng = random.Random(f"drawings {first_seed}")
    contents = [(rng.choice(SUBJECTS), rng.choice(SETTINGS)) for _ in range(count)]
    return [draw(Scene(*content, style=style, look=look, seed=first_seed + i)) for i, content in enumerate(contents)]


def difference(this: ae.AestheticEmbedding, other: ae.AestheticEmbedding) -> ae.AestheticEmbedding:
    """The difference of two means, which sets the first apart from the second."""
    vectors = {family: vector - other.vectors[family] for family, vector in this.vectors.items()}
    return ae.AestheticEmbedding(vectors, name=f"{this.name} apart")


def random_direction(like: ae.AestheticEmbedding, seed: int) -> ae.AestheticEmbedding:
    generator = torch.Generator().manual_seed(seed)
    vectors = {family: torch.randn(v.shape, generator=generator) for family, v in like.vectors.items()}
    return ae.AestheticEmbedding(vectors, name="random")


class Evaluation:
    """Scores of conditions on the looks and prompts of a split, cached on disk."""

    def __init__(self, bench: Bench, split: str, work: Path) -> None:
        self.bench, self.split, self.work = bench, split, work
        self.looks, self.prompts, self.subjects = held_out_looks(split), prompts(split), np.array(prompt_subjects())
        if split == "choose":  # enough for choosing settings
            self.prompts, self.subjects = self.prompts[::3], self.subjects[::3]
        self.first_seed = {"choose": 1000, "report": 2000}[split]
        work.mkdir(parents=True, exist_ok=True)

    @cached_property
    def plain(self) -> list[Image.Image]:
        return self.bench.pictures([self.bench.plain(prompt) for prompt in self.prompts], self.first_seed)

    @cached_property
    def aesthetics(self) -> list[tuple[ae.AestheticEmbedding, np.ndarray, np.ndarray]]:
        """For each look: the embedding of its pictures, and its standardized change of color and taste."""
        result, first_seed = [], DRAWING_SEED + 100 * self.first_seed
        before = self.bench.measure(drawings(PLAIN_LOOK, first_seed))
        for number, look in enumerate(self.looks):
            images = self.drawings(look, first_seed)
            changes = [
                (after - plain).mean(0) / unit
                for after, plain, unit in zip(self.bench.measure(images), before, self.bench.spread, strict=True)
            ]
            result.append((self.bench.embedding(images, f"look {number}"), *changes))
        return result

    def drawings(self, look: Any, first_seed: int) -> list[Image.Image]:
        """The drawings of an aesthetic. They show the same as those of other looks."""
        return drawings(look, first_seed)

    def target(self, condition: Condition, number: int) -> ae.AestheticEmbedding:
        """What the prompts are tuned towards for a look."""
        embedding = self.aesthetics[number][0]
        if condition.target == "contrast":
            return difference(embedding, self.bench.ordinary)
        return random_direction(embedding, number) if condition.target == "random" else embedding

    def conditionings(self, condition: Condition, number: int) -> list[torch.Tensor]:
        if condition.target == "words":
            words = [
                look_words(random.Random(f"words {index}"), self.looks[number]) for index in range(len(self.prompts))
            ]
            return [
                self.bench.plain(", ".join([prompt, *phrases]))
                for prompt, phrases in zip(self.prompts, words, strict=True)
            ]
        embedding = self.target(condition, number)
        return [self.bench.tuned(prompt, embedding, condition.settings) for prompt in self.prompts]

    def images(self, condition: Condition, number: int) -> list[Image.Image]:
        """A picture of each prompt in a look."""
        return self.bench.pictures(self.conditionings(condition, number), self.first_seed)

    def scores(self, condition: Condition) -> Scores:
        path = self.work / f"{self.split}-{condition.key}.npz"
        if not path.exists():
            rows: list[list[np.ndarray]] = []
            before = self.bench.measure(self.plain)
            for number in tqdm(range(len(self.looks)), desc=path.stem, mininterval=10):
                images = self.images(condition, number)
                look_changes = self.aesthetics[number][1:]
                cosine = [
                    cosines((after - plain) / unit, change)
                    for after, plain, unit, change in zip(
                        self.bench.measure(images), before, self.bench.spread, look_changes, strict=True
                    )
                ]
                rows.append([*cosine, self.bench.judge.classify(images)[0] == self.subjects])
            color, taste, subject = (np.stack(column) for column in zip(*rows, strict=True))
            np.savez(path, color=color, taste=taste, subject=subject)
        with np.load(path) as stored:
            return Scores(stored["color"], stored["taste"], stored["subject"])

    def plain_subjects(self) -> float:
        return float((self.bench.judge.classify(self.plain)[0] == self.subjects).mean())


#: The conditions on the split "choose".
CANDIDATES = (
    *(Condition("published", "mean", replace(ADAM, steps=n)) for n in (5, 10, 20)),
    *(Condition("normalized", "mean", replace(NORMALIZED, epsilon=e)) for e in (5e-5, 1e-4)),
    *(Condition("preservation", "mean", replace(ADAM, steps=20, preservation=p)) for p in (0.1, 0.3)),
    *(Condition("contrast", "contrast", replace(ADAM, steps=n)) for n in (5, 10, 20)),
    *(Condition("contrast", "contrast", replace(NORMALIZED, epsilon=e)) for e in (5e-5, 1e-4)),
)
#: The conditions on the split "report": the best candidate of each kind, and baselines.
CONDITIONS = (
    Condition("the look said in words", "words"),
    Condition("published", "mean", ADAM),
    Condition("normalized", "mean", NORMALIZED),
    Condition("preservation", "mean", replace(ADAM, steps=20, preservation=0.3)),
    Condition("contrast", "contrast", replace(ADAM, steps=5)),
    Condition("contrast", "contrast", NORMALIZED),
    Condition("random direction", "random", ADAM),
)


def table(header: str, rows: Sequence[str]) -> list[str]:
    columns = header.count("|") + 1
    return ["| " + header + " |", "|" + " --- |" * columns, *("| " + table_row + " |" for table_row in rows), ""]


def describe(condition: Condition) -> str:
    s = condition.settings
    if condition.target == "words":
        return condition.name
    kept = f", preservation {s.preservation:g}" if s.preservation else ""
    return f"{condition.name}: {s.update}, {s.epsilon:g}, n = {s.steps}{kept}"


def table_row(condition: Condition, scores: Scores) -> str:
    def share(values: np.ndarray) -> str:
        low, high = interval(values.astype(float))
        return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"

    cells = [
        describe(condition),
        f"{scores.color.mean():.2f}",
        share(scores.right),
        f"{scores.right.mean(1).min():.2f}",
        share(scores.taste > RIGHT),
        share(scores.subject),
        share(scores.both),
    ]
    return " | ".join(cells)


HEADER = "condition | color cosine | color right | worst look | taste right | subject kept | color and subject"


@torch.no_grad()
def geometry(bench: Bench) -> list[str]:
    """Statistics of pictures and captions in the pocket CLIP's space."""
    unit = torch.nn.functional.normalize
    scenes = [random_scene(ORDINARY_SEED + 1000 + i) for i in range(400)]
    pixels = torch.from_numpy(np.stack([np.asarray(draw(scene)) for scene in scenes])).permute(0, 3, 1, 2) / 127.5 - 1
    pictures = unit(bench.clip.visual_projection(bench.clip.vision_model(pixels).pooler_output), dim=-1)
    texts = [caption(scene, 0) for scene in scenes]
    ids = bench.pipeline.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    captions = unit(bench.clip.text_projection(bench.clip.text_model(ids).pooler_output), dim=-1)

    first_seed = DRAWING_SEED + 1
    image_sets = [drawings(PLAIN_LOOK, first_seed, style=style) for style in AESTHETICS]
    image_sets += [drawings(look, first_seed) for look in held_out_looks("report")]
    vectors = unit(torch.stack([next(iter(bench.embedding(images).vectors.values())) for images in image_sets]), dim=-1)
    (ordinary,) = bench.ordinary.vectors.values()
    cone = vectors @ unit(ordinary, dim=-1)
    between = (vectors @ vectors.T)[tuple(torch.triu_indices(len(vectors), len(vectors), 1))]
    lines = [
        f"norm of the mean unit picture | {pictures.mean(0).norm():.2f}",
        f"norm of the mean unit caption | {captions.mean(0).norm():.2f}",
        f"cosine of a picture with its caption, mean | {(pictures * captions).sum(1).mean():.2f}",
        f"cosine of a picture with another's caption, mean | {(pictures * captions.roll(1, 0)).sum(1).mean():.2f}",
        "cosine of an aesthetic with the mean plain picture, lowest, median, highest | "
        f"{cone.min():.2f}, {cone.median():.2f}, {cone.max():.2f}",
        f"share of an aesthetic along the mean plain picture, median | {cone.square().median():.2f}",
        f"cosine of two aesthetics, median | {between.median():.2f}",
        f"logit scale | {bench.clip.logit_scale.exp():.0f}",
    ]
    return table("of the pocket CLIP | value", lines)


def report(bench: Bench, work: Path, split: str) -> str:
    """The tables as Markdown."""
    evaluation = Evaluation(bench, split, work)
    conditions = CONDITIONS if split == "report" else CANDIDATES
    lines = table(HEADER, [table_row(condition, evaluation.scores(condition)) for condition in conditions])
    lines += [f"The judge sees the subject in {evaluation.plain_subjects():.2f} of the plain pictures.", ""]
    return "\n".join([*lines, *geometry(bench)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--judge", type=Path, default=judge.WEIGHTS)
    parser.add_argument(
        "--split", choices=("report", "choose"), default="report", help="choose: the split for choosing settings"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of cached measurements")
    parser.add_argument("--output", type=Path, help="a Markdown file to write the report to as well")
    options = parser.parse_args()
    text = report(Bench(options.model, options.judge), options.work, options.split)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
