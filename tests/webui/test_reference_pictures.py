"""Pictures in place of an embedding."""

from __future__ import annotations

import base64
import io
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings.aesthetics.creation import Creation
from aesthetic_embeddings.aesthetics.pictures import read

from .conftest import embedding
from .fake_host import FAMILY, Host
from .outside import cond

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both


def png(color: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(data, "PNG")
    return data.getvalue()


def upload(path: Path, data: bytes) -> Any:
    """gradio's: an object with a name."""
    path.write_bytes(data)
    return types.SimpleNamespace(name=str(path))


@pytest.fixture
def looks(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """Grows by the pictures that a CLIP is given; it sees the aesthetic "dusk" in all of them."""
    module = host.webui("reference_pictures")
    (host.root / "models/CLIP/clip-vit-large-patch14").mkdir(parents=True)
    (host.root / "models/CLIP/clip-vit-large-patch14/config.json").write_text("{}")
    (host.root / "models/CLIP/clip-vit-large-patch14/model.safetensors").touch()
    calls: list[list[Any]] = []

    def create_each(pictures: Any, encoders: Any, name: str, on_progress: Any, **_: Any) -> tuple[Creation, ...]:
        try:
            calls.append([read(picture).getpixel((0, 0)) for picture in pictures])
        except OSError as error:
            raise ae.AestheticError(f"None of the pictures could be read: {error}") from error
        on_progress(encoders[0], len(pictures), len(pictures))
        made = ae.AestheticEmbedding({FAMILY: embedding("dusk", 1).vectors[FAMILY]}, name, len(pictures))
        return (Creation(made, (), torch.ones(len(pictures)), (), torch.empty(0)),)

    monkeypatch.setattr(module, "create_each", create_each)
    return calls


def made(host: Host, **chosen: Any) -> tuple[torch.Tensor, Any]:
    (picture,) = host.generate(p := host.job("a castle", steps=3, **chosen))
    return cond(picture), p


def test_they_replace_the_embedding(host: Host, looks: list, tmp_path: Path):
    given = [upload(tmp_path / f"{color}.png", png(color)) for color in ("red", "blue")]
    tuned, p = made(host, pictures=given, embedding="dawn")
    assert torch.equal(tuned, made(host, embedding="dusk")[0])
    assert looks == [[(255, 0, 0), (0, 0, 255)]]
    assert p.extra_generation_params["Aesthetic embedding"] == "2 pictures"
    assert "Aesthetic hash" not in p.extra_generation_params
    assert "2 pictures, similarity" in next(iter(p.comments))
    assert host.webui("host").library.names() == ["dawn", "dusk"]  # no file was made


def test_from_the_api_they_are_text_and_no_paths(host: Host, looks: list, tmp_path: Path):
    text = base64.b64encode(png("red")).decode()
    module = host.webui("request")
    for each in (text, f"data:image/png;base64,{text}"):
        given = module.values_by_name([{"pictures": [each]}])
        assert given["enabled"]
        assert module.read_request(given, host.webui("host").library).positive.embedding.name == "1 picture"
    (tmp_path / "secret.png").write_bytes(png("red"))
    _, p = made(host, pictures=[str(tmp_path / "secret.png")])
    assert "base64" in p.extra_generation_params["Aesthetic error"]
    assert len(looks) == 1


def test_the_same_set_is_encoded_once(host: Host, looks: list, tmp_path: Path):
    red, blue = (upload(tmp_path / f"{color}.png", png(color)) for color in ("red", "blue"))
    for given in ([red, blue], [blue, red], [red, blue]):
        made(host, pictures=given)
    assert len(looks) == 1
    made(host, pictures=[red])
    assert len(looks) == 2


def test_without_a_clip_it_says_where_to_get_one(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    _, p = made(host, pictures=[upload(tmp_path / "red.png", png("red"))])
    assert "Reference pictures need CLIP ViT-L/14" in p.extra_generation_params["Aesthetic error"]
    assert "in the tab Create aesthetic embedding" in p.extra_generation_params["Aesthetic error"]


@pytest.mark.parametrize("data", [b"", b"nothing", png("red")[:20]])
def test_files_that_are_not_pictures_are_reported(host: Host, looks: list, tmp_path: Path, data: bytes):
    _, p = made(host, pictures=[upload(tmp_path / "red.png", data)])
    assert "picture" in p.extra_generation_params["Aesthetic error"]
    assert looks == []


def test_too_many_are_refused_before_a_clip_sees_them(host: Host, looks: list):
    _, p = made(host, pictures=[base64.b64encode(png("red")).decode()] * 201)
    assert "201 pictures are too many" in p.extra_generation_params["Aesthetic error"]
    assert looks == []


def test_pasted_it_stays_off(host: Host, looks: list, tmp_path: Path):
    _, p = made(host, pictures=[upload(tmp_path / "red.png", png("red"))], weight=0.5)
    back = host.webui("infotext").read(p.extra_generation_params, host.webui("host").library).values
    assert (back["enabled"], back["embedding"], back["weight"]) == (False, "None", 0.5)
    embedding("1 picture", 4).save(host.root / "models/aesthetic_embeddings/1 picture.safetensors")
    _, p = made(host, embedding="1 picture")
    assert host.webui("infotext").read(p.extra_generation_params, host.webui("host").library).values["enabled"]


def test_interrupt_ends_it(host: Host, looks: list, tmp_path: Path):
    host.state.on_text = lambda text: host.state.interrupt()
    host.generate(p := host.job("a castle", pictures=[upload(tmp_path / "red.png", png("red"))]))
    assert "Interrupted" in p.extra_generation_params["Aesthetic error"]
