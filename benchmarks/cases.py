"""The benchmark cases: personalizing one prompt with the published loop or with ours, each in a fresh process."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import aesthetic_embeddings as ae
from tools.open_clip_text import open_clip_transformer

LENGTH, VOCABULARY, BOS, EOS = 77, 49408, 49406, 49407


@dataclass(frozen=True)
class Case:
    update: str
    tokens: tuple[int, ...]  # of each chunk
    stored: str = "float32"
    steps: int = 10
    width: int = 768  # of a tower with twelve layers; the default is CLIP ViT-L/14's
    sdxl: bool = False  # with OpenCLIP ViT-bigG/14 as a second tower

    def __str__(self) -> str:
        length = f"{len(self.tokens)} chunks" if len(self.tokens) > 1 else f"{self.tokens[0]} tokens"
        return ("SDXL, " if self.sdxl else "") + f"{self.update}, {length}" + (", fp16" * (self.stored == "float16"))


@dataclass(frozen=True)
class Result:
    seconds: float
    megabytes: float  # peak memory beyond that of the loaded model after one run


@dataclass(frozen=True)
class Encoder:
    """A text encoder with random weights."""

    model: nn.Module
    e: Tensor  # an aesthetic

    def feature(self, model: Any, ids: Tensor) -> Tensor:
        out = model(ids)
        return out if isinstance(out, Tensor) else out.text_embeds


def build_encoders(case: Case) -> list[Encoder]:
    config = CLIPTextConfig(
        hidden_size=case.width,
        intermediate_size=4 * case.width,
        num_hidden_layers=12,
        num_attention_heads=case.width // 64,
        projection_dim=768,
        vocab_size=VOCABULARY,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    models: list[tuple[nn.Module, int]] = [(CLIPTextModelWithProjection(config), 768)]
    if case.sdxl:
        shape = {"width": 1280, "heads": 20, "layers": 32, "output_dim": 1280}
        tower = open_clip_transformer().TextTransformer(context_length=LENGTH, vocab_size=VOCABULARY, **shape)
        models.append((tower, 1280))
    return [Encoder(model.eval().to(getattr(torch, case.stored)), torch.randn(dim)) for model, dim in models]


def prompt(case: Case) -> Tensor:
    ids = torch.full((len(case.tokens), LENGTH), EOS)
    ids[:, 0] = BOS
    for row, n in zip(ids, case.tokens, strict=True):
        row[1 : n + 1] = torch.randint(300, 40000, (n,))
    return ids


def published_loop(case: Case, encoders: list[Encoder], ids: Tensor) -> None:
    """The loop of the paper's code (arXiv 2209.12330): Adam over all parameters of a deep copy, at full length."""
    all_tuned = []
    for encoder in encoders:
        tuned = copy.deepcopy(encoder.model).float()
        optimizer = torch.optim.Adam(getattr(tuned, "text_model", tuned).parameters(), lr=1e-4)
        for _ in range(case.steps):
            c = encoder.feature(tuned, ids)
            loss = -(c @ encoder.e / c.norm(dim=-1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        all_tuned.append(tuned)
    with torch.no_grad():
        for tuned in all_tuned:
            tuned(ids)


def our_loop(case: Case, encoders: list[Encoder], ids: Tensor) -> None:
    settings = ae.Settings(steps=case.steps, update=case.update)
    with torch.no_grad(), ExitStack() as stack:
        for encoder in encoders:
            stack.enter_context(ae.personalized(encoder.model, ids, encoder.e, settings))
        for encoder in encoders:
            encoder.model(ids)


def measure(case: Case, loop: str) -> Result:
    """One run in this process. Memory that an earlier run freed is reused, and would not count."""
    torch.manual_seed(0)
    encoders, ids = build_encoders(case), prompt(case)
    with torch.no_grad():
        for encoder in encoders:
            encoder.model(ids)
    reset_peak()
    before = peak_memory()
    start = time.perf_counter()
    {"published": published_loop, "ours": our_loop}[loop](case, encoders, ids)
    seconds = time.perf_counter() - start
    return Result(seconds, (peak_memory() - before) / 2**20)


def reset_peak() -> None:
    """Reset `peak_memory` to the memory that is resident now."""
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")


def peak_memory() -> int:
    """The peak of resident memory in bytes since `reset_peak`. Linux only."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["VmHWM"].split()[0]) * 1024


def run_in_fresh_process(case: Case, loop: str) -> Result:
    command = [sys.executable, "-m", "benchmarks.cases", json.dumps(asdict(case)), loop]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return Result(**json.loads(process.stdout.splitlines()[-1]))


if __name__ == "__main__":
    values = json.loads(sys.argv[1])
    values["tokens"] = tuple(values["tokens"])
    print(json.dumps(asdict(measure(Case(**values), sys.argv[2]))))
