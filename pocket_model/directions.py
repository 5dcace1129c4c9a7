"""Compares directions of tuning by style and subject, with linear probes on the text encoder's hidden states.

    python -m pocket_model.directions FOLDER --model FOLDER/cone-0 --output found.pt

FOLDER holds the drawings and the tokenizer of `pocket_model.train --work`; the model is the pocket model's, or one of
`small_clip`. A plain loop tunes many prompts at once, towards looks that captions name and looks that training never
saw. The probes are fitted on the hidden states of captions, and predict the subject, the style's name, and color
statistics of the picture. `direction_tables` makes tables of the results. A run continues from its output file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import CLIPModel

from aesthetic_embeddings.pocket import MODEL
from aesthetic_embeddings.text_encoder.update_rules import Step, adam

from . import small_clip
from .evaluate import DRAWING_SEED, ORDINARY_SEED, drawings
from .looks import PLAIN_LOOK, held_out_looks
from .measures import color_statistics
from .scene import PLAIN, STYLES, SUBJECTS
from .training import data, tokenizer
from .training.loop import as_tensor
from .words import prompts

STEPS = (5, 10, 20)
EPSILON = 1e-4
PROMPTS = prompts("report")[::2]  # one of each subject
FITTED, CHECKED = 6_000, 1_000  # captions for fitting and for checking the probes


def looks() -> list[list[Image.Image]]:
    """Pictures of each look: ordinary ones, then the named styles, then looks that no training picture had."""
    first = DRAWING_SEED + 700_000
    return [
        drawings(PLAIN_LOOK, ORDINARY_SEED, 100),
        *(drawings(PLAIN_LOOK, first, style=style) for style in STYLES[1:]),
        *(drawings(look, first) for look in held_out_looks("report")[::2]),
    ]


# ---------------------------------------------------------------- a text tower with weights for each of many prompts


class Batch:
    """One CLIP text tower with a copy of its weights for each prompt: `weights[name]` is `[prompts, ...]`."""

    def __init__(self, model: CLIPModel, ids: Tensor, eos: int) -> None:
        text, count = model.text_model, len(ids)
        self.heads, self.depth = text.config.num_attention_heads, text.config.num_hidden_layers
        self.ends, self.projection = (ids == eos).int().argmax(1), model.text_projection.weight
        self.token_index = torch.empty_like(ids)
        rows = torch.zeros(count, ids.shape[1], text.config.hidden_size)
        for index, row in enumerate(ids):
            distinct, self.token_index[index] = torch.unique(row, return_inverse=True)
            rows[index, : len(distinct)] = text.embeddings.token_embedding.weight[distinct]
        weights = {"rows": rows, "positions": text.embeddings.position_embedding.weight.expand(count, -1, -1)}
        for name, parameter in text.named_parameters():
            if not name.startswith("embeddings"):
                weights[name] = parameter.expand(count, *parameter.shape)
        self.weights = {name: parameter.clone() for name, parameter in weights.items()}

    def hidden(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Final hidden states, `[prompts, 32, width]`."""
        rows = weights["rows"]
        x = torch.gather(rows, 1, self.token_index[..., None].expand(-1, -1, rows.shape[-1])) + weights["positions"]
        for i in range(self.depth):
            at = f"encoder.layers.{i}."
            a = self._norm(weights, at + "layer_norm1", x)
            q, k, v = (self._heads(self._linear(weights, f"{at}self_attn.{p}_proj", a)) for p in "qkv")
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
            x = x + self._linear(weights, at + "self_attn.out_proj", mixed)
            a = self._linear(weights, at + "mlp.fc1", self._norm(weights, at + "layer_norm2", x))
            x = x + self._linear(weights, at + "mlp.fc2", a * torch.sigmoid(1.702 * a))
        return self._norm(weights, "final_layer_norm", x)

    def feature(self, hidden: Tensor) -> Tensor:
        """The unit text features, `[prompts, dim]`."""
        return F.normalize(hidden[torch.arange(len(hidden)), self.ends] @ self.projection.T, dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    @staticmethod
    def _linear(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
        return torch.baddbmm(weights[name + ".bias"][:, None], x, weights[name + ".weight"].transpose(1, 2))

    @staticmethod
    def _norm(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
        x = F.layer_norm(x, x.shape[-1:])
        return x * weights[name + ".weight"][:, None] + weights[name + ".bias"][:, None]


class Buffers(dict[str, Tensor]):
    """Memory that is reused between tunings: weights, their gradients, and Adam's two moments."""

    def of(self, name: str, like: Tensor) -> Tensor:
        if name not in self or self[name].shape != like.shape:
            self[name] = torch.zeros_like(like)
        return self[name]


def tune(
    batch: Batch,
    objective: Callable[[Tensor], Tensor],
    update: str,
    steps: int,
    epsilon: float = EPSILON,
    buffers: Buffers | None = None,
) -> list[Tensor]:
    """Tune, and return the final hidden states before and after each step, `steps + 1` of `[prompts, 32, width]`.

    objective: maps the unit text features `[prompts, dim]` to the values `[prompts]` to maximize.
    """
    memory = Buffers() if buffers is None else buffers
    weights = {
        name: memory.of(name, weight).detach().copy_(weight).requires_grad_() for name, weight in batch.weights.items()
    }
    moving = {
        n: weight for n, weight in weights.items() if update == "adam" or (n.endswith("weight") and weight.ndim == 3)
    }
    for name, weight in moving.items():
        weight.grad = memory.of(name + " gradient", weight)
    moments = [
        [memory.of(f"{name} {which}", weight) for name, weight in moving.items()] for which in "mv" if update == "adam"
    ]
    for moment in (buffer for buffers_of_moment in moments for buffer in buffers_of_moment):
        moment.zero_()
    states = []
    for step in range(steps + 1):
        hidden = batch.hidden(weights)
        states.append(hidden.detach())
        if step == steps:
            break
        for weight in moving.values():
            weight.grad.zero_()  # type: ignore[union-attr]
        objective(batch.feature(hidden)).sum().backward()
        with torch.no_grad():
            if update == "adam":
                moving_weights, gradients = list(moving.values()), [weight.grad for weight in moving.values()]
                adam(moving_weights, gradients, *moments, Step(step + 1, steps, epsilon, torch.tensor(step + 1.0)))  # type: ignore[arg-type]
                continue
            for weight in moving.values():
                gradient = weight.grad
                norm = gradient.flatten(1).norm(dim=1).clamp(min=1e-30)[:, None, None]  # type: ignore[union-attr]
                weight.addcmul_(gradient, epsilon * (1 - step / steps) * (gradient[0].numel() ** 0.5) / norm)  # type: ignore[index]
    return states


# ---------------------------------------------------------------- probes


def probe_input(hidden: Tensor, ends: Tensor) -> Tensor:
    """The probes' input: the mean over all positions, and the end-of-text position, `[n, 2 width]`."""
    return torch.cat([hidden.mean(1), hidden[torch.arange(len(hidden)), ends]], 1)


@dataclass
class Probes:
    """Linear probes of hidden states: subject, style by name, and standardized color statistics."""

    mean: Tensor
    std: Tensor
    subject: Tensor
    style: Tensor
    color: Tensor

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits of subject and style, and the color statistics, for a `probe_input`."""
        x = F.pad((x - self.mean) / self.std, (0, 1), value=1.0)
        return x @ self.subject, x @ self.style, x @ self.color


def _softmax_probe(x: Tensor, labels: Tensor, classes: int, decay: float = 1e-3) -> Tensor:
    w = torch.zeros(x.shape[1], classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ w, labels) + decay * w.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return w.detach()


@torch.no_grad()
def read_captions(model: CLIPModel, work: Path, numbers: range) -> Tensor:
    """The probes' inputs for captions of training scenes, `[captions, 2 width]`."""
    vocabulary, inputs = tokenizer.load(work / "tokenizer"), []
    for start in range(numbers.start, numbers.stop, 500):
        ids = tokenizer.ids(vocabulary, data.captions("train", np.arange(start, min(start + 500, numbers.stop)), 100))
        ends = (ids == vocabulary.eos_token_id).int().argmax(1)
        inputs.append(probe_input(model.text_model(ids).last_hidden_state, ends))
    return torch.cat(inputs)


def fit_probes(model: CLIPModel, work: Path) -> tuple[Probes, tuple[np.ndarray, np.ndarray], dict[str, float]]:
    """The probes, the mean and deviation of color statistics, and the probes' accuracy on other captions."""
    scenes, fitted = data.scenes("train")[: FITTED + CHECKED], slice(0, FITTED)
    pictures = data.Pictures(work, "train", small_clip.CHUNKS)
    subject = torch.tensor([SUBJECTS.index(scene.subject) for scene in scenes])
    style = torch.tensor([STYLES.index(scene.style) if scene.look == PLAIN_LOOK else -1 for scene in scenes])
    x, held_out = (read_captions(model, work, r) for r in (range(FITTED), range(FITTED, len(scenes))))
    statistics = color_statistics([Image.fromarray(pictures[np.array([i])][0]) for i in range(len(scenes))])
    mean_and_std = statistics.mean(0), statistics.std(0)
    color = torch.from_numpy((statistics - mean_and_std[0]) / mean_and_std[1]).float()
    mean, std = x.mean(0), x.std(0)
    z = F.pad((x - mean) / std, (0, 1), value=1.0)
    named = style[fitted] >= 0
    ridge = torch.linalg.solve(z.T @ z + 0.01 * len(z) * torch.eye(z.shape[1]), z.T @ color[fitted])
    by_subject = _softmax_probe(z, subject[fitted], len(SUBJECTS))
    probes = Probes(mean, std, by_subject, _softmax_probe(z[named], style[fitted][named], len(STYLES)), ridge)
    subject_logits, style_logits, color_prediction = probes(held_out)
    named_held_out = style[FITTED:] >= 0
    residual = (color_prediction - color[FITTED:]).square().mean(0) / color[FITTED:].var(0)
    accuracy = {
        "subject": (subject_logits.argmax(1) == subject[FITTED:]).float().mean(),
        "style": (style_logits.argmax(1) == style[FITTED:])[named_held_out].float().mean(),
        "share of the colors' variance": 1 - residual.mean(),
    }
    return probes, mean_and_std, {name: round(float(value), 3) for name, value in accuracy.items()}


# ---------------------------------------------------------------- targets


def direction(e: Tensor, n: Tensor, share: float, kind: str) -> Tensor:
    """e - share n (`difference`), or e - share (e.n) n (`component`), of unit vectors, at unit length."""
    return F.normalize(e - share * (n if kind == "difference" else (e @ n) * n), dim=-1)


def median_cosine(rows: Tensor) -> Tensor:
    """The median cosine of two different rows of unit vectors `[n, dim]`."""
    above = torch.triu_indices(len(rows), len(rows), 1)
    return (rows @ rows.T)[above[0], above[1]].median()


def cosine(c: Tensor, d: Tensor, offset: Tensor) -> Tensor:
    """The objective `cos(c - offset, d)`, `[prompts]`."""
    return F.normalize(c - offset, dim=-1) @ d


TARGETS: dict[
    str, tuple[str, float, float]
] = {  # kind, share of the neutral, share of the mean plain caption taken from c
    "mean": ("component", 0.0, 0.0),
    **{f"{kind} {s}": (kind, s, 0.0) for s in (1.0, 0.5, 0.75, 0.25) for kind in ("difference", "component")},
    "difference 1, captions centered": ("difference", 1.0, 1.0),
    "mean, captions centered": ("component", 0.0, 1.0),
    "component 1, captions centered": ("component", 1.0, 1.0),
}


@dataclass
class Lab:
    """A CLIP, its probes, and the prompts and looks to test."""

    model: CLIPModel
    probes: Probes
    accuracy: dict[str, float]
    batch: Batch
    e: Tensor  # [looks, dim], unit means; the first is the neutral one
    change: Tensor  # [looks, 11], standardized: by how much a look's pictures differ from plain ones
    caption: Tensor  # [dim], the mean of unit features of plain captions

    @classmethod
    def open(cls, work: Path, folder: Path) -> Lab:
        model = CLIPModel.from_pretrained(folder, attn_implementation="eager").float().eval().requires_grad_(False)
        vocabulary, pictures_of_looks = tokenizer.load(work / "tokenizer"), looks()
        probes, mean_and_std, accuracy = fit_probes(model, work)
        means = np.stack(
            [((color_statistics(p) - mean_and_std[0]) / mean_and_std[1]).mean(0) for p in pictures_of_looks]
        )
        pixels = [as_tensor(np.stack([np.asarray(picture) for picture in p])) for p in pictures_of_looks]
        plain = [i for i, s in enumerate(data.scenes("train")[:4000]) if s.style == PLAIN and s.look == PLAIN_LOOK]
        ids = tokenizer.ids(vocabulary, data.captions("train", plain, 3))
        with torch.no_grad():
            e = torch.stack([F.normalize(small_clip.image_features(model, p).mean(0), dim=-1) for p in pixels])
            t = F.normalize(small_clip.text_features(model, ids), dim=-1).mean(0)
        batch = Batch(model, tokenizer.ids(vocabulary, PROMPTS), vocabulary.eos_token_id)
        return cls(model, probes, accuracy, batch, e, torch.from_numpy(means - means[0]).float(), t)

    @torch.no_grad()
    def judge(self, states: list[Tensor], e: Tensor) -> dict[str, Tensor]:
        """For each step and prompt, `[steps + 1, prompts]`: subject right, style, color statistics, cosine, drift."""
        subjects = torch.arange(len(SUBJECTS))
        in_use = torch.arange(states[0].shape[1]) < self.batch.ends[:, None]
        results: dict[str, list[Tensor]] = {"subject": [], "style": [], "color": [], "cosine": [], "drift": []}
        for hidden in states:
            subject_logits, style_logits, color_prediction = self.probes(probe_input(hidden, self.batch.ends))
            results["subject"].append(subject_logits.argmax(1) == subjects)
            results["style"].append(style_logits.argmax(1))
            results["color"].append(color_prediction)
            results["cosine"].append(self.batch.feature(hidden) @ e)
            drift = ((hidden - states[0]).square().sum(-1) * in_use).sum(1) / (states[0].square().sum(-1) * in_use).sum(
                1
            )
            results["drift"].append(drift)
        return {name: torch.stack(values) for name, values in results.items()}


Results = dict[tuple[str, str, int, int], dict[str, Tensor]]


def run(
    lab: Lab, names: Sequence[str], updates: Sequence[str], numbers: Sequence[int], results: Results
) -> Iterator[None]:
    """Add the missing results to `results`, by (target, update, planned steps, look)."""
    buffers = {update: Buffers() for update in updates}
    for name in names:
        kind, share, centered = TARGETS[name]
        for update in updates:
            for steps in STEPS[-1:] if update == "adam" else STEPS:  # the others decay towards their last step
                for number in numbers:
                    if (name, update, steps, number) not in results:
                        d = direction(lab.e[number], lab.e[0], share, kind)
                        objective = partial(cosine, d=d, offset=centered * lab.caption)
                        states = tune(lab.batch, objective, update, steps, EPSILON, buffers[update])
                        results[name, update, steps, number] = lab.judge(states, d)
                yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL, help="by default the pocket model")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--updates", nargs="*", default=["adam", "normalized"])
    parser.add_argument("--every", type=int, default=1, help="take every n-th of the looks without a name")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lab = Lab.open(options.work, options.model)
    results: Results = torch.load(options.output, weights_only=True)["found"] if options.output.exists() else {}
    cone = (lab.e @ lab.e[0])[1:]
    summary = {
        **lab.accuracy,
        **small_clip.geometry(options.work, lab.model),
        "aesthetics with the neutral": [round(float(x), 2) for x in (cone.min(), cone.median(), cone.max())],
        "two aesthetics": round(float(median_cosine(lab.e[1:])), 2),
    }
    print(summary, flush=True)
    numbers = [*range(1, len(STYLES)), *range(len(STYLES), len(lab.e), options.every)]
    for _ in run(lab, options.targets, options.updates, numbers, results):
        torch.save({"about": summary, "change": lab.change, "found": results}, options.output)
        print(next(reversed(results)), flush=True)


if __name__ == "__main__":
    main()
