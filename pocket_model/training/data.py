"""Pictures of the world, drawn once into uint8 memory maps; captions are made anew at every use."""

from __future__ import annotations

import multiprocessing
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..words import SETTINGS, STYLES, SUBJECTS, caption
from ..world import SIZE, Scene, draw, random_scene

COUNTS = {"train": 100_000, "check": 2_000, "judge": 24_000, "judge-check": 2_000}
FIRST_SEED = {"train": 0, "check": 10_000_000, "judge": 20_000_000, "judge-check": 30_000_000}
CHUNK = 500


@cache
def scenes(split: str) -> list[Scene]:
    """The scenes of a split. Splits draw from disjoint seeds."""
    shares = {"plain": 0.3, "graded": 0.14} if split.startswith("judge") else {}
    return [random_scene(FIRST_SEED[split] + i, **shares) for i in range(COUNTS[split])]


def labels(split: str) -> np.ndarray:
    """`[count, 3]`: subject, setting, and style (-1 where graded: neither plain nor of an aesthetic)."""
    rows = [
        (SUBJECTS.index(s.subject), SETTINGS.index(s.setting), -1 if s.grading else STYLES.index(s.style))
        for s in scenes(split)
    ]
    return np.array(rows)


def captions(split: str, indices: np.ndarray, epoch: int, bare: bool = False) -> list[str]:
    return [caption(scenes(split)[i], epoch, bare) for i in indices]


def _path(work: Path, split: str) -> Path:
    return work / "data" / f"{split}.npy"


def _draw_chunk(job: tuple[Path, str, int]) -> None:
    path, split, start = job
    pictures = np.lib.format.open_memmap(path, mode="r+")
    for i in range(start, min(start + CHUNK, len(pictures))):
        pictures[i] = np.asarray(draw(scenes(split)[i]))


def render(work: Path) -> None:
    """Draw every split that is not there yet."""
    for split, count in COUNTS.items():
        path = _path(work, split)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE, 3)).flush()
        jobs = [(unfinished, split, start) for start in range(0, count, CHUNK)]
        with multiprocessing.get_context("spawn").Pool() as pool:
            for _ in tqdm(
                pool.imap_unordered(_draw_chunk, jobs),
                total=len(jobs),
                desc=f"draw {split}",
                unit_scale=CHUNK,
                unit="pictures",
            ):
                pass
        unfinished.rename(path)


def pictures(work: Path, split: str) -> np.ndarray:
    """`[count, 64, 64, 3]` uint8, memory-mapped."""
    return np.load(_path(work, split), mmap_mode="r")
