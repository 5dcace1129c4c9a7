"""One lever in place of two? Whether tuning should end at a given state, instead of after a given number of steps.

    python -m pocket_model.reach FOLDER --model FOLDER/cone-0 --output reach-cone-0.pt
    python -m pocket_model.reach --tables reach-cone-0.pt

Three ways to end Adam's run for each prompt and aesthetic: after n steps, as published; at a share of the angle between
the prompt and the aesthetic (`reach`); and once the prompt's hidden states have moved a given share of their length
(`drift`). The last step is shortened so that the share is met. The levers are compared where they give the same mean
style: by the subjects that they keep, and by how evenly they style different aesthetics. What probes read is linear in
the hidden states, and is interpolated within a step.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from aesthetic_embeddings.pocket import MODEL

from .directions import EPSILON, TARGETS, Buffers, Lab, cosine, direction, readable, tune
from .scene import SUBJECTS

STEPS, COMPARED = 30, (5, 10, 15, 20)
Run = dict[str, Tensor]  # of each target: `[looks, steps + 1, prompts, ...]`


@torch.no_grad()
def watch(lab: Lab, target: str) -> Run:
    """Adam's runs towards every look: what the probes read at each step, the angle to the look, and the drift."""
    kind, share, _ = TARGETS[target]
    used = torch.arange(lab.batch.which.shape[1]) < lab.batch.ends[:, None]
    runs, buffers = [], Buffers()
    for e in lab.e[1:]:
        d = direction(e, lab.e[0], share, kind)
        with torch.enable_grad():
            states = tune(lab.batch, partial(cosine, d=d, less=torch.zeros(())), "adam", STEPS, EPSILON, buffers)
        h = torch.stack(states)
        read = [lab.probes(readable(each, lab.batch.ends)) for each in states]
        subject, _, color = (torch.stack(x) for x in zip(*read, strict=True))
        moved = ((h - h[0]).square().sum(-1) * used).sum(-1) / (h[0].square().sum(-1) * used).sum(-1)
        angle = torch.stack([(lab.batch.feature(each) @ d).clamp(-1, 1).acos() for each in states])
        runs.append({"subject": subject, "color": color, "drift": moved.sqrt(), "angle": angle})
    return {name: torch.stack([run[name] for run in runs]) for name in runs[0]}


def ended(run: Run, progress: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """What the probes read of subject and color where `progress` first reaches the share, `[looks, prompts, ...]`.

    progress: `[looks, steps + 1, prompts]`, 0 at first. A run that does not get there ends with its last step.
    """
    there = progress >= share
    k = torch.where(there.any(1), there.int().argmax(1), progress.shape[1] - 1).clamp(min=1)  # [looks, prompts]
    before, after = (progress.gather(1, x[:, None])[:, 0] for x in (k - 1, k))
    t = ((share - before) / (after - before).clamp(min=1e-9)).clamp(0, 1)[..., None]

    def at(x: Tensor) -> Tensor:
        low, high = (x.gather(1, i[:, None, :, None].expand(-1, 1, -1, x.shape[-1]))[:, 0] for i in (k - 1, k))
        return low + t * (high - low)

    return at(run["subject"]), at(run["color"])


def levers(run: Run) -> dict[str, Tensor]:
    """What each lever watches, `[looks, steps + 1, prompts]`, in units in which 1 is as far as it can go."""
    angle = run["angle"]
    steps = torch.arange(angle.shape[1])[None, :, None] / (angle.shape[1] - 1)
    gone = (1 - angle / angle[:, :1]).cummax(1).values
    return {"steps": steps.expand_as(angle), "reach": gone, "drift": run["drift"].cummax(1).values}


def measured(run: Run, change: Tensor, progress: Tensor, share: float) -> dict[str, float]:
    """Mean style, its spread over looks and over prompts, and the share of subjects that are kept."""
    subject, color = ended(run, progress, share)
    style = torch.einsum("lpc,lc->lp", color - run["color"][:, 0], change[1:]) / change[1:].square().sum(1)[:, None]
    right = subject.argmax(-1) == torch.arange(len(SUBJECTS))
    return {
        "style": float(style.mean()),
        "over looks": float(style.mean(1).std()),
        "over prompts": float(style.std(1).mean()),
        "subject": float(right.float().mean()),
    }


def table(run: Run, change: Tensor) -> list[str]:
    """For each number of steps: the other levers at the same mean style."""
    lines = ["| lever | mean style | its spread over aesthetics | over prompts | subjects lost |", "| --- " * 5 + "|"]
    watched = levers(run)
    for n in COMPARED:
        wanted = measured(run, change, watched["steps"], n / STEPS)["style"]
        for name, progress in watched.items():
            low, high = 0.0, float(progress.max())
            for _ in range(30):  # the mean style grows with the share, so bisect
                middle = (low + high) / 2
                short = measured(run, change, progress, middle)["style"] < wanted
                low, high = (middle, high) if short else (low, middle)
            got = measured(run, change, progress, high)
            value = f"n = {n}" if name == "steps" else f"{high:.2f}"
            lines.append(
                f"| {name} {value} | {got['style']:.2f} | {got['over looks']:.3f} | {got['over prompts']:.3f} | "
                f"{1 - got['subject']:.3f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("--model", type=Path, default=MODEL, help="by default the pocket model")
    parser.add_argument("--targets", nargs="*", default=["mean", "difference 1.0"], choices=list(TARGETS))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--tables", type=Path, nargs="*", default=[], help="what was saved by --output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.output:
        lab = Lab.open(options.work, options.model)
        runs = {target: watch(lab, target) for target in options.targets}
        torch.save({"change": lab.change, "runs": runs}, options.output)
    for file in options.tables:
        saved = torch.load(file, weights_only=True)
        for target, run in saved["runs"].items():
            print(f"\n{file.stem}, {target}\n")
            print("\n".join(table(run, saved["change"])))


if __name__ == "__main__":
    main()
