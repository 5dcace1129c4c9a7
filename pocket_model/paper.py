"""The paper's experiment on the pocket model, scored also by its judge: `python -m pocket_model.paper --output FOLDER`.

25 prompts, six pictures each, the four aesthetics of the sample pictures. The judge (judge.py) had no part in making
the model; it adds `subject`, whether the picture shows what the prompt says, and `style NAME`, the probability that it
gives to each of the four. It is not installed with the package, so `aesthetic-gradients evaluate` has no such columns.
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
        subject, style, _ = _judge().see([image])
        shown, wanted = SUBJECTS[int(subject.argmax())], subject_of(prompt)
        likely = style.softmax(1)[0].tolist()
        scores = {f"style {name}": p for name, p in zip(STYLES, likely, strict=True) if name in pocket.AESTHETICS}
        return scores | ({} if wanted is None else {"subject": float(shown == wanted)})


def subject_of(prompt: str) -> str | None:
    """The first of the world's subjects that the prompt names; None where it names none."""
    words = re.findall(r"[a-z]+", prompt.lower())
    return next((subject for word in words for subject in SUBJECTS if word in (subject, f"{subject}s")), None)


@functools.cache
def _judge() -> judge.Judge:
    return judge.load()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the results; the same one continues")
    parser.add_argument("--prompts", type=int, default=len(pocket.PROMPTS), help="how many")
    parser.add_argument("--images", type=int, default=6, help="of each prompt")
    parser.add_argument("--steps", type=int, default=ae.Settings.steps)
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    settings = ae.Settings(steps=chosen.steps)
    experiment = ae.Experiment(
        "pocket",
        [ae.create(pocket.SAMPLES / name, str(pocket.MODEL), name) for name in pocket.AESTHETICS],
        [ae.Variant("original"), ae.Variant("keyword"), ae.Variant("personalized", settings)],
        prompts=pocket.PROMPTS[: chosen.prompts],
        images=chosen.images,
    )
    with tqdm(mininterval=5) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        print(
            ae.evaluate(
                experiment,
                chosen.output,
                encoder="pocket",
                judge=PocketJudge(),
                jobs=chosen.jobs,
                on_progress=on_progress,
            )
        )


if __name__ == "__main__":
    main()
