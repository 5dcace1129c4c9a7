"""The paper's experiment on the pocket model, scored also by its judge: `python -m pocket_model.paper --output FOLDER`.

25 prompts, six pictures each, the four aesthetics of the sample pictures. The judge (judge.py) had no part in
training the model. It adds the scores `subject`, whether the picture shows the prompt's subject, and `style NAME`, its
probability of each of the four styles. It is not installed with the package, so `aesthetic-gradients evaluate` does not
have these columns.
"""

from __future__ import annotations

import argparse
import functools
import re
from pathlib import Path

from PIL import Image
from tqdm import tqdm

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket

from . import judge
from .scene import STYLES, SUBJECTS


class PocketJudge:
    """Scores of a picture by the judge, for `ae.evaluate`."""

    def __call__(self, image: Image.Image, prompt: str) -> dict[str, float]:
        subject, style, _ = _judge().predict([image])
        predicted, expected = SUBJECTS[int(subject.argmax())], subject_of(prompt)
        probabilities = style.softmax(1)[0].tolist()
        scores = {
            f"style {name}": probability
            for name, probability in zip(STYLES, probabilities, strict=True)
            if name in pocket.AESTHETICS
        }
        return scores | ({} if expected is None else {"subject": float(predicted == expected)})


def subject_of(prompt: str) -> str | None:
    """The first of the world's subjects in the prompt, or None."""
    words = re.findall(r"[a-z]+", prompt.lower())
    return next((subject for word in words for subject in SUBJECTS if word in (subject, f"{subject}s")), None)


@functools.cache
def _judge() -> judge.Judge:
    return judge.load()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the results; a run in the same folder continues"
    )
    parser.add_argument("--prompts", type=int, default=len(pocket.PROMPTS), help="number of prompts")
    parser.add_argument("--images", type=int, default=6, help="images of each prompt")
    parser.add_argument("--steps", type=int, default=ae.Settings.steps)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    settings = ae.Settings(steps=options.steps)
    experiment = ae.Experiment(
        "pocket",
        [ae.create(pocket.SAMPLES / name, str(pocket.MODEL), name) for name in pocket.AESTHETICS],
        [ae.Variant("original"), ae.Variant("keyword"), ae.Variant("personalized", settings)],
        prompts=pocket.PROMPTS[: options.prompts],
        images=options.images,
    )
    with tqdm(mininterval=5) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        print(
            ae.evaluate(
                experiment,
                options.output,
                encoder="pocket",
                judge=PocketJudge(),
                jobs=options.jobs,
                on_progress=on_progress,
            )
        )


if __name__ == "__main__":
    main()
