"""Which direction to climb, and when to stop: style and subject of tuned prompts on the CLIPs of `small_clip`.

    python -m pocket_model.directions FOLDER --kind cone --seed 0

Prompts are tuned by a plain loop of its own, many at once, towards every look, and judged by linear probes that were
fitted on the hidden states of captions: of the subject, of the style's name, and of colour statistics of the picture.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from aesthetic_embeddings.text_encoder.tuning import adam
from torch import Tensor
from transformers import CLIPModel

from . import small_clip
from .looks import PLAIN_LOOK
from .scene import PLAIN, SETTINGS, STYLES, SUBJECTS, Scene
from .texture import saturated
from .training import tokenizer
from .training.loop import as_tensor
from .words import caption, prompts
from .world import draw

STEPS = (3, 5, 10, 20)
UNSEEN, PICTURES_OF_A_LOOK = 12, 30
EPSILON = 1e-4
PROMPTS = prompts("report")[::2]  # one of each subject

# ---------------------------------------------------------------- pictures


def tinted(pixels: np.ndarray, seed: int) -> np.ndarray:
    """A look that no caption names: a random tint, saturation, gamma and contrast."""
    rng = random.Random(f"unseen look {seed}")
    tint = np.array([rng.uniform(0.62, 1.2) for _ in range(3)])
    pixels = saturated(pixels, rng.choice((rng.uniform(0.1, 0.7), rng.uniform(1.2, 1.9))))
    pixels = 255 * (pixels.clip(0, 255) / 255) ** rng.choice((rng.uniform(0.5, 0.8), rng.uniform(1.3, 2.2)))
    return ((pixels - 128) * rng.uniform(0.6, 1.3) + 128) * tint


def look(number: int) -> np.ndarray:
    """Pictures of a look, `[30, 128, 128, 3]` uint8: the named styles first (0 is the plain one), then unseen ones."""
    rng, style = random.Random(f"look {number}"), STYLES[number] if number < len(STYLES) else PLAIN
    found = []
    for i in range(PICTURES_OF_A_LOOK * (4 if number == 0 else 1)):
        scene = Scene(rng.choice(SUBJECTS), rng.choice(SETTINGS), style, seed=70_000_000 + 1000 * number + i)
        pixels = np.asarray(draw(scene), np.float32)
        found.append(tinted(pixels, number) if number >= len(STYLES) else pixels)
    return np.stack(found).clip(0, 255).astype(np.uint8)


def statistics(pictures: np.ndarray) -> np.ndarray:
    """Mean colour, saturation, contrast, top and bottom colour, `[n, 11]`."""
    pixels = pictures.astype(np.float32) / 255
    grey, third = pixels.mean(-1), pixels.shape[1] // 3
    spread = (pixels.max(-1) - pixels.min(-1)).mean((1, 2))
    top, bottom = pixels[:, :third].mean((1, 2)), pixels[:, -third:].mean((1, 2))
    return np.concatenate([pixels.mean((1, 2)), spread[:, None], grey.std((1, 2))[:, None], top, bottom], 1)


# ---------------------------------------------------------------- the text tower, for many prompts with weights each


class Batch:
    """One CLIP text tower with a copy of its weights for each prompt: `weights[name]` is `[prompts, ...]`."""

    def __init__(self, model: CLIPModel, ids: Tensor, eos: int) -> None:
        text, count = model.text_model, len(ids)
        self.heads, self.depth = text.config.num_attention_heads, text.config.num_hidden_layers
        self.ends, self.projection = (ids == eos).int().argmax(1), model.text_projection.weight
        self.length = int(self.ends.max()) + 1
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

    def hidden(self, weights: Mapping[str, Tensor], length: int) -> Tensor:
        """Final hidden states, `[prompts, length, width]`."""
        rows = torch.gather(weights["rows"], 1, self.which[:, :length, None].expand(-1, -1, weights["rows"].shape[-1]))
        x = rows + weights["positions"][:, :length]
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
        with torch.no_grad():
            states.append(batch.hidden(weights, batch.which.shape[1]))
        if k == steps:
            break
        for w in moving.values():
            w.grad.zero_()  # type: ignore[union-attr]
        objective(batch.feature(batch.hidden(weights, batch.length))).sum().backward()
        with torch.no_grad():
            if update == "adam":
                ws, gs = list(moving.values()), [w.grad for w in moving.values()]
                adam(ws, gs, *moments, epsilon, k + 1)  # type: ignore[arg-type]
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
    """Linear probes of hidden states: subject, style by name, and standardized colour statistics."""

    mean: Tensor
    std: Tensor
    subject: Tensor
    style: Tensor
    colour: Tensor

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of subject and style, and the statistics, of what is `readable`."""
        x = F.pad((x - self.mean) / self.std, (0, 1), value=1.0)
        return x @ self.subject, x @ self.style, x @ self.colour


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
def read_captions(model: CLIPModel, work: Path, numbers: range, epoch: int) -> Tensor:
    words, those = tokenizer.load(work / "tokenizer"), small_clip.scenes()
    found = []
    for start in range(numbers.start, numbers.stop, 500):
        ids = tokenizer.ids(words, [caption(those[i], epoch) for i in range(start, min(start + 500, numbers.stop))])
        ends = (ids == words.eos_token_id).int().argmax(1)
        found.append(readable(model.text_model(ids).last_hidden_state, ends))
    return torch.cat(found)


def fit_probes(
    model: CLIPModel, work: Path, standard: tuple[np.ndarray, np.ndarray]
) -> tuple[Probes, dict[str, float]]:
    """The probes, and how right they are on captions that they were not fitted on."""
    those, seen = small_clip.scenes(), small_clip.pictures(work)
    subject = torch.tensor([SUBJECTS.index(s.subject) for s in those])
    style = torch.tensor([-1 if s.look != PLAIN_LOOK else STYLES.index(s.style) for s in those])
    train, check = range(8000), range(8000, 10000)
    x, held = read_captions(model, work, train, 100), read_captions(model, work, check, 100)
    mean, std = x.mean(0), x.std(0)
    colour = torch.from_numpy((statistics(np.asarray(seen[:10000])) - standard[0]) / standard[1]).float()
    z = F.pad((x - mean) / std, (0, 1), value=1.0)
    named = style[:8000] >= 0
    ridge = torch.linalg.solve(z.T @ z + 0.01 * len(z) * torch.eye(z.shape[1]), z.T @ colour[:8000])
    probes = Probes(
        mean,
        std,
        _softmax_probe(z, subject[:8000], len(SUBJECTS)),
        _softmax_probe(z[named], style[:8000][named], len(STYLES)),
        ridge,
    )
    a, b, c = probes(held)
    rest = style[8000:10000] >= 0
    residual = (c - colour[8000:10000]).square().mean(0) / colour[8000:10000].var(0)
    return probes, {
        "subject": float((a.argmax(1) == subject[8000:10000]).float().mean()),
        "style": float((b.argmax(1) == style[8000:10000])[rest].float().mean()),
        "colour R2": float(1 - residual.mean()),
    }


# ---------------------------------------------------------------- targets


def direction(e: Tensor, n: Tensor, share: float, kind: str) -> Tensor:
    """e - share n (`difference`), or e - share (e.n) n (`component`), of unit vectors, at unit length."""
    return F.normalize(e - share * (n if kind == "difference" else (e @ n) * n), dim=-1)


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
    @torch.no_grad()
    def open(cls, work: Path, kind: str, seed: int) -> Lab:
        model, words = small_clip.load(work, kind, seed), tokenizer.load(work / "tokenizer")
        pictures = [look(i) for i in range(len(STYLES) + UNSEEN)]
        colours = statistics(np.asarray(small_clip.pictures(work)[:10000]))
        standard = colours.mean(0), colours.std(0)
        means = np.stack([((statistics(p) - standard[0]) / standard[1]).mean(0) for p in pictures])
        e = torch.stack([F.normalize(small_clip.image_features(model, as_tensor(p)).mean(0), dim=-1) for p in pictures])
        with torch.enable_grad():
            probes, accuracy = fit_probes(model, work, standard)
        ids = tokenizer.ids(words, PROMPTS)
        plain = [s for s in small_clip.scenes()[:3000] if s.style == PLAIN and s.look == PLAIN_LOOK][:400]
        t = F.normalize(small_clip.text_features(model, tokenizer.ids(words, [caption(s, 3) for s in plain])), dim=-1)
        batch = Batch(model, ids, words.eos_token_id)
        return cls(model, probes, accuracy, batch, e, torch.from_numpy(means - means[0]).float(), t.mean(0))

    @torch.no_grad()
    def judge(self, states: list[Tensor], e: Tensor) -> dict[str, Tensor]:
        """Of each step and prompt, `[steps + 1, prompts]`: subject right, style class, statistics, cosine, drift."""
        subjects = torch.arange(len(SUBJECTS))
        used = torch.arange(states[0].shape[1]) < self.batch.ends[:, None]
        found: dict[str, list[Tensor]] = {"subject": [], "style": [], "colour": [], "cosine": [], "drift": []}
        for h in states:
            a, b, c = self.probes(readable(h, self.batch.ends))
            found["subject"].append(a.argmax(1) == subjects)
            found["style"].append(b.argmax(1))
            found["colour"].append(c)
            found["cosine"].append(self.batch.feature(h) @ e)
            moved = ((h - states[0]).square().sum(-1) * used).sum(1) / (states[0].square().sum(-1) * used).sum(1)
            found["drift"].append(moved)
        return {name: torch.stack(values) for name, values in found.items()}


Found = dict[tuple[str, str, int, int], dict[str, Tensor]]


def run(lab: Lab, names: Sequence[str], updates: Mapping[str, float]) -> Iterator[Found]:
    """(target, update, planned steps, look) -> the judgement; after each target, what has been found so far."""
    found: Found = {}
    buffers = {update: Buffers() for update in updates}
    for name in names:
        kind, share, centered = TARGETS[name]
        for update, epsilon in updates.items():
            for steps in (STEPS[-1],) if update == "adam" else STEPS:
                for number in range(1, len(lab.e)):
                    d = direction(lab.e[number], lab.e[0], share, kind)
                    climbed = partial(cosine, d=d, less=centered * lab.caption)
                    states = tune(
                        lab.batch,
                        climbed,
                        update,
                        steps,
                        epsilon,
                        buffers[update],
                    )
                    found[name, update, steps, number] = lab.judge(states, d)
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kind", choices=small_clip.KINDS, default="natural")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="*", default=list(TARGETS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    lab = Lab.open(options.work, options.kind, options.seed)
    print(options.kind, options.seed, lab.accuracy, (lab.e @ lab.e[0]).numpy().round(2).tolist(), flush=True)
    for found in run(lab, options.targets, {"adam": EPSILON, "normalized": EPSILON}):
        torch.save({"change": lab.change, "found": found}, options.work / f"found-{options.kind}-{options.seed}.pt")
        print(next(reversed(found))[0], flush=True)


if __name__ == "__main__":
    main()
