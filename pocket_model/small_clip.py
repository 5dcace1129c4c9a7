"""Small CLIPs of known geometry, for `directions`: `python -m pocket_model.small_clip FOLDER --kind cone --seed 0`.

Pictures of real CLIP lie in one narrow cone and captions in another (the modality gap, Liang et al. 2022, arXiv
2203.02053). A small world has no such cones by itself, and training removes those of the initialization. The kind
`cone` enforces them: each modality's features are standardized to mean zero and mean square length one over the batch,
and then a constant vector is added, which training cannot remove. At the end mean, scale and constant are folded into
the projection and the bias of the norm before it, so that the result is an ordinary CLIPModel.
"""

from __future__ import annotations

import argparse
import math
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
from .scene import PLAIN, Scene
from .training import clip, data, tokenizer
from .training.loop import as_tensor, autocast, random_flips, step_rng, update, warm_cosine

CHUNKS, STEPS = 32, 1_300


@dataclass(frozen=True)
class Cone:
    """The constant vectors of both modalities: their lengths, with features of mean square 1, and their cosine."""

    pictures: float
    captions: float
    cosine: float

    def offsets(self, dim: int, seed: int) -> tuple[Tensor, Tensor]:
        """The constants of pictures and of captions, `[dim]` each."""
        a, b = torch.linalg.qr(torch.randn(dim, 2, generator=torch.Generator().manual_seed(seed)))[0].T
        return self.pictures * a, self.captions * (self.cosine * a + (1 - self.cosine**2) ** 0.5 * b)


KINDS = {"natural": None, "cone": Cone(0.9, 1.2, -0.33), "narrow": Cone(1.2, 1.2, -0.25)}


def image_features(model: CLIPModel, batch: Tensor) -> Tensor:
    """The features `[n, dim]`, not normalized, of pictures in [-1, 1]."""
    return model.visual_projection(model.vision_model(batch).pooler_output).float()


def text_features(model: CLIPModel, input_ids: Tensor) -> Tensor:
    return model.text_projection(model.text_model(input_ids).pooler_output).float()


def standardize(x: Tensor) -> Tensor:
    """Scale to mean zero and mean square length one over the batch."""
    x = x - x.mean(0)
    return x / x.square().sum(-1).mean().sqrt()


def train(work: Path, kind: str, seed: int) -> CLIPModel:
    """Train with InfoNCE alone (Radford et al. 2021), with a scale of at most 100, as in CLIP."""
    cone = KINDS[kind]
    vocabulary = tokenizer.load(work / "tokenizer")
    pictures = data.Pictures(work, "train", CHUNKS)
    torch.manual_seed(seed)
    model = clip.build(work).train()
    offsets = cone.offsets(clip.SHARED, seed) if cone else None
    if cone:  # the cone makes all cosines similar, so the scale must be higher
        model.logit_scale.data.fill_(math.log(40.0))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=clip.RATE, betas=(0.9, 0.98), fused=True)
    for step in (bar := tqdm(range(STEPS), desc=f"{kind} {seed}", mininterval=10)):
        numbers, _ = step_rng(f"small {seed}", step)
        chosen = np.sort(numbers.choice(len(pictures), clip.BATCH, replace=False))
        batch = random_flips(as_tensor(pictures[chosen]), numbers).contiguous()
        ids = tokenizer.ids(vocabulary, data.captions("train", chosen, step))
        length = int((ids == vocabulary.eos_token_id).int().argmax(1).max()) + 1
        with autocast():
            image, text = image_features(model, batch), text_features(model, ids[:, :length])
        if offsets:
            image, text = standardize(image) + offsets[0], standardize(text) + offsets[1]
        loss = clip.info_nce(image, text, model.logit_scale.exp())
        update(optimizer, loss, warm_cosine(step, STEPS, clip.RATE), model)
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(clip.MAX_SCALE))
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", scale=f"{model.logit_scale.exp().item():.0f}", refresh=False)
    model = model.eval().requires_grad_(False)
    if offsets:
        images, texts = zip(*(x for _, *x in features(work, model, 4_000)), strict=True)
        fold_into_projection(model, offsets, images, texts)
    return model


@torch.no_grad()
def features(work: Path, model: CLIPModel, count: int) -> Iterator[tuple[list[Scene], Tensor, Tensor]]:
    """Yield training scenes and the features of their pictures and captions, 200 at a time."""
    vocabulary, scenes = tokenizer.load(work / "tokenizer"), data.scenes("train")
    pictures = data.Pictures(work, "train", CHUNKS)
    for start in range(0, count, 200):
        part = np.arange(start, start + 200)
        ids = tokenizer.ids(vocabulary, data.captions("train", part, 0))
        yield scenes[start : start + 200], image_features(model, as_tensor(pictures[part])), text_features(model, ids)


@torch.no_grad()
def fold_into_projection(
    model: CLIPModel, offsets: tuple[Tensor, Tensor], images: tuple[Tensor, ...], texts: tuple[Tensor, ...]
) -> None:
    """Fold `(W h - mean) / scale + offset` into a projection `W' (h + b)`, with b in the bias of the norm before it."""
    towers = (
        (model.visual_projection, model.vision_model.post_layernorm),
        (model.text_projection, model.text_model.final_layer_norm),
    )
    for (projection, norm), offset, features in zip(
        towers, offsets, (torch.cat(images), torch.cat(texts)), strict=True
    ):
        mean = features.mean(0)
        scale = (features - mean).square().sum(-1).mean().sqrt()
        projection.weight /= scale
        norm.bias += torch.linalg.pinv(projection.weight) @ (offset - mean / scale)


@torch.no_grad()
def geometry(work: Path, model: CLIPModel) -> dict[str, float]:
    """Statistics of the cones that are also known of real CLIP."""
    all_scenes: list[Scene] = []
    parts = []
    for scenes, *tensors in features(work, model, 2_000):
        all_scenes += scenes
        parts.append([F.normalize(x, dim=-1) for x in tensors])
    image, text = (torch.cat(x) for x in zip(*parts, strict=True))
    neutral = F.normalize(image[[s.style == PLAIN and s.look == PLAIN_LOOK for s in all_scenes]].mean(0), dim=-1)
    figures = {
        "norm of the mean picture": image.mean(0).norm(),
        "norm of the mean caption": text.mean(0).norm(),
        "cosine of the two means": torch.cosine_similarity(image.mean(0), text.mean(0), dim=0),
        "matched pairs": (image * text).sum(-1).mean(),
        "unmatched pairs": (image @ text.T).mean(),
        "right caption of 200": torch.stack(
            [((i @ t.T).argmax(1) == torch.arange(200)).float().mean() for i, t in parts]
        ).mean(),
        "scale": model.logit_scale.exp(),
        "a picture with the neutral": (image @ neutral).mean(),
    }
    return {name: round(float(value), 3) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for pictures and models")
    parser.add_argument("--kind", choices=list(KINDS), default="natural")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = train(options.work, options.kind, options.seed)
    model.save_pretrained(options.work / f"{options.kind}-{options.seed}")
    print(options.kind, options.seed, geometry(options.work, model))


if __name__ == "__main__":
    main()
