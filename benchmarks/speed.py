"""Time and memory of personalising one prompt: the published loop and ours, each run in a fresh process.

    python -m benchmarks.speed              # every case, median of 5
    python -m benchmarks.speed --runs 3 --only "adam, 8 tokens"

The tower has the shape of CLIP ViT-L/14's, with random weights. Extra memory is the process's peak minus what it held
with the model loaded and run once. Times on a shared machine drift; the two are therefore run in turn, and the ratio
is what to quote.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import aesthetic_embeddings as ae

LENGTH, BOS, EOS = 77, 49406, 49407
SHAPE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
STEPS = 10


@dataclass(frozen=True)
class Case:
    update: str
    tokens: tuple[int, ...]  # of each chunk
    stored: torch.dtype = torch.float32

    def __str__(self) -> str:
        length = f"{len(self.tokens)} chunks" if len(self.tokens) > 1 else f"{self.tokens[0]} tokens"
        return f"{self.update}, {length}" + (", fp16" if self.stored == torch.float16 else "")


CASES = [
    Case("adam", (8,)),
    Case("adam", (75,)),
    Case("adam", (75, 75, 75)),
    Case("normalized", (8,)),
    Case("normalized", (8,), torch.float16),
    Case("normalized", (75,)),
    Case("gradient", (8,)),
]


def published(model: Any, ids: Tensor, e: Tensor) -> None:
    """The loop of the paper's code (arXiv 2209.12330): a deep copy, Adam over all its parameters, the full length."""
    tuned = copy.deepcopy(model).float()
    optimizer = torch.optim.Adam(tuned.text_model.parameters(), lr=1e-4)
    for _ in range(STEPS):
        c = tuned(ids).text_embeds
        loss = -(c @ e / c.norm(dim=-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        tuned(ids)


def ours(model: Any, ids: Tensor, e: Tensor, update: str) -> None:
    with torch.no_grad(), ae.personalized(model, ids, e, ae.Settings(steps=STEPS, update=update)):
        model(ids)


def measure(case: Case, which: str) -> dict[str, float]:
    """Seconds, and MB of extra memory, of one run in this process."""
    torch.manual_seed(0)
    config = CLIPTextConfig(**SHAPE, projection_dim=768, vocab_size=49408, bos_token_id=BOS, eos_token_id=EOS)
    model = CLIPTextModelWithProjection(config).eval().to(case.stored)
    ids = torch.full((len(case.tokens), LENGTH), EOS)
    ids[:, 0] = BOS
    for row, n in zip(ids, case.tokens, strict=True):
        row[1 : n + 1] = torch.randint(300, 40000, (n,))
    e = torch.randn(768)
    with torch.no_grad():
        model(ids)
    before = resident(peak=False)
    start = time.perf_counter()
    if which == "published":
        published(model, ids, e)
    else:
        ours(model, ids, e, case.update)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "megabytes": (resident(peak=True) - before) / 2**20}


def resident(*, peak: bool) -> int:
    """Bytes resident in memory now, after which the peak counts anew, or at the peak since then. Linux only."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    if not peak:
        with open("/proc/self/clear_refs", "w") as reset:
            reset.write("5")
    return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) * 1024


def in_fresh_process(case: int, which: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speed", "--measure", str(case), which]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", help="the case whose name starts so")
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "WHICH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        case, which = arguments.measure
        print(json.dumps(measure(CASES[int(case)], which)))
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {STEPS} steps, median of {arguments.runs}\n")
    print("| case | published | ours | faster | published, extra memory | ours | memory ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for i, case in enumerate(CASES):
        if arguments.only and not str(case).startswith(arguments.only):
            continue
        runs = [(in_fresh_process(i, "published"), in_fresh_process(i, "ours")) for _ in range(arguments.runs)]
        seconds, memory = ([[run[key] for run in pair] for pair in runs] for key in ("seconds", "megabytes"))
        (t0, t1), (m0, m1) = (map(statistics.median, zip(*pairs, strict=True)) for pairs in (seconds, memory))
        faster = statistics.median(theirs / mine for theirs, mine in seconds)
        print(
            f"| {case} | {t0:.2f} s | {t1:.2f} s | {faster:.1f}x | {m0:.0f} MB | {m1:.0f} MB | {m1 / m0:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
