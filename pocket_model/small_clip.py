"""Small CLIPs of known geometry, to try directions on: `python -m pocket_model.small_clip FOLDER --kind cone --seed 0`.

Pictures of real CLIP lie in one narrow cone and captions in another (the modality gap, Liang et al. 2022, arXiv
2203.02053). A small world gives no such cones by itself, and training removes those that initialization makes. `cone`
holds them: each modality's features are brought to mean zero and mean square length one over the batch, then a constant
vector is added. Training cannot remove that vector. At the end mean, scale and constant go into the projection and the
bias of the norm before it, so that what is left is an ordinary CLIPModel.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPModel

from .looks import PLAIN_LOOK
from .scene import Scene, random_scene
from .training import clip, tokenizer
from .training.loop import as_tensor, flipped, step_rng, update, warm_cosine
from .words import caption
from .world import draw

PICTURES, STEPS, BATCH, RATE, MAX_SCALE = 16_000, 1_200, 128, 1.2e-3, 100.0
FIRST_SEED = 40_000_000


@dataclass(frozen=True)
class Cone:
    """The constants of both modalities: their lengths, where the features' own mean square is 1, and their cosine."""

    pictures: float
    captions: float
    cosine: float

    def offsets(self, dim: int, seed: int) -> tuple[Tensor, Tensor]:
        """The constants of pictures and of captions, `[dim]` each."""
        a, b = torch.linalg.qr(torch.randn(dim, 2, generator=torch.Generator().manual_seed(seed)))[0].T
        return self.pictures * a, self.captions * (self.cosine * a + (1 - self.cosine**2) ** 0.5 * b)


KINDS = {"natural": None, "cone": Cone(1.2, 1.2, -0.25)}


def scenes() -> list[Scene]:
    return [random_scene(FIRST_SEED + i) for i in range(PICTURES)]


def pictures(work: Path) -> np.ndarray:
    """`[count, 128, 128, 3]` uint8, drawn once."""
    path = work / "pictures.npy"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack([np.asarray(draw(scene)) for scene in tqdm(scenes(), desc="draw", mininterval=10)]))
    return np.load(path, mmap_mode="r")


def image_features(model: CLIPModel, batch: Tensor) -> Tensor:
    """`[n, dim]`, un-normalized, of pictures in [-1, 1]."""
    return model.visual_projection(model.vision_model(batch).pooler_output).float()


def text_features(model: CLIPModel, input_ids: Tensor) -> Tensor:
    return model.text_projection(model.text_model(input_ids).pooler_output).float()


def standardized(x: Tensor) -> Tensor:
    """Mean zero and mean square length one over the batch."""
    x = x - x.mean(0)
    return x / x.square().sum(-1).mean().sqrt()


def train(work: Path, kind: str, seed: int) -> CLIPModel:
    """InfoNCE alone (Radford et al. 2021), with a scale of at most 100, as in CLIP."""
    cone = KINDS[kind]
    if not (work / "tokenizer" / "vocab.json").exists():
        tokenizer.train(work / "tokenizer")
    words, those, seen = tokenizer.load(work / "tokenizer"), scenes(), pictures(work)
    torch.manual_seed(seed)
    model = clip.build(work).train()
    if cone:
        offsets = cone.offsets(clip.SHARED, seed)
        model.logit_scale.data.fill_(np.log(40.0))
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.02},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=RATE,
        betas=(0.9, 0.98),
    )
    bar = tqdm(range(STEPS), desc=f"{kind} {seed}", mininterval=10)
    for step in bar:
        numbers, _ = step_rng(f"small {seed}", step)
        chosen = np.sort(numbers.choice(len(seen), BATCH, replace=False))
        batch = flipped(as_tensor(seen[chosen]), numbers).contiguous()
        said = [caption(those[i], step) for i in chosen]
        ids = tokenizer.ids(words, said)
        used = int((ids == words.eos_token_id).int().argmax(1).max()) + 1
        with torch.autocast("cpu", torch.bfloat16):
            image, text = image_features(model, batch), text_features(model, ids[:, :used])
        if cone:
            image, text = standardized(image) + offsets[0], standardized(text) + offsets[1]
        scale = model.logit_scale.exp().clamp(max=MAX_SCALE)
        cosines = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        same = torch.tensor([[a == b and i != j for j, b in enumerate(said)] for i, a in enumerate(said)])
        logits, target = (scale * cosines).masked_fill(same, float("-inf")), torch.arange(BATCH)
        loss = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        update(optimizer, loss, warm_cosine(step, STEPS, RATE, warm=100), model)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", scale=f"{scale.item():.0f}", refresh=False)
    model = model.eval().requires_grad_(False)
    if cone:
        fold(model, offsets, *zip(*_batches(work, model), strict=True))
    return model


@torch.no_grad()
def _batches(work: Path, model: CLIPModel, count: int = 4_000) -> Iterator[tuple[Tensor, Tensor]]:
    """Image and text features of training pictures and their captions."""
    words, those, seen = tokenizer.load(work / "tokenizer"), scenes(), pictures(work)
    for start in range(0, count, 200):
        part = range(start, start + 200)
        ids = tokenizer.ids(words, [caption(those[i], 0) for i in part])
        yield image_features(model, as_tensor(seen[start : start + 200])), text_features(model, ids)


@torch.no_grad()
def fold(
    model: CLIPModel, offsets: tuple[Tensor, Tensor], images: tuple[Tensor, ...], texts: tuple[Tensor, ...]
) -> None:
    """Make `(W h - mean) / scale + offset` a projection of its own, `W' (h + b)`, with b in the norm before it."""
    ends = (
        (model.visual_projection, model.vision_model.post_layernorm),
        (model.text_projection, model.text_model.final_layer_norm),
    )
    for (projection, norm), offset, features in zip(ends, offsets, (torch.cat(images), torch.cat(texts)), strict=True):
        mean = features.mean(0)
        scale = (features - mean).square().sum(-1).mean().sqrt()
        projection.weight /= scale
        norm.bias += torch.linalg.pinv(projection.weight) @ (offset - mean / scale)


@torch.no_grad()
def geometry(work: Path, model: CLIPModel) -> dict[str, float]:
    """What the cone is like, in the figures that are known of real CLIP."""
    image, text = (F.normalize(torch.cat(x), dim=-1) for x in zip(*_batches(work, model, 2_000), strict=True))
    those = scenes()[: len(image)]
    neutral = F.normalize(image[[s.style == "plain" and s.look == PLAIN_LOOK for s in those]].mean(0), dim=-1)
    found = {
        "norm of the mean picture": image.mean(0).norm(),
        "norm of the mean caption": text.mean(0).norm(),
        "cosine of the two means": torch.cosine_similarity(image.mean(0), text.mean(0), dim=0),
        "matched pairs": (image * text).sum(-1).mean(),
        "unmatched pairs": (image @ text.T).mean(),
        "right caption of 200": torch.stack(
            [
                ((i @ t.T).argmax(1) == torch.arange(200)).float().mean()
                for i, t in zip(image.split(200), text.split(200), strict=True)
            ]
        ).mean(),
    }
    for style in ("aivazovsky", "cloudcore", "gloomcore", "glowwave"):
        e = F.normalize(image[[s.style == style for s in those]].mean(0), dim=-1)
        found[f"{style} with the neutral"] = e @ neutral
    return {name: round(float(value), 3) for name, value in found.items()}


def load(work: Path, kind: str, seed: int) -> CLIPModel:
    return CLIPModel.from_pretrained(work / f"{kind}-{seed}", attn_implementation="eager").eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for pictures and models")
    parser.add_argument("--kind", choices=KINDS, default="natural")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = train(options.work, options.kind, options.seed)
    model.save_pretrained(options.work / f"{options.kind}-{options.seed}")
    print(options.kind, options.seed, geometry(options.work, model))


if __name__ == "__main__":
    main()
