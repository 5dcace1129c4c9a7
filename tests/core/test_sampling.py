"""Loading models of every kind that `--model` takes, and the PNG files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTokenizer

from aesthetic_embeddings import AestheticError, pocket
from aesthetic_embeddings.diffusion.contact_sheet import sheet
from aesthetic_embeddings.diffusion.png_metadata import read_metadata, save_picture
from aesthetic_embeddings.diffusion.sampling import load_pipeline, pictures

from ..checkpoints import save_native, small_sd1

pytest.importorskip("diffusers")


def picture(pipeline: object) -> np.ndarray:
    (image,) = pictures(pipeline, {"prompt": "a ship at sea"}, [5], steps=2, size=(64, 64))
    return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def small() -> object:
    pipeline = small_sd1(CLIPTokenizer.from_pretrained(pocket.MODEL))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_a_checkpoint_file_is_the_same_model_as_its_diffusers_folder(small, tmp_path):
    save_native(small, tmp_path / "small.safetensors")
    with pytest.raises(AestheticError, match="beside the checkpoint"):
        load_pipeline(tmp_path / "small.safetensors")
    small.save_pretrained(tmp_path / "small")
    original = load_pipeline(tmp_path / "small")
    for weights in (tmp_path / "small").rglob("*.safetensors"):
        weights.unlink()
    loaded = load_pipeline(tmp_path / "small.safetensors")
    for part in ("text_encoder", "unet", "vae"):
        expected, found = (getattr(pipeline, part).state_dict() for pipeline in (original, loaded))
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    # equal weights elsewhere in memory may round a value across the border of two levels
    assert np.abs(picture(loaded) - picture(original)).max() <= 1


def test_a_hub_id_in_the_cache(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--somebody--pocket" / "snapshots" / "0123abcd"
    shutil.copytree(pocket.MODEL, snapshot)
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("0123abcd")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert (
        load_pipeline("somebody/pocket").unet.config.in_channels == load_pipeline(pocket.MODEL).unet.config.in_channels
    )


@pytest.mark.parametrize("name", ["nothing.safetensors", "nobody/nothing", "empty", "damaged.safetensors"])
def test_a_path_without_a_model_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged.safetensors").write_bytes(b"\xff" * 100)
    path = name if name == "nobody/nothing" else tmp_path / name
    with pytest.raises(AestheticError, match=name):
        load_pipeline(path)


def test_seeds_do_not_depend_on_each_other():
    pipeline = load_pipeline(pocket.MODEL)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    together = list(pictures(pipeline, {"prompt": "a tree"}, [1, 2], steps=2))
    (alone,) = pictures(pipeline, {"prompt": "a tree"}, [2], steps=2)
    assert np.array_equal(np.asarray(together[1]), np.asarray(alone))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_png_keeps_its_metadata(tmp_path):
    about = {"prompt": 'a "ship", at sea:\n名前 🙂', "settings": {"steps": 3}}
    path = save_picture(Image.new("RGB", (8, 8)), tmp_path / "new" / "picture.png", about)
    assert read_metadata(path) == about
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(AestheticError, match="holds no settings"):
        read_metadata(path)


def test_a_sheet_has_room_for_everything():
    wide, tall = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (10, 20), "blue")
    page = sheet([[wide, tall], [tall]], ["one", "two"], ["a label that is rather long", "b"], cell=100)
    assert page.width > 2 * 100
    assert page.height > 2 * 100
    assert {(255, 0, 0), (0, 0, 255)} <= {color for _, color in page.getcolors(10**6)}
