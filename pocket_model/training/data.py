"""Pictures of the world, drawn once in chunks of uint8. Captions are generated at every use.

Drawing and training run in parallel. A stage that needs missing pictures draws them itself, starting from the last
chunk, while the drawing process starts from the first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..scene import Scene, judge_scene, random_scene
from ..words import caption
from ..world import SIZE, draw

CHUNK = 500
CHUNKS = {"train": 72, "judge": 20}
FIRST_SEED = {"train": 0, "judge": 20_000_000}
SCENE_MAKERS = {"train": random_scene, "judge": judge_scene}


@cache
def scenes(split: str) -> list[Scene]:
    """The scenes of a split. The seeds of splits are disjoint."""
    return [SCENE_MAKERS[split](FIRST_SEED[split] + i) for i in range(CHUNKS[split] * CHUNK)]


def captions(split: str, indices: Sequence[int] | np.ndarray, epoch: int) -> list[str]:
    return [caption(scenes(split)[i], epoch) for i in indices]


def _path(work: Path, split: str, chunk: int) -> Path:
    return work / "data" / f"{split}-{chunk:03}.npy"


def render(work: Path, split: str, chunks: int | None = None, backwards: bool = False) -> None:
    """Draw the missing ones of a split's first `chunks` chunks, or of all its chunks."""
    chunk_numbers = list(range(CHUNKS[split] if chunks is None else min(chunks, CHUNKS[split])))
    for chunk in tqdm(chunk_numbers[::-1] if backwards else chunk_numbers, desc=f"draw {split}", mininterval=30):
        path = _path(work, split, chunk)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [np.asarray(draw(s)) for s in scenes(split)[chunk * CHUNK : (chunk + 1) * CHUNK]]
        temporary = path.with_suffix(f".{os.getpid()}")
        with temporary.open("wb") as file:
            np.save(file, np.stack(images))
        temporary.replace(path)


class Pictures:
    """The pictures of a split, `[count, 128, 128, 3]` uint8, read from disk when they are needed."""

    def __init__(self, work: Path, split: str, chunks: int | None = None) -> None:
        render(work, split, chunks, backwards=True)
        count = CHUNKS[split] if chunks is None else min(chunks, CHUNKS[split])
        self.chunks = [np.load(_path(work, split, chunk), mmap_mode="r") for chunk in range(count)]

    def __len__(self) -> int:
        return len(self.chunks) * CHUNK

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        assert self.chunks[0].shape[1:] == (SIZE, SIZE, 3)
        return np.stack([self.chunks[i // CHUNK][i % CHUNK] for i in indices])
