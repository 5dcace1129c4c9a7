"""Pictures per second from tar shards: ours in one process, ours on Ray, and clip-retrieval's `clip inference`.

    python -m benchmarks.large_sets compare --clip-retrieval PYTHON    # an interpreter that has clip-retrieval
    python -m benchmarks.large_sets growth      # 1k, 10k, 100k pictures; writes docs/large-sets.png
    python -m benchmarks.large_sets features    # 10 million features computed before, against reading them twice

All read the same files, each as a command in a fresh process, and the time to start and to load counts. clip-retrieval
pins older packages, so it has an environment of its own, which should have the same torch. Memory is the peak of all
processes of a command together. Pages that they share count once (PSS). It is read twice a second.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
import webdataset
from PIL import Image
from transformers import CLIPConfig, CLIPModel

import aesthetic_embeddings as ae
from aesthetic_embeddings.pocket import MODEL

START = "from aesthetic_embeddings.cli import main; main()"
PER_SHARD = 250  # pictures
SIDE = 256  # of a picture, as img2dataset resizes them by default
DIM = 768  # of a feature computed before
ROWS_PER_FILE = 1_000_000  # as clip-retrieval writes them


@dataclass(frozen=True)
class Run:
    seconds: float
    megabytes: float


def run(command: Sequence[str], environment: dict[str, str]) -> Run:
    """Run a command to its end. Raises SystemExit with what it printed if it fails."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | environment)
        peak = 0
        while True:
            try:
                process.wait(0.5)
                break
            except psutil.TimeoutExpired:
                peak = max(peak, _memory(process))
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read().decode(errors='replace')[-3000:]}")
    return Run(seconds, peak / 2**20)


def _memory(process: psutil.Process) -> int:
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_full_info().pss
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


# ---------------------------------------------------------------- what is read


def write_shards(folder: Path, count: int) -> None:
    """Tar shards of JPEGs as img2dataset writes them: noise at several scales, with captions."""
    random = np.random.default_rng(0)
    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=PER_SHARD, verbose=0) as shards:
        for number in range(count):
            picture = np.zeros((SIDE, SIDE, 3), np.float32)
            for cells in (4, 16, 64):
                noise = Image.fromarray(random.integers(0, 255, (cells, cells, 3), np.uint8))
                picture += np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) / 3
            file = io.BytesIO()
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=95)
            shards.write({"__key__": f"{number:09}", "jpg": file.getvalue(), "txt": f"picture {number}"})


def write_encoder(folder: Path) -> Path:
    """A CLIP of ViT-B/32's shape with random weights, with the pocket model's tokenizer."""
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    for file in (MODEL / "tokenizer").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "preprocessor_config.json").write_text(PREPROCESSOR)
    return folder


PREPROCESSOR = """{
  "image_processor_type": "CLIPImageProcessor", "crop_size": 224, "do_center_crop": true, "do_normalize": true,
  "do_resize": true, "size": 224, "resample": 3, "image_mean": [0.48145466, 0.4578275, 0.40821073],
  "image_std": [0.26862954, 0.26130258, 0.27577711]
}"""


def write_features(folder: Path, rows: int) -> None:
    """Files of fp16 unit features, in clip-retrieval's format."""
    random = np.random.default_rng(0)
    block = random.standard_normal((ROWS_PER_FILE // 10, DIM), np.float32) + 0.2
    block /= np.linalg.norm(block, axis=1, keepdims=True)
    block = block.astype(np.float16)
    for number in range(rows // ROWS_PER_FILE):
        file = np.lib.format.open_memmap(folder / f"img_emb_{number:04}.npy", "w+", np.float16, (ROWS_PER_FILE, DIM))
        for start in range(0, ROWS_PER_FILE, len(block)):
            file[start : start + len(block)] = block
        file.flush()


# ---------------------------------------------------------------- the commands


def ours(source: Path, encoder: Path, library: Path, *options: str) -> Run:
    command = [sys.executable, "-c", START, "--library", str(library)]
    return run([*command, "create", "mine", str(source), "--overwrite", "--encoder", str(encoder), *options], {})


def clip_inference(python: str, shards: Path, encoder: Path, output: Path) -> Run:
    files = sorted(file.name for file in shards.iterdir())
    command = [python, "-m", "clip_retrieval.cli", "inference", "--input_format", "webdataset"]
    dataset = f"{shards}/{{{files[0][:-4]}..{files[-1][:-4]}}}.tar"
    command += ["--input_dataset", dataset, "--output_folder", str(output)]
    command += ["--clip_model", f"hf_clip:{encoder}", "--enable_text", "False", "--batch_size", "64"]
    return run([*command, "--num_prepro_workers", "2", "--enable_wandb", "False"], {"PYTHONPATH": ""})


def compare(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        shards = work / "shards"
        shards.mkdir()
        write_shards(shards, arguments.count)
        encoder = write_encoder(work / "clip-vit-b-32")
        ways = {
            "ours, one process": lambda: ours(shards, encoder, work),
            "ours, Ray": lambda: ours(shards, encoder, work, "--engine", "ray"),
        }
        if python := arguments.clip_retrieval:
            ways["clip-retrieval"] = lambda: clip_inference(python, shards, encoder, work / "features")
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for _ in range(arguments.runs):  # in turn, since a shared machine drifts
            for name, way in ways.items():
                runs[name].append(way())
                print(f"{name}: {arguments.count / runs[name][-1].seconds:.1f} pictures/s", flush=True)
        print("\n| | time | pictures a second | memory |\n| --- | --- | --- | --- |")
        for name, each in runs.items():
            seconds = statistics.median(one.seconds for one in each)
            megabytes = statistics.median(one.megabytes for one in each)
            print(f"| {name} | {seconds:.1f} s | {arguments.count / seconds:.1f} | {megabytes:.0f} MB |")
        if arguments.clip_retrieval:
            features = [np.load(file).astype(np.float64) for file in (work / "features" / "img_emb").glob("*.npy")]
            theirs = torch.from_numpy(np.concatenate(features).mean(0))
            mine = next(iter(ae.load(work / "mine.safetensors").vectors.values())).double()
            print(f"\n1 - cosine of the two means: {1 - torch.cosine_similarity(theirs, mine, dim=0):.1e}")


def growth(arguments: argparse.Namespace) -> None:
    """With the pocket model's CLIP, which is small: what is measured is everything else."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        table: dict[str, list[Run]] = {"one process": [], "Ray": []}
        counts = [1_000 * 10**k for k in range(3) if 1_000 * 10**k <= arguments.count]
        print("| pictures | one process | memory | Ray | memory |\n| --- | --- | --- | --- | --- |")
        for count in counts:
            shards = work / str(count)
            shards.mkdir()
            write_shards(shards, count)
            table["one process"].append(ours(shards, MODEL, work))
            table["Ray"].append(ours(shards, MODEL, work, "--engine", "ray"))
            cells = [f"{each[-1].seconds:.1f} s | {each[-1].megabytes:.0f} MB" for each in table.values()]
            print(f"| {count:,} | {' | '.join(cells)} |", flush=True)
        draw(counts, table, arguments.plot)


def draw(counts: list[int], table: dict[str, list[Run]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (time_axis, memory_axis) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for (name, runs), color in zip(table.items(), ("#d9480f", "#5c7cfa"), strict=True):
        time_axis.plot(counts, [each.seconds for each in runs], "o-", color=color, label=name)
        memory_axis.plot(counts, [each.megabytes for each in runs], "o-", color=color, label=name)
    time_axis.set(xscale="log", yscale="log", xlabel="pictures", ylabel="time [s]")
    memory_axis.set(xscale="log", ylim=(0, None), xlabel="pictures", ylabel="memory of all processes [MB]")
    for axis in (time_axis, memory_axis):
        axis.spines[["top", "right"]].set_visible(False)
    time_axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def features(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        work = Path(temporary)
        source = work / "features"
        source.mkdir()
        write_features(source, arguments.rows)
        for kept in (False, True):  # by the system in memory, as far as it has room
            seconds = []
            for _ in range(2):
                if not kept:
                    forget(source)
                start = time.perf_counter()
                read(source)
                seconds.append(time.perf_counter() - start)
            if not kept:
                forget(source)
            made = ours(source, MODEL, work)
            print(
                f"{arguments.rows:,} rows of {DIM}, {'kept in memory' if kept else 'from the disk'}: "
                f"{made.seconds:.1f} s, {made.megabytes:.0f} MB; reading the files twice: {sum(seconds):.1f} s",
                flush=True,
            )


def read(folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        with file.open("rb", buffering=0) as stream:
            while stream.read(2**24):
                pass


def forget(folder: Path) -> None:
    """Make the system read the files from the disk again (Linux)."""
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("compare")
    command.add_argument("--count", type=int, default=2_000)
    command.add_argument("--runs", type=int, default=3)
    command.add_argument("--clip-retrieval", help="the interpreter of an environment with clip-retrieval")
    command.set_defaults(function=compare)
    command = commands.add_parser("growth")
    command.add_argument("--count", type=int, default=100_000, help="the largest set")
    command.add_argument("--plot", type=Path, default=Path("docs/large-sets.png"))
    command.set_defaults(function=growth)
    command = commands.add_parser("features")
    command.add_argument("--rows", type=int, default=10_000_000)
    command.add_argument("--folder", type=Path, help="where 1.5 GB are free for each million rows")
    command.set_defaults(function=features)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
