"""Time and memory of personalizing one prompt on a GPU, compared with one step of sampling.

    python -m benchmarks.device                      # on cuda: fp16 towers of CLIP ViT-L/14's shape, and SDXL's two
    python -m benchmarks.device --cuda-graphs        # ours by CUDA graphs, which are off by default
    python -m benchmarks.device --device cpu --width 64 --runs 2     # checks that the command runs

A row is 10 steps on one prompt: the first one in the process, then the median of later ones, each with a new prompt.
Below is one step of a UNet with Stable Diffusion 1's shape at 512 x 512 with CFG, for comparison.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from aesthetic_embeddings.text_encoder import cuda_graph

from .cases import Case, build_encoders, our_loop, prompt, published_loop

CASES = [
    Case("adam", (8,), "float16"),
    Case("adam", (75,), "float16"),
    Case("normalized", (8,), "float16"),
    Case("normalized", (75,), "float16"),
    Case("adam", (20,), "float16", sdxl=True),
    Case("normalized", (20,), "float16", sdxl=True),
]


def milliseconds(device: torch.device, work: Callable[[], object]) -> float:
    backend = getattr(torch, device.type)
    backend.synchronize()
    start = time.perf_counter()
    work()
    backend.synchronize()
    return 1000 * (time.perf_counter() - start)


def peak_megabytes(device: torch.device, work: Callable[[], object]) -> float:
    """The peak of torch's memory beyond what it held before; nan if the device does not report it."""
    backend = getattr(torch, device.type)
    if not hasattr(backend, "max_memory_allocated"):
        work()
        return float("nan")
    before = backend.memory_allocated()
    backend.reset_peak_memory_stats()
    work()
    return float(backend.max_memory_allocated() - before) / 2**20


def row(case: Case, device: torch.device, runs: int) -> str:
    torch.manual_seed(0)
    encoders = [
        replace(encoder, model=encoder.model.to(device).requires_grad_(False), e=encoder.e.to(device))
        for encoder in build_encoders(case)
    ]
    cells = [str(case)]
    for loop in (our_loop, published_loop):
        trained = loop is published_loop
        for encoder in encoders:
            encoder.model.requires_grad_(trained)

        def run_once(loop: Callable[..., None] = loop) -> None:
            loop(case, encoders, prompt(case).to(device))

        first, *later = (milliseconds(device, run_once) for _ in range(1 + runs))
        cells += [f"{first:.0f} ms", f"{statistics.median(later):.1f} ms", f"{peak_megabytes(device, run_once):.0f} MB"]
    return f"| {' | '.join(cells)} |"


def unet_step(device: torch.device, runs: int, small: bool) -> float:
    from diffusers import UNet2DConditionModel

    shape = {"block_out_channels": (32, 64, 64, 64), "attention_head_dim": 4} if small else {"attention_head_dim": 8}
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    unet = UNet2DConditionModel(cross_attention_dim=768, **shape).eval().to(device, dtype)
    size = 16 if small else 64
    x = torch.randn(2, 4, size, size).to(device, dtype)  # batch of two for CFG
    condition = torch.randn(2, 77, 768).to(device, dtype)
    with torch.inference_mode():
        return statistics.median([milliseconds(device, lambda: unet(x, 500, condition)) for _ in range(2 + runs)][2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--width", type=int, help="of smaller towers than CLIP's; skips SDXL, and uses a small UNet")
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="the first two prompts are tuned without, or capture"
    )
    arguments = parser.parse_args()
    cuda_graph.enabled = arguments.cuda_graphs
    device: torch.device = arguments.device
    small = arguments.width is not None
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    graphs = "with" if arguments.cuda_graphs else "without"
    print(f"{name}, torch {torch.__version__}, {graphs} CUDA graphs, median of {arguments.runs}\n")
    print("| case | ours, first | later | peak | published, first | later | peak |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        if small and not case.sdxl:
            case = replace(case, width=arguments.width, stored="float32")
        elif small:
            continue
        print(row(case, device, arguments.runs), flush=True)
    if arguments.cuda_graphs and not cuda_graph.enabled:
        print("\nA capture failed (the log says why), so all later prompts were tuned without CUDA graphs.")
    print(f"\nOne UNet step: {unet_step(device, arguments.runs, small):.1f} ms")


if __name__ == "__main__":
    main()
