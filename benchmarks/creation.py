"""Pictures per second when creating an aesthetic, compared with a plain loop; and whether memory stays constant.

    python -m benchmarks.creation             # 32 JPEGs of 12 megapixels, a vision tower of ViT-L/14's shape
    python -m benchmarks.creation --memory    # ... and resident memory after 100 and after 1000 of them

Both read the same files in turn, with the same random weights. The plain loop is the obvious one: open,
`CLIPImageProcessor`, `get_image_features` in fp32, 16 at a time. Beside them are our reading alone and the model alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings.aesthetics.image_encoder import load_image_encoder
from aesthetic_embeddings.aesthetics.pictures import prefetched

from .cases import peak_memory, reset_peak

SHAPE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
SIZE = (4000, 3000)


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files of noise at many scales, which take as long to decode as photographs."""
    random, files = np.random.default_rng(0), []
    for number in range(count):
        picture = np.zeros((SIZE[1], SIZE[0], 3), np.float32)
        for cells in (4, 16, 64, 256, 1024):
            noise = Image.fromarray(random.integers(0, 255, (cells * 3 // 4, cells, 3), np.uint8))
            picture += np.asarray(noise.resize(SIZE, Image.Resampling.BICUBIC), np.float32) * 0.2
        files.append(folder / f"{number}.jpg")
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


def plain_loop(files: list[Path], model: Any, processor: Any) -> torch.Tensor:
    features = []
    for start in range(0, len(files), 16):
        images = [Image.open(file).convert("RGB") for file in files[start : start + 16]]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            features.append(model(pixel_values=pixels).image_embeds)
    return torch.cat(features).double().mean(0)


def our_loop(files: list[Path], model: Any, processor: Any) -> torch.Tensor:
    return ae.create(files, model, batch_size=16, processor=processor).vectors["clip-vit-l-14"].double()


def alone(files: list[Path], model: Any, processor: Any) -> tuple[float, float]:
    """The pictures per second of our reading and resizing alone, and of the model alone."""
    encoder = load_image_encoder(model, processor, "cpu", 16, False)
    start = time.perf_counter()
    ready = [pixels for _, pixels in prefetched(encoder.prepare, enumerate(files), 16)]
    read = time.perf_counter()
    for first in range(0, len(ready), 16):
        encoder.features(ready[first : first + 16])
    return len(files) / (read - start), len(files) / (time.perf_counter() - read)


def memory_by_count(files: list[Path], model: Any, processor: Any) -> Iterator[tuple[int, float]]:
    """Yield the peak of resident memory, in MB, for 100 and for 1000 pictures."""
    for count in (100, 1000):
        reset_peak()
        our_loop((files * count)[:count], model, processor)
        yield count, peak_memory() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(**SHAPE, patch_size=14, projection_dim=768)
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    # CLIPImageProcessor needs torchvision from transformers 5 on
    processor = (getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor)()
    with tempfile.TemporaryDirectory() as folder:
        files = photographs(Path(folder), arguments.count)
        ratios = []
        for _ in range(arguments.runs):
            means, seconds = [], []
            for loop in (plain_loop, our_loop):
                start = time.perf_counter()
                means.append(loop(files, model, processor))
                seconds.append(time.perf_counter() - start)
            ratios.append(seconds[0] / seconds[1])
            rates = [len(files) / s for s in seconds]
            cosine = float(torch.cosine_similarity(*means, dim=0))
            print(f"plain {rates[0]:.2f}, ours {rates[1]:.2f} pictures/s; 1 - cosine {1 - cosine:.1e}", flush=True)
            reading, encoding = alone(files, model, processor)
            both = 1 / (1 / reading + 1 / encoding)  # they share the cores
            print(
                f"reading alone {reading:.2f}, the model alone {encoding:.2f}, one after the other {both:.2f}",
                flush=True,
            )
        print(f"median: {statistics.median(ratios):.2f} times as fast ({torch.get_num_threads()} threads)")
        if arguments.memory:
            for count, megabytes in memory_by_count(files, model, processor):
                print(f"{count} pictures: {megabytes:.0f} MB at the peak", flush=True)


if __name__ == "__main__":
    main()
