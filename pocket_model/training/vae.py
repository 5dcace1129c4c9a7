"""The autoencoder: 128x128x3 to 16x16x8 and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from tqdm import tqdm

from . import data
from .loop import Average, as_tensor, autocast, random_flips, resumable, step_rng, update, warm_cosine

STEPS, BATCH, RATE = 5_400, 8, 1.5e-3
CHANNELS = 8
FACTOR = 8  # pixels for one place of the latents
GUIDED_STEPS = 600  # until the decoder sees the encoder's latents alone
ENCODING_BATCH = 100
CHUNKS = 12  # of the pictures; the small model needs no more


def build() -> AutoencoderTiny:
    """Most of the decoder is at the lowest resolutions, where width is cheap."""
    return AutoencoderTiny(
        encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(48,) * 4,
        num_encoder_blocks=(0, 1, 2, 4),
        num_decoder_blocks=(6, 4, 1, 0),
        latent_channels=CHANNELS,
        force_upcast=False,
    )


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The absolute error of values and of slopes at three scales. A lost thin line is a large error in slope."""
    loss = F.l1_loss(output, target)
    for _ in range(3):
        loss = loss + 0.5 * (
            F.l1_loss(output.diff(dim=-1), target.diff(dim=-1)) + F.l1_loss(output.diff(dim=-2), target.diff(dim=-2))
        )
        output, target = F.avg_pool2d(output, 2), F.avg_pool2d(target, 2)
    return loss


def moment_loss(latents: torch.Tensor) -> torch.Tensor:
    """Keeps each latent channel at zero mean and unit variance, which the diffusion model needs."""
    values = latents.float().transpose(0, 1).flatten(1)
    return values.mean(1).square().mean() + (values.std(1) - 1).square().mean()


def principal_components(pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    """The convolution whose outputs are the first principal components of 8x8 blocks, with unit variance."""
    blocks = F.unfold(pictures, FACTOR, stride=FACTOR).transpose(1, 2).flatten(0, 1)
    mean = blocks.mean(0)
    variances, vectors = torch.linalg.eigh((blocks - mean).T.cov())
    weight = (vectors / variances.clamp_min(1e-6).sqrt())[:, -CHANNELS:].T
    return {"weight": weight.unflatten(1, (3, FACTOR, FACTOR)), "bias": -weight @ mean}


def train(work: Path) -> None:
    """At first the decoder sees principal components in place of latents, while the encoder learns to give them."""
    torch.manual_seed(1)
    model = build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    average = Average(model, 0.998)
    pictures = data.Pictures(work, "train", CHUNKS)
    components = principal_components(as_tensor(pictures[np.arange(0, len(pictures), len(pictures) // 300)]))
    for step, progress in resumable(work / "vae.pt", STEPS, model=model, optimizer=optimizer, average=average):
        rng, generator = step_rng("vae", step)
        batch = random_flips(as_tensor(pictures[rng.integers(len(pictures), size=BATCH)]), rng)
        guided = max(0.0, 1 - step / GUIDED_STEPS)
        first = F.conv2d(batch, **components, stride=FACTOR) if guided else torch.zeros(())
        with autocast():
            latents = model.encoder(batch)
            noise = (
                torch.randn(latents.shape, generator=generator) * 0.08 * torch.rand(BATCH, 1, 1, 1, generator=generator)
            )
            output = model.decoder(torch.lerp(latents.float(), first, guided) + noise)
        error = reconstruction_loss(output.float(), batch)
        loss = error + 0.1 * moment_loss(latents) + guided * (latents.float() - first).square().mean()
        update(optimizer, loss, warm_cosine(step, STEPS, RATE), model)
        average.update(model)
        progress.report(loss=error.detach(), mse=F.mse_loss(output.float(), batch).detach())


def load(work: Path) -> AutoencoderTiny:
    """The trained autoencoder, with averaged weights."""
    model = build()
    model.load_state_dict(Average.stored_weights(torch.load(work / "vae.pt", weights_only=True)["average"], model))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def latents(work: Path, split: str = "train") -> torch.Tensor:
    """All pictures of a split as fp16 latents `[count, 8, 16, 16]`, computed once."""
    path = work / "data" / f"{split}-latents.pt"
    if not path.exists():
        encoder, pictures = load(work).to(memory_format=torch.channels_last).encoder, data.Pictures(work, split)
        parts = []
        for part in tqdm(torch.arange(len(pictures)).split(ENCODING_BATCH), desc="latents", mininterval=10):
            with autocast():
                parts.append(encoder(as_tensor(pictures[part.numpy()])).half().contiguous())
        torch.save(torch.cat(parts), path)
    return torch.load(path, weights_only=True)
