"""Compares the cheaper rule `normalized` with `adam` on the pocket model, at equal step size and steps.

    python -m benchmarks.quality

It uses 25 prompts that training never saw, each with every aesthetic. The similarity is the mean after the last step.
The shift is the rise of the judge's probability of the aesthetic over the plain picture of the same prompt and seed.
"""

from __future__ import annotations

import itertools

import torch
from tqdm import tqdm

import aesthetic_embeddings as ae
from aesthetic_embeddings.pocket import MODEL
from pocket_model.evaluate import DRAWING_SEED, Bench, drawings
from pocket_model.looks import PLAIN_LOOK
from pocket_model.scene import AESTHETICS, STYLES
from pocket_model.words import prompts

PROMPTS = [*prompts("report"), prompts("choose")[0]]
STEP_SIZES, STEPS = (2e-5, 5e-5, 1e-4), (5, 10, 20)


def main() -> None:
    bench = Bench(MODEL)
    aesthetics = {name: bench.embedding(drawings(PLAIN_LOOK, DRAWING_SEED, 100, name), name) for name in AESTHETICS}
    plain = probabilities(bench, [bench.plain(prompt) for prompt in PROMPTS])
    print(f"{len(PROMPTS)} prompts, {len(AESTHETICS)} aesthetics\n")
    print("| step size | steps | similarity, adam | normalized | shift, adam | normalized |")
    print("| --- | --- | --- | --- | --- | --- |")
    for epsilon, steps in tqdm(list(itertools.product(STEP_SIZES, STEPS))):
        measurements = []
        for update in ("adam", "normalized"):
            measurements.append(
                measure(bench, aesthetics, ae.Settings(steps=steps, epsilon=epsilon, update=update), plain)
            )
        (s0, p0), (s1, p1) = measurements
        tqdm.write(f"| {epsilon:g} | {steps} | {s0:.3f} | {s1:.3f} | {p0:.3f} | {p1:.3f} |")


def measure(
    bench: Bench, aesthetics: dict[str, ae.AestheticEmbedding], settings: ae.Settings, plain: torch.Tensor
) -> tuple[float, float]:
    """The mean similarity after the last step, and the mean shift."""
    similarities, shifts = [], []
    for name, embedding in aesthetics.items():
        style, tuned = STYLES.index(name), []
        for prompt in PROMPTS:
            tuned_prompt = ae.personalized_prompt(bench.pipeline, prompt, embedding, settings)
            tuned.append(tuned_prompt.arguments["prompt_embeds"])
            similarities += [values[-1] for values in tuned_prompt.similarities.values()]
        shifts.append((probabilities(bench, tuned) - plain)[:, style].mean())
    return sum(similarities) / len(similarities), float(torch.stack(shifts).mean())


def probabilities(bench: Bench, embeds: list[torch.Tensor]) -> torch.Tensor:
    """The judge's probability of each style, `[pictures, styles]`."""
    return bench.judge.predict(bench.pictures(embeds, 1000))[1].softmax(-1)


if __name__ == "__main__":
    main()
