"""The diffusion model: v-prediction in the autoencoder's latents, conditioned on the frozen text encoder.

It trains as a data-parallel group, one thread a process: on busy cores that is several times faster than one process
with threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch.nn.parallel import DistributedDataParallel

from . import clip, data, tokenizer, vae
from .loop import Average, resumable, step_rng, update, warm_cosine

STEPS, BATCH, RATE = 6_800, 32, 1e-3  # the batch is one process's
PROCESSES = 2
EMPTY_SHARE = 0.1
# Two things that make the model follow a tuned encoder smoothly: a share of the captions say only faintly what the
# aesthetic is, on the way from the bare caption's hidden states, and hidden states are a little noisy.
FAINT_SHARE = 0.3
CONDITION_NOISE = 0.25


def build() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=vae.CHANNELS,
        out_channels=vae.CHANNELS,
        block_out_channels=(48, 112),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=16,
        cross_attention_dim=clip.WIDTH,
    )


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule with zero terminal signal, so that dark and bright are within reach."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # unused by trailing spacing, and what pipelines expect
    )


def train(work: Path) -> None:
    """Start the group and wait for it."""
    vae.latents(work)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={PROCESSES}",
        "-m",
        __name__,
        str(work),
    ]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def train_in_group(work: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(3)
    model = build().train()
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    average = Average(model, 0.9995)
    words, encoder, noiser = tokenizer.load(work / "tokenizer"), clip.load(work).text_model, scheduler()
    latents = vae.latents(work)
    for step, progress in resumable(
        work / "unet.pt", STEPS, rank == 0, model=model, optimizer=optimizer, average=average
    ):
        numbers, generator = step_rng("unet", step, rank)
        chosen = numbers.integers(len(latents), size=BATCH)
        kept = numbers.random(BATCH) >= EMPTY_SHARE
        full, bare = (data.captions("train", chosen, step, bare) for bare in (False, True))
        texts = [text if keep else "" for text, keep in zip(bare + full, [*kept, *kept], strict=True)]
        strength = np.where(numbers.random(BATCH) < FAINT_SHARE, numbers.random(BATCH), 1.0)
        clean = latents[chosen].float()
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.from_numpy((numbers.permutation(BATCH) + numbers.random(BATCH)) / BATCH * 1000).long()
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                plain, styled = encoder(tokenizer.ids(words, texts)).last_hidden_state.float().chunk(2)
                condition = plain.lerp(styled, torch.from_numpy(strength).float()[:, None, None])
                blur = CONDITION_NOISE * torch.rand(BATCH, 1, 1, generator=generator)
                condition = condition + blur * torch.randn(condition.shape, generator=generator)
            output = parallel(noiser.add_noise(clean, noise, times), times, condition).sample
        loss = F.mse_loss(output.float(), noiser.get_velocity(clean, noise, times))
        update(optimizer, loss, warm_cosine(step, STEPS, RATE), model)
        average.follow(model)
        progress.report(loss=loss.detach())
    dist.destroy_process_group()


def load(work: Path) -> UNet2DConditionModel:
    """The trained model, with averaged weights."""
    model = build()
    model.load_state_dict(Average.stored_weights(torch.load(work / "unet.pt", weights_only=True)["average"], model))
    return model.eval().requires_grad_(False)


if __name__ == "__main__":
    train_in_group(Path(sys.argv[1]))
