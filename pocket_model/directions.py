"""Which direction to climb: style and subject of tuned prompts, by linear probes on the text encoder's hidden states.

    python -m pocket_model.directions FOLDER --model FOLDER/cone-0 --output found.pt

FOLDER holds the drawings and the tokenizer of `pocket_model.train --work`; the model is the pocket model's, or one of
`small_clip`. Prompts are tuned by a plain loop of its own, many at once, towards looks that captions name and looks
that training never saw. The probes were fitted on the hidden states of captions: of the subject, of the style's name,
and of color statistics of the picture. `direction_tables` makes tables of what was found. A run goes
on where its output ends.
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
FITTED, CHECKED = 6_000, 1_000  # captions that the probes were fitted and checked on


def looks() -> list[list[Image.Image]]:
    """Pictures of each look: ordinary ones first, then the named styles, then looks that no training picture had."""
    first = DRAWING_SEED + 700_000
    return [
        drawings(PLAIN_LOOK, ORDINARY_SEED, 100),
        *(drawings(PLAIN_LOOK, first, style=style) for style in STYLES[1:]),
        *(drawings(look, first) for look in held_out_looks("report")[::2]),
    ]


# ---------------------------------------------------------------- the text tower, for many prompts with weights each


class Batch:
    """One CLIP text tower with a copy of its weights for each prompt: `weights[name]` is `[prompts, ...]`."""

    def __init__(self, model: CLIPModel, ids: Tensor, eos: int) -> None:
        text, count = model.text_model, len(ids)
        self.heads, self.depth = text.config.num_attention_heads, text.config.num_hidden_layers
        self.ends, self.projection = (ids == eos).int().argmax(1), model.text_projection.weight
        self.which = torch.empty_like(ids)
        rows = torch.zeros(count, ids.shape[1], text.config.hidden_size)
        for i, row in enumerate(ids):
            distinct, self.which[i] = torch.unique(row, return_inverse=True)
            rows[i, : len(distinct)] = text.embeddings.token_embedding.weight[distinct]
        named = {"rows": rows, "positions": text.embeddings.position_embedding.weight.expand(count, -1, -1)}
        for name, p in text.named_parameters():
            if not name.startswith("embeddings"):
                named[name] = p.expand(count, *p.shape)
        self.weights = {name: p.clone() for name, p in named.items()}

    def hidden(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Final hidden states, `[prompts, 32, width]`."""
        rows = weights["rows"]
        x = torch.gather(rows, 1, self.which[..., None].expand(-1, -1, rows.shape[-1])) + weights["positions"]
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
    """Memory that is kept from one tuning to the next: weights, their gradients, and Adam's two moments."""

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
    """Final hidden states over all positions before and after each step, `steps + 1` of `[prompts, 32, width]`.

    objective: of the unit text features `[prompts, dim]`; what is climbed, `[prompts]`.
    """
    kept = Buffers() if buffers is None else buffers
    weights = {name: kept.of(name, w).detach().copy_(w).requires_grad_() for name, w in batch.weights.items()}
    moving = {n: w for n, w in weights.items() if update == "adam" or (n.endswith("weight") and w.ndim == 3)}
    for name, w in moving.items():
        w.grad = kept.of(name + " gradient", w)
    moments = [[kept.of(f"{name} {which}", w) for name, w in moving.items()] for which in "mv" if update == "adam"]
    for moment in (m for ms in moments for m in ms):
        moment.zero_()
    states = []
    for k in range(steps + 1):
        hidden = batch.hidden(weights)
        states.append(hidden.detach())
        if k == steps:
            break
        for w in moving.values():
            w.grad.zero_()  # type: ignore[union-attr]
        objective(batch.feature(hidden)).sum().backward()
        with torch.no_grad():
            if update == "adam":
                ws, gs = list(moving.values()), [w.grad for w in moving.values()]
                adam(ws, gs, *moments, Step(k + 1, steps, epsilon, torch.tensor(k + 1.0)))  # type: ignore[arg-type]
                continue
            for w in moving.values():
                g = w.grad
                norm = g.flatten(1).norm(dim=1).clamp(min=1e-30)[:, None, None]  # type: ignore[union-attr]
                w.addcmul_(g, epsilon * (1 - k / steps) * (g[0].numel() ** 0.5) / norm)  # type: ignore[index]
    return states


# ---------------------------------------------------------------- probes


def readable(hidden: Tensor, ends: Tensor) -> Tensor:
    """What probes read: the mean over all positions, and the end-of-text position, `[n, 2 width]`."""
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
        """Logits of subject and style, and the statistics, of what is `readable`."""
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
    """What probes read of captions of training scenes, `[captions, 2 width]`."""
    words, found = tokenizer.load(work / "tokenizer"), []
    for start in range(numbers.start, numbers.stop, 500):
        ids = tokenizer.ids(words, data.captions("train", np.arange(start, min(start + 500, numbers.stop)), 100))
        ends = (ids == words.eos_token_id).int().argmax(1)
        found.append(readable(model.text_model(ids).last_hidden_state, ends))
    return torch.cat(found)


def fit_probes(model: CLIPModel, work: Path) -> tuple[Probes, tuple[np.ndarray, np.ndarray], dict[str, float]]:
    """The probes, the mean and spread of color statistics, and how right the probes are on other captions."""
    those, fitted = data.scenes("train")[: FITTED + CHECKED], slice(0, FITTED)
    seen = data.Pictures(work, "train", small_clip.CHUNKS)
    subject = torch.tensor([SUBJECTS.index(s.subject) for s in those])
    style = torch.tensor([STYLES.index(s.style) if s.look == PLAIN_LOOK else -1 for s in those])
    x, held = (read_captions(model, work, r) for r in (range(FITTED), range(FITTED, len(those))))
    statistics = color_statistics([Image.fromarray(seen[np.array([i])][0]) for i in range(len(those))])
    standard = statistics.mean(0), statistics.std(0)
    color = torch.from_numpy((statistics - standard[0]) / standard[1]).float()
    mean, std = x.mean(0), x.std(0)
    z = F.pad((x - mean) / std, (0, 1), value=1.0)
    named = style[fitted] >= 0
    ridge = torch.linalg.solve(z.T @ z + 0.01 * len(z) * torch.eye(z.shape[1]), z.T @ color[fitted])
    by_subject = _softmax_probe(z, subject[fitted], len(SUBJECTS))
    probes = Probes(mean, std, by_subject, _softmax_probe(z[named], style[fitted][named], len(STYLES)), ridge)
    a, b, c = probes(held)
    rest = style[FITTED:] >= 0
    residual = (c - color[FITTED:]).square().mean(0) / color[FITTED:].var(0)
    accuracy = {
        "subject": (a.argmax(1) == subject[FITTED:]).float().mean(),
        "style": (b.argmax(1) == style[FITTED:])[rest].float().mean(),
        "share of the colors' variance": 1 - residual.mean(),
    }
    return probes, standard, {name: round(float(value), 3) for name, value in accuracy.items()}


# ---------------------------------------------------------------- targets


def direction(e: Tensor, n: Tensor, share: float, kind: str) -> Tensor:
    """e - share n (`difference`), or e - share (e.n) n (`component`), of unit vectors, at unit length."""
    return F.normalize(e - share * (n if kind == "difference" else (e @ n) * n), dim=-1)


def median_cosine(rows: Tensor) -> Tensor:
    """Of each two of unit rows `[n, dim]`."""
    above = torch.triu_indices(len(rows), len(rows), 1)
    return (rows @ rows.T)[above[0], above[1]].median()


def cosine(c: Tensor, d: Tensor, less: Tensor) -> Tensor:
    """What is climbed: `cos(c - less, d)`, `[prompts]`."""
    return F.normalize(c - less, dim=-1) @ d


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
    """A CLIP, its probes, and what is asked of it."""

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
        words, shown = tokenizer.load(work / "tokenizer"), looks()
        probes, standard, accuracy = fit_probes(model, work)
        means = np.stack([((color_statistics(p) - standard[0]) / standard[1]).mean(0) for p in shown])
        pixels = [as_tensor(np.stack([np.asarray(picture) for picture in p])) for p in shown]
        plain = [i for i, s in enumerate(data.scenes("train")[:4000]) if s.style == PLAIN and s.look == PLAIN_LOOK]
        ids = tokenizer.ids(words, data.captions("train", plain, 3))
        with torch.no_grad():
            e = torch.stack([F.normalize(small_clip.image_features(model, p).mean(0), dim=-1) for p in pixels])
            t = F.normalize(small_clip.text_features(model, ids), dim=-1).mean(0)
        batch = Batch(model, tokenizer.ids(words, PROMPTS), words.eos_token_id)
        return cls(model, probes, accuracy, batch, e, torch.from_numpy(means - means[0]).float(), t)

    @torch.no_grad()
    def judge(self, states: list[Tensor], e: Tensor) -> dict[str, Tensor]:
        """Of each step and prompt, `[steps + 1, prompts]`: subject right, style class, statistics, cosine, drift."""
        subjects = torch.arange(len(SUBJECTS))
        used = torch.arange(states[0].shape[1]) < self.batch.ends[:, None]
        found: dict[str, list[Tensor]] = {"subject": [], "style": [], "color": [], "cosine": [], "drift": []}
        for h in states:
            a, b, c = self.probes(readable(h, self.batch.ends))
            found["subject"].append(a.argmax(1) == subjects)
            found["style"].append(b.argmax(1))
            found["color"].append(c)
            found["cosine"].append(self.batch.feature(h) @ e)
            moved = ((h - states[0]).square().sum(-1) * used).sum(1) / (states[0].square().sum(-1) * used).sum(1)
            found["drift"].append(moved)
        return {name: torch.stack(values) for name, values in found.items()}


Found = dict[tuple[str, str, int, int], dict[str, Tensor]]


def run(lab: Lab, names: Sequence[str], updates: Sequence[str], numbers: Sequence[int], found: Found) -> Iterator[None]:
    """Put (target, update, planned steps, look) -> the judgement into `found`, if it is not there yet."""
    buffers = {update: Buffers() for update in updates}
    for name in names:
        kind, share, centered = TARGETS[name]
        for update in updates:
            for steps in STEPS[-1:] if update == "adam" else STEPS:  # the others decay towards their last step
                for number in numbers:
                    if (name, update, steps, number) not in found:
                        d = direction(lab.e[number], lab.e[0], share, kind)
                        climbed = partial(cosine, d=d, less=centered * lab.caption)
                        states = tune(lab.batch, climbed, update, steps, EPSILON, buffers[update])
                        found[name, update, steps, number] = lab.judge(states, d)
                yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL, help="by default the pocket model")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--updates", nargs="*", default=["adam", "normalized"])
    parser.add_argument("--every", type=int, default=1, help="of the looks without a name, take every so many")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lab = Lab.open(options.work, options.model)
    found: Found = torch.load(options.output, weights_only=True)["found"] if options.output.exists() else {}
    cone = (lab.e @ lab.e[0])[1:]
    about = {
        **lab.accuracy,
        **small_clip.geometry(options.work, lab.model),
        "aesthetics with the neutral": [round(float(x), 2) for x in (cone.min(), cone.median(), cone.max())],
        "two aesthetics": round(float(median_cosine(lab.e[1:])), 2),
    }
    print(about, flush=True)
    numbers = [*range(1, len(STYLES)), *range(len(STYLES), len(lab.e), options.every)]
    for _ in run(lab, options.targets, options.updates, numbers, found):
        torch.save({"about": about, "change": lab.change, "found": found}, options.output)
        print(next(reversed(found)), flush=True)


if __name__ == "__main__":
    main()
