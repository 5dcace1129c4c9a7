"""Whether the cheaper rule is as good: `normalized` beside `adam` on the pocket model, at equal step size and steps.

    python -m benchmarks.quality

25 prompts that no training saw, each towards every aesthetic. The similarity is the mean of the last ones. The shift is
by how much the judge's probability of the aesthetic rises over that of the plain picture of the same prompt and seed.
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
        found = []
        for update in ("adam", "normalized"):
            found.append(measured(bench, aesthetics, ae.Settings(steps=steps, epsilon=epsilon, update=update), plain))
        (s0, p0), (s1, p1) = found
        tqdm.write(f"| {epsilon:g} | {steps} | {s0:.3f} | {s1:.3f} | {p0:.3f} | {p1:.3f} |")


def measured(
    bench: Bench, aesthetics: dict[str, ae.AestheticEmbedding], settings: ae.Settings, plain: torch.Tensor
) -> tuple[float, float]:
    """Mean last similarity, and mean shift."""
    similarities, shifts = [], []
    for name, embedding in aesthetics.items():
        style, tuned = STYLES.index(name), []
        for prompt in PROMPTS:
            made = ae.personalized_prompt(bench.pipeline, prompt, embedding, settings)
            tuned.append(made.arguments["prompt_embeds"])
            similarities += [values[-1] for values in made.similarities.values()]
        shifts.append((probabilities(bench, tuned) - plain)[:, style].mean())
    return sum(similarities) / len(similarities), float(torch.stack(shifts).mean())


def probabilities(bench: Bench, embeds: list[torch.Tensor]) -> torch.Tensor:
    """The judge's, of each style, `[pictures, styles]`."""
    return bench.judge.see(bench.pictures(embeds, 1000))[1].softmax(-1)


if __name__ == "__main__":
    main()
