"""SD2's text encoder in a host that leaves its last layer out, as Forge does: the layer is in the checkpoint's file."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import aesthetic_embeddings as ae
from aesthetic_embeddings.storage import downloads
from aesthetic_embeddings.text_encoder import missing_parts

from .conftest import embedding
from .fake_host import LAYERS, WIDTH, Host
from .outside import close, cond, twin

FAMILY = f"clip-{WIDTH}x{LAYERS + 1}-{WIDTH}"


@pytest.fixture(autouse=True)
def cut_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The fake's encoder counts as one without its last layer, and no cache holds that."""
    monkeypatch.setattr(missing_parts, "LACKS_LAST_LAYER", {(WIDTH, LAYERS)})
    monkeypatch.setattr(downloads, "in_cache", lambda repository: None)
    monkeypatch.setenv("AESTHETIC_CACHE", str(tmp_path / "empty"))


@pytest.fixture
def checkpoint(host: Host, tmp_path: Path) -> Path:
    """In the makers' layout, as the host has loaded it."""
    embedding("deep", 3, family=FAMILY).save(host.root / "models/aesthetic_embeddings/deep.safetensors")
    generator, width = torch.Generator().manual_seed(5), WIDTH
    block = f"cond_stage_model.model.transformer.resblocks.{LAYERS}."
    shapes = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width),
        "mlp.c_proj.bias": (width,),
        **{f"{norm}.{part}": (width,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")},
    }
    tensors = {block + name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}
    tensors["cond_stage_model.model.text_projection"] = torch.randn(width, width, generator=generator) * 0.03
    file = tmp_path / "sd2.safetensors"
    safetensors.torch.save_file(tensors, file)
    host.model.sd_checkpoint_info = types.SimpleNamespace(filename=str(file))
    return file


def test_the_layer_comes_from_the_checkpoint(host: Host, checkpoint: Path):
    (plain,) = host.generate(host.job("a castle"))
    (tuned,) = host.generate(p := host.job("a castle", embedding="deep", steps=3))
    ids = torch.tensor([chunk.ids for chunk in host.model.engine.chunks("a castle")])
    encoder, e = twin(host.flavor, 1), host.webui("host").library.get("deep")
    with (
        torch.inference_mode() if host.forge else torch.no_grad(),
        ae.personalized(encoder, ids, e, ae.Settings(steps=3), checkpoint),
    ):
        want = encoder(input_ids=ids).last_hidden_state[0]
    assert close(cond(tuned), want, cond(plain))
    assert "similarity" in next(iter(p.comments))


@pytest.mark.parametrize("content", [b"PK\3\4 a .ckpt", None], ids=["another format", "made from diffusers"])
def test_a_checkpoint_without_it_says_how_to_get_it(host: Host, checkpoint: Path, content: Any):
    safetensors.torch.save_file({"other": torch.ones(3)}, checkpoint)
    if content:
        checkpoint.write_bytes(content)
    (plain,) = host.generate(host.job("a castle"))
    (picture,) = host.generate(p := host.job("a castle", embedding="deep", steps=3))
    assert torch.equal(cond(picture), cond(plain))
    (comment,) = p.comments
    assert "without its last layer" in comment
    assert "Create aesthetic embedding" in comment


def test_the_tab_offers_it_where_it_may_be_needed(host: Host):
    names = [part.label for part in host.webui("creation").PARTS]
    last_layer = ["last layer of OpenCLIP ViT-H/14"] if host.forge else []
    assert names == ["text projection", *last_layer, "neutral embedding of CLIP ViT-L/14"]
    _, _, *rows = host.webui("tab").missing_parts_state([])
    assert [row["visible"] for row in rows] == [False] + [True] * (len(names) - 1)  # the projection is there
