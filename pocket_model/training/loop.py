"""Shared by the training stages: a resumable loop, a learning rate schedule, averaged weights, and precision."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from aesthetic_embeddings.aesthetics.image_encoder import cpu_is_faster_in_bf16

SAVE_EVERY_SECONDS = 60.0


def autocast() -> torch.autocast:
    """A context in bf16 on a CPU that is faster in it, else in fp32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=cpu_is_faster_in_bf16())


class Progress:
    """The progress bar of a training loop. `report` shows running means."""

    def __init__(self, bar: tqdm) -> None:
        self.bar = bar
        self.means: dict[str, float] = {}

    def report(self, **values: torch.Tensor) -> None:
        for name, value in values.items():
            self.means[name] = 0.98 * self.means.get(name, value.item()) + 0.02 * value.item()
        self.bar.set_postfix({k: f"{v:.4f}" for k, v in self.means.items()}, refresh=False)


def resumable(path: Path, steps: int, **state: Any) -> Iterator[tuple[int, Progress]]:
    """Yield the remaining steps. Every `state` (objects with a state_dict) is saved at `path` regularly and at the end.

    With random numbers from `step_rng`, the result does not depend on interruptions.
    """
    done = 0
    if path.exists():
        stored = torch.load(path, weights_only=True)
        done = stored.pop("step")
        for name, item in state.items():
            item.load_state_dict(stored[name])

    def save(step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        torch.save({"step": step, **{name: item.state_dict() for name, item in state.items()}}, temporary)
        temporary.replace(path)

    saved = time.monotonic()
    with tqdm(total=steps, initial=done, desc=path.stem, mininterval=5) as bar:
        progress = Progress(bar)
        for step in range(done, steps):
            yield step, progress
            bar.update()
            if step + 1 == steps or time.monotonic() - saved > SAVE_EVERY_SECONDS:
                save(step + 1)
                saved = time.monotonic()


def step_rng(stage: str, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Random generators that depend only on the stage and the step."""
    rng = np.random.default_rng([*stage.encode(), step])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))


def warm_cosine(step: int, steps: int, peak: float, warm: int = 200, floor: float = 0.02) -> float:
    """A learning rate with linear warmup, then a cosine decay to a small remainder."""
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def update(
    optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float, model: nn.Module, clip: float = 1.0
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


class Average(nn.Module):
    """The exponential moving average of a model's weights. Its decay increases at the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.values = nn.ParameterList(
            [nn.Parameter(p.detach().clone(), requires_grad=False) for p in model.parameters()]
        )

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count.item()) / (10 + self.count.item()))
        torch._foreach_lerp_(list(self.values), list(model.parameters()), 1 - decay)

    @staticmethod
    def stored_weights(state: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
        """The weights of a stored average, by the model's own names."""
        return {name: state[f"values.{i}"] for i, (name, _) in enumerate(model.named_parameters())}


def as_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Convert uint8 `[n, h, w, 3]` to `[-1, 1]` `[n, 3, h, w]`, channels last in memory, which convolutions prefer."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).to(torch.float32).div(127.5).sub(1)


def random_flips(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Mirror half of the pictures. Captions do not distinguish left from right."""
    mirror = torch.from_numpy(rng.random(len(pictures)) < 0.5)
    return torch.where(mirror[:, None, None, None], pictures.flip(-1), pictures)
