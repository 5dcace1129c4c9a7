"""The same forty small pictures in every kind of source, written by the libraries that people write them with."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel

COUNT = 40


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> str:
    torch.manual_seed(3)
    sizes = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"hidden_size": 32, "vocab_size": 99, **sizes}
    vision = {"hidden_size": 16, "image_size": 32, "patch_size": 8, **sizes}
    path = tmp_path_factory.mktemp("encoder") / "small-clip"
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(path)
    return str(path)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AESTHETIC_CACHE", str(tmp_path / "cache"))


def picture(number: int) -> bytes:
    numbers = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(numbers).save(file, "PNG")
    return file.getvalue()


def known(number: int) -> dict:
    """As img2dataset and LAION have it."""
    return {
        "key": f"{number:05}",
        "AESTHETIC_SCORE": number / 4,
        "width": 40 * number,
        "caption": f"a picture, {number}",
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for i in range(COUNT):
        (path / f"{i:05}.png").write_bytes(picture(i))
        (path / f"{i:05}.json").write_text(json.dumps(known(i)))
    return path


def write_tar(path: Path, numbers) -> Path:
    with tarfile.open(path, "w") as tar:
        for i in numbers:
            for suffix, data in (("png", picture(i)), ("txt", b"words"), ("json", json.dumps(known(i)).encode())):
                member = tarfile.TarInfo(f"{i:05}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def tars(tmp_path) -> Path:
    """img2dataset's output: shards, with what is known of each beside it."""
    path = tmp_path / "shards"
    path.mkdir()
    for shard in range(4):
        write_tar(path / f"{shard:05}.tar", range(shard * 10, shard * 10 + 10))
        (path / f"{shard:05}.parquet").write_bytes(b"metadata, which is in the shards too")
        (path / f"{shard:05}_stats.json").write_text("{}")
    return path


def write_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(COUNT):
            archive.writestr(f"all/{i:05}.png", picture(i))
            archive.writestr(f"all/{i:05}.json", json.dumps(known(i)))
    return path
