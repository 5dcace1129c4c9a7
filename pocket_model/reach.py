"""Tests whether tuning should stop at a given state, instead of after a given number of steps.

    python -m pocket_model.reach FOLDER --model FOLDER/cone-0 --output reach-cone-0.pt
    python -m pocket_model.reach --tables reach-cone-0.pt

Three rules for stopping Adam are compared, for each prompt and aesthetic: after n steps, as published; at a share of
the angle between the prompt and the aesthetic (`reach`); and when the prompt's hidden states have moved by a share of
their length (`drift`). The last step is shortened to meet the share exactly. The rules are compared at the same mean
style, by the subjects that they keep and by how evenly they style different aesthetics. Probes are linear in the hidden
states, so their outputs are interpolated within a step.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from aesthetic_embeddings.pocket import MODEL

from .directions import EPSILON, TARGETS, Buffers, Lab, cosine, direction, probe_input, tune
from .scene import SUBJECTS

STEPS, COMPARED = 30, (5, 10, 15, 20)
Run = dict[str, Tensor]  # quantity -> `[looks, steps + 1, prompts, ...]`


@torch.no_grad()
def watch(lab: Lab, target: str) -> Run:
    """Run Adam towards every look. Record at each step the probes' outputs, the angle to the look, and the drift."""
    kind, share, _ = TARGETS[target]
    in_use = torch.arange(lab.batch.token_index.shape[1]) < lab.batch.ends[:, None]
    runs, buffers = [], Buffers()
    for e in lab.e[1:]:
        d = direction(e, lab.e[0], share, kind)
        with torch.enable_grad():
            states = tune(lab.batch, partial(cosine, d=d, offset=torch.zeros(())), "adam", STEPS, EPSILON, buffers)
        h = torch.stack(states)
        readings = [lab.probes(probe_input(each, lab.batch.ends)) for each in states]
        subject, _, color = (torch.stack(x) for x in zip(*readings, strict=True))
        drift = ((h - h[0]).square().sum(-1) * in_use).sum(-1) / (h[0].square().sum(-1) * in_use).sum(-1)
        angle = torch.stack([(lab.batch.feature(each) @ d).clamp(-1, 1).acos() for each in states])
        runs.append({"subject": subject, "color": color, "drift": drift.sqrt(), "angle": angle})
    return {name: torch.stack([run[name] for run in runs]) for name in runs[0]}


def read_at(run: Run, progress: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The probes' outputs for subject and color where `progress` first reaches the share, `[looks, prompts, ...]`.

    progress: `[looks, steps + 1, prompts]`, starting at 0. A run that never reaches the share stops at its last step.
    """
    reached = progress >= share
    step = torch.where(reached.any(1), reached.int().argmax(1), progress.shape[1] - 1).clamp(min=1)  # [looks, prompts]
    before, after = (progress.gather(1, x[:, None])[:, 0] for x in (step - 1, step))
    fraction = ((share - before) / (after - before).clamp(min=1e-9)).clamp(0, 1)[..., None]

    def interpolated(x: Tensor) -> Tensor:
        low, high = (x.gather(1, i[:, None, :, None].expand(-1, 1, -1, x.shape[-1]))[:, 0] for i in (step - 1, step))
        return low + fraction * (high - low)

    return interpolated(run["subject"]), interpolated(run["color"])


def stopping_measures(run: Run) -> dict[str, Tensor]:
    """The quantity that each stopping rule observes, `[looks, steps + 1, prompts]`; 1 is its maximum."""
    angle = run["angle"]
    steps = torch.arange(angle.shape[1])[None, :, None] / (angle.shape[1] - 1)
    covered = (1 - angle / angle[:, :1]).cummax(1).values
    return {"steps": steps.expand_as(angle), "reach": covered, "drift": run["drift"].cummax(1).values}


def measure(run: Run, change: Tensor, progress: Tensor, share: float) -> dict[str, float]:
    """The mean style, its deviation over looks and over prompts, and the share of subjects that are kept."""
    subject, color = read_at(run, progress, share)
    style = torch.einsum("lpc,lc->lp", color - run["color"][:, 0], change[1:]) / change[1:].square().sum(1)[:, None]
    correct = subject.argmax(-1) == torch.arange(len(SUBJECTS))
    return {
        "style": float(style.mean()),
        "over looks": float(style.mean(1).std()),
        "over prompts": float(style.std(1).mean()),
        "subject": float(correct.float().mean()),
    }


def table(run: Run, change: Tensor) -> list[str]:
    """For each number of steps, the other rules at the same mean style."""
    lines = ["| rule | mean style | its spread over aesthetics | over prompts | subjects lost |", "| --- " * 5 + "|"]
    measures = stopping_measures(run)
    for n in COMPARED:
        target_style = measure(run, change, measures["steps"], n / STEPS)["style"]
        for name, progress in measures.items():
            low, high = 0.0, float(progress.max())
            for _ in range(30):  # the mean style grows with the share, so bisect
                middle = (low + high) / 2
                too_low = measure(run, change, progress, middle)["style"] < target_style
                low, high = (middle, high) if too_low else (low, middle)
            result = measure(run, change, progress, high)
            value = f"n = {n}" if name == "steps" else f"{high:.2f}"
            cells = (result["style"], result["over looks"], result["over prompts"], 1 - result["subject"])
            lines.append("| {} {} | {:.2f} | {:.3f} | {:.3f} | {:.3f} |".format(name, value, *cells))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("--model", type=Path, default=MODEL, help="by default the pocket model")
    parser.add_argument("--targets", nargs="*", default=["mean", "difference 1.0"], choices=list(TARGETS))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--tables", type=Path, nargs="*", default=[], help="files saved with --output")
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
