"""The diffusion model: v-prediction in the autoencoder's latents, conditioned on the frozen text encoder."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel

from . import clip, data, tokenizer, vae
from .loop import Average, autocast, resumable, step_rng, update, warm_cosine

STEPS, BATCH, RATE = 10_000, 32, 1e-3
EMPTY_SHARE = 0.1


def build() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=vae.CHANNELS,
        out_channels=vae.CHANNELS,
        block_out_channels=(64, 160),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=16,
        cross_attention_dim=clip.WIDTH,
    )


def scheduler() -> DDIMScheduler:
    """The cosine schedule with zero terminal SNR, so that dark and bright pictures are possible.

    Stable Diffusion's own adds more noise, which large latents survive, and small ones do not.
    """
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # not used with trailing spacing, but pipelines expect it
    )


def train(work: Path) -> None:
    torch.manual_seed(3)
    model = build().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    average = Average(model, 0.9995)
    vocabulary, encoder, noiser = tokenizer.load(work / "tokenizer"), clip.load(work).text_model, scheduler()
    latents = vae.latents(work)
    for step, progress in resumable(work / "unet.pt", STEPS, model=model, optimizer=optimizer, average=average):
        rng, generator = step_rng("unet", step)
        chosen = rng.integers(len(latents), size=BATCH)
        with_caption = rng.random(BATCH) >= EMPTY_SHARE
        texts = [
            t if has_caption else ""
            for t, has_caption in zip(data.captions("train", chosen, step), with_caption, strict=True)
        ]
        clean = latents[chosen].float()
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.from_numpy((rng.permutation(BATCH) + rng.random(BATCH)) / BATCH * 1000).long()
        with autocast():
            with torch.no_grad():
                condition = encoder(tokenizer.ids(vocabulary, texts)).last_hidden_state
            output = model(noiser.add_noise(clean, noise, times), times, condition).sample
        loss = F.mse_loss(output.float(), noiser.get_velocity(clean, noise, times))
        update(optimizer, loss, warm_cosine(step, STEPS, RATE), model)
        average.update(model)
        progress.report(loss=loss.detach())


def load(work: Path) -> UNet2DConditionModel:
    """The trained model, with averaged weights."""
    model = build()
    model.load_state_dict(Average.stored_weights(torch.load(work / "unet.pt", weights_only=True)["average"], model))
    return model.eval().requires_grad_(False)
