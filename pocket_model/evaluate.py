"""How well aesthetic gradients steer the pocket model: `python -m pocket_model.evaluate --work FOLDER`.

Towards 24 looks that no training picture had and no caption described, with 24 prompts each. A picture's style is right
as far as its change, from the plain picture of the same prompt and noise, points where the look itself changes
drawings: in standardized color statistics, and in the taste of a judge that had no part in training the model. Settings
are chosen on other looks and other prompts. What is measured is kept in FOLDER, so that a run can be taken up again.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

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
from .words import caption, look_words, prompt_subjects, prompts
from .world import draw

GUIDANCE, SAMPLING_STEPS = 4.0, 10
PICTURES = 30  # in the folder that an aesthetic is made of
DRAWING_SEED, ORDINARY_SEED = 50_000_000, 60_000_000
RIGHT = 0.5  # the cosine from which a change points the right way

ADAM = ae.Settings(update="adam", epsilon=1e-4)
NORMALIZED = ae.Settings(update="normalized", epsilon=1e-4, steps=10)


@dataclass(frozen=True)
class Condition:
    """One way to get a picture in a look. `target` says what is climbed.

    mean: of the look's pictures, as published. contrast: that mean less the mean of plain drawings. random: a random
    direction. words: nothing; the prompt says in words what the look is.
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
    """`[looks, prompts]` each: cosine of the colors' change, of the taste's, and whether the subject was kept."""

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
        """Of color statistics and of taste, over drawings of all kinds: the units in which changes are measured."""
        statistics, taste = self.seen([draw(random_scene(ORDINARY_SEED + i)) for i in range(300)])
        return statistics.std(0), taste.std(0)

    def seen(self, images: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """Color statistics and taste."""
        return color_statistics(images), self.judge.see(images)[2].numpy()

    @cache  # noqa: B019 - one bench a process
    def plain(self, prompt: str) -> torch.Tensor:
        with torch.no_grad():
            return self.pipeline.encode_prompt(prompt, "cpu", 1, False)[0]

    def tuned(self, prompt: str, embedding: ae.AestheticEmbedding, settings: ae.Settings) -> torch.Tensor:
        return ae.personalized_prompt(self.pipeline, prompt, embedding, settings).arguments["prompt_embeds"]

    def pictures(self, embeds: Sequence[torch.Tensor], first_seed: int) -> list[Image.Image]:
        """One picture for each conditioning, from seeds that count up from the first."""
        seeds = [torch.Generator().manual_seed(first_seed + i) for i in range(len(embeds))]
        with torch.autocast("cpu", torch.bfloat16):
            output = self.pipeline(
                prompt_embeds=torch.cat(list(embeds)),
                negative_prompt_embeds=self.plain("").expand(len(embeds), -1, -1),
                generator=seeds,
                guidance_scale=GUIDANCE,
                num_inference_steps=SAMPLING_STEPS,
            )
        return output.images


def drawings(look: Look, first_seed: int, count: int = PICTURES, style: str = PLAIN) -> list[Image.Image]:
    """Drawings of random subjects in random settings, the same for every look."""
    rng = random.Random(f"drawings {first_seed}")
    places = [(rng.choice(SUBJECTS), rng.choice(SETTINGS)) for _ in range(count)]
    return [draw(Scene(*place, style=style, look=look, seed=first_seed + i)) for i, place in enumerate(places)]


def difference(this: ae.AestheticEmbedding, other: ae.AestheticEmbedding) -> ae.AestheticEmbedding:
    """What sets the one apart from the other: the difference of the means."""
    vectors = {family: vector - other.vectors[family] for family, vector in this.vectors.items()}
    return ae.AestheticEmbedding(vectors, name=f"{this.name} apart")


def random_direction(like: ae.AestheticEmbedding, seed: int) -> ae.AestheticEmbedding:
    generator = torch.Generator().manual_seed(seed)
    vectors = {family: torch.randn(v.shape, generator=generator) for family, v in like.vectors.items()}
    return ae.AestheticEmbedding(vectors, name="random")


class Evaluation:
    """Scores of conditions on the looks and prompts of a split, kept on disk."""

    def __init__(self, bench: Bench, split: str, work: Path) -> None:
        self.bench, self.split, self.work = bench, split, work
        self.looks, self.prompts, self.subjects = held_out_looks(split), prompts(split), np.array(prompt_subjects())
        if split == "choose":  # enough to choose by
            self.prompts, self.subjects = self.prompts[::3], self.subjects[::3]
        self.first_seed = {"choose": 1000, "report": 2000}[split]
        work.mkdir(parents=True, exist_ok=True)

    @cached_property
    def plain(self) -> list[Image.Image]:
        return self.bench.pictures([self.bench.plain(p) for p in self.prompts], self.first_seed)

    @cached_property
    def aesthetics(self) -> list[tuple[ae.AestheticEmbedding, np.ndarray, np.ndarray]]:
        """For each look: the embedding of its pictures, and its own change in color and taste, standardized."""
        made, first = [], DRAWING_SEED + 100 * self.first_seed
        before = self.bench.seen(drawings(PLAIN_LOOK, first))
        for number, look in enumerate(self.looks):
            images = drawings(look, first)
            changes = [
                (after - b).mean(0) / unit
                for after, b, unit in zip(self.bench.seen(images), before, self.bench.spread, strict=True)
            ]
            made.append((self.bench.embedding(images, f"look {number}"), *changes))
        return made

    def conditionings(self, condition: Condition, number: int) -> list[torch.Tensor]:
        embedding = self.aesthetics[number][0]
        if condition.target == "words":
            words = [look_words(random.Random(f"words {i}"), self.looks[number]) for i in range(len(self.prompts))]
            return [self.bench.plain(", ".join([p, *said])) for p, said in zip(self.prompts, words, strict=True)]
        if condition.target == "contrast":
            embedding = difference(embedding, self.bench.ordinary)
        elif condition.target == "random":
            embedding = random_direction(embedding, number)
        return [self.bench.tuned(p, embedding, condition.settings) for p in self.prompts]

    def scores(self, condition: Condition) -> Scores:
        path = self.work / f"{self.split}-{condition.key}.npz"
        if not path.exists():
            rows: list[list[np.ndarray]] = []
            before = self.bench.seen(self.plain)
            for number in tqdm(range(len(self.looks)), desc=path.stem, mininterval=10):
                images = self.bench.pictures(self.conditionings(condition, number), self.first_seed)
                own = self.aesthetics[number][1:]
                cosine = [
                    cosines((after - b) / unit, change)
                    for after, b, unit, change in zip(
                        self.bench.seen(images), before, self.bench.spread, own, strict=True
                    )
                ]
                rows.append([*cosine, self.bench.judge.verdict(images)[0] == self.subjects])
            color, taste, subject = (np.stack(column) for column in zip(*rows, strict=True))
            np.savez(path, color=color, taste=taste, subject=subject)
        with np.load(path) as stored:
            return Scores(stored["color"], stored["taste"], stored["subject"])

    def plain_subjects(self) -> float:
        return float((self.bench.judge.verdict(self.plain)[0] == self.subjects).mean())


#: What is tried on the looks and prompts to choose by.
CANDIDATES = (
    *(Condition("published", "mean", replace(ADAM, steps=n)) for n in (5, 10, 20)),
    *(Condition("normalized", "mean", replace(NORMALIZED, epsilon=e)) for e in (5e-5, 1e-4)),
    *(Condition("preservation", "mean", replace(ADAM, steps=20, preservation=p)) for p in (0.1, 0.3)),
    *(Condition("contrast", "contrast", replace(ADAM, steps=n)) for n in (5, 10, 20)),
    *(Condition("contrast", "contrast", replace(NORMALIZED, epsilon=e)) for e in (5e-5, 1e-4)),
)
#: What is reported: of each kind the best of these, and what it is to be compared with.
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
    return ["| " + header + " |", "|" + " --- |" * columns, *("| " + row + " |" for row in rows), ""]


def described(condition: Condition) -> str:
    s = condition.settings
    if condition.target == "words":
        return condition.name
    kept = f", preservation {s.preservation:g}" if s.preservation else ""
    return f"{condition.name}: {s.update}, {s.epsilon:g}, n = {s.steps}{kept}"


def row(condition: Condition, scores: Scores) -> str:
    def share(values: np.ndarray) -> str:
        low, high = interval(values.astype(float))
        return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"

    cells = [
        described(condition),
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
    """How pictures and captions lie in the pocket CLIP's space."""
    unit = torch.nn.functional.normalize
    scenes = [random_scene(ORDINARY_SEED + 1000 + i) for i in range(400)]
    pixels = torch.from_numpy(np.stack([np.asarray(draw(scene)) for scene in scenes])).permute(0, 3, 1, 2) / 127.5 - 1
    pictures = unit(bench.clip.visual_projection(bench.clip.vision_model(pixels).pooler_output), dim=-1)
    said = [caption(scene, 0) for scene in scenes]
    ids = bench.pipeline.tokenizer(said, padding="max_length", truncation=True, return_tensors="pt").input_ids
    captions = unit(bench.clip.text_projection(bench.clip.text_model(ids).pooler_output), dim=-1)

    first = DRAWING_SEED + 1
    made = [drawings(PLAIN_LOOK, first, style=style) for style in AESTHETICS]
    made += [drawings(look, first) for look in held_out_looks("report")]
    vectors = unit(torch.stack([next(iter(bench.embedding(images).vectors.values())) for images in made]), dim=-1)
    (ordinary,) = bench.ordinary.vectors.values()
    cone = vectors @ unit(ordinary, dim=-1)
    apart = (vectors @ vectors.T)[tuple(torch.triu_indices(len(vectors), len(vectors), 1))]
    lines = [
        f"norm of the mean unit picture | {pictures.mean(0).norm():.2f}",
        f"norm of the mean unit caption | {captions.mean(0).norm():.2f}",
        f"cosine of a picture with its caption, mean | {(pictures * captions).sum(1).mean():.2f}",
        f"cosine of a picture with another's caption, mean | {(pictures * captions.roll(1, 0)).sum(1).mean():.2f}",
        "cosine of an aesthetic with the mean plain picture, lowest, median, highest | "
        f"{cone.min():.2f}, {cone.median():.2f}, {cone.max():.2f}",
        f"share of an aesthetic along the mean plain picture, median | {cone.square().median():.2f}",
        f"cosine of two aesthetics, median | {apart.median():.2f}",
        f"logit scale | {bench.clip.logit_scale.exp():.0f}",
    ]
    return table("of the pocket CLIP | value", lines)


def report(bench: Bench, work: Path, split: str) -> str:
    """The tables as Markdown."""
    evaluation = Evaluation(bench, split, work)
    conditions = CONDITIONS if split == "report" else CANDIDATES
    lines = table(HEADER, [row(condition, evaluation.scores(condition)) for condition in conditions])
    lines += [f"The judge sees the subject in {evaluation.plain_subjects():.2f} of the plain pictures.", ""]
    return "\n".join([*lines, *geometry(bench)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--judge", type=Path, default=judge.WEIGHTS)
    parser.add_argument("--split", choices=("report", "choose"), default="report", help="choose: what settings to use")
    parser.add_argument("--work", type=Path, required=True, help="folder for what was measured already")
    parser.add_argument("--output", type=Path, help="a Markdown file to write the report to as well")
    options = parser.parse_args()
    text = report(Bench(options.model, options.judge), options.work, options.split)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
