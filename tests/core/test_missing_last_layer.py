"""SD2's text encoder as diffusers and Forge hold it, and its last layer from a file or from the hub."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import aesthetic_embeddings as ae
from aesthetic_embeddings.errors import EncoderError, FileError
from aesthetic_embeddings.text_encoder import last_layer, missing_parts

from .encoders import EOS, LAYERS, TEXT, WIDTH, prompt, randomize

E, WORDS = torch.randn(WIDTH, generator=torch.Generator().manual_seed(3)), prompt(8, 20, pad=0)


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    """Towers of one layer less than ours are cut short, and neither cache holds anything."""
    monkeypatch.setattr(missing_parts, "LACKS_LAST_LAYER", {(WIDTH, LAYERS - 1), (1024, 23)})
    found = functools.partial(huggingface_hub.try_to_load_from_cache, cache_dir=tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", found)
    monkeypatch.setenv("AESTHETIC_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def whole() -> CLIPTextModelWithProjection:
    torch.manual_seed(1)
    model = CLIPTextModelWithProjection(CLIPTextConfig(**{**TEXT, "projection_dim": WIDTH, "eos_token_id": EOS}))
    randomize(model)
    return model.double().eval()


@pytest.fixture
def short(whole) -> CLIPTextModel:
    """All but the last layer, and no projection."""
    model = CLIPTextModel(CLIPTextConfig(**{**TEXT, "num_hidden_layers": LAYERS - 1, "eos_token_id": EOS}))
    names = {name.removeprefix("text_model."): x for name, x in whole.state_dict().items()}
    prefix = "text_model." if any(name.startswith("text_model.") for name in model.state_dict()) else ""
    wanted = {name: names[name.removeprefix(prefix)] for name in model.state_dict()}
    model.load_state_dict(wanted)
    return model.double().eval()


def in_transformers(whole: CLIPTextModelWithProjection) -> dict[str, Tensor]:
    """The whole CLIP: its vision tower has a layer of that number, too."""
    named = {name if name.startswith("text_") else f"text_model.{name}": x for name, x in whole.state_dict().items()}
    return named | {f"vision_model.encoder.layers.{LAYERS - 1}.layer_norm1.weight": torch.ones(4)}


def in_open_clip(whole: CLIPTextModelWithProjection) -> dict[str, Tensor]:
    """As an SD2 checkpoint has it."""
    names = in_transformers(whole)
    layer = {k.split(f"text_model.encoder.layers.{LAYERS - 1}.")[-1]: x for k, x in names.items()}
    root = "cond_stage_model.model."
    block = f"{root}transformer.resblocks.{LAYERS - 1}."
    renamed = {f"{root}text_projection": layer["text_projection.weight"].T}
    for part in ("weight", "bias"):
        renamed[f"{block}attn.in_proj_{part}"] = torch.cat([layer[f"self_attn.{n}_proj.{part}"] for n in "qkv"])
        renamed[f"{block}attn.out_proj.{part}"] = layer[f"self_attn.out_proj.{part}"]
        for theirs, ours in (("ln_1", "layer_norm1"), ("ln_2", "layer_norm2")):
            renamed[f"{block}{theirs}.{part}"] = layer[f"{ours}.{part}"]
        for theirs, ours in (("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2")):
            renamed[f"{block}{theirs}.{part}"] = layer[f"{ours}.{part}"]
    return renamed | {f"{root}visual.transformer.resblocks.{LAYERS - 1}.ln_1.weight": torch.ones(4)}


def saved(tensors: dict[str, Tensor], file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({name: x.contiguous() for name, x in tensors.items()}, file)
    return file


def tuned(model: torch.nn.Module, settings: ae.Settings, projection: Path | None = None) -> tuple[Tensor, tuple]:
    """What SD2 conditions on, the normed output of the last layer but one, and the similarities."""
    with torch.no_grad(), ae.personalized(model, WORDS, E, settings, projection) as run:
        hidden = model(WORDS, output_hidden_states=True).hidden_states
        text = getattr(model, "text_model", model)
        return text.final_layer_norm(hidden[LAYERS - 1]), run.similarities


@pytest.mark.parametrize("update", ["adam", "normalized", "gradient"])
@pytest.mark.parametrize("layout", [in_transformers, in_open_clip])
def test_with_its_last_layer_from_a_file_it_is_the_whole_encoder(tmp_path, whole, short, layout, update):
    settings = ae.Settings(steps=5, epsilon=0.05 if update == "gradient" else 1e-3, update=update)
    file = saved(layout(whole), tmp_path / "checkpoint.safetensors")
    want, expected = tuned(whole, settings)
    got, similarities = tuned(short, settings, file)
    before = tuned(whole, ae.Settings(steps=0))[0]
    assert float((got - want).norm() / (want - before).norm()) < 1e-12
    assert similarities == pytest.approx(expected, abs=1e-12)


def test_a_layer_in_another_dtype_is_read_as_well(tmp_path, whole, short):
    halves = {name: x.half() for name, x in in_open_clip(whole).items()}
    got, _ = tuned(short, ae.Settings(steps=3), saved(halves, tmp_path / "halves.safetensors"))
    rounded = copy.deepcopy(whole)
    last = getattr(rounded, "text_model", rounded).encoder.layers[-1]
    last.to(torch.half).double()
    rounded.text_projection.to(torch.half).double()
    want, _ = tuned(rounded, ae.Settings(steps=3))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["open-clip-vit-h-14-last-layer.safetensors"])
def test_our_cache_is_searched(tmp_path, whole, short, name):
    saved(in_transformers(whole), tmp_path / "cache" / name)
    assert len(tuned(short, ae.Settings(steps=2))[1]) == 3
    other = saved({"other": torch.ones(3)}, tmp_path / "lacks-it.safetensors")
    assert len(tuned(short, ae.Settings(steps=2), other)[1]) == 3


def test_the_hubs_cache_is_searched(tmp_path, whole, short):
    repository = tmp_path / "hub" / "models--laion--CLIP-ViT-H-14-laion2B-s32B-b79K"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    saved(in_transformers(whole), repository / "snapshots" / "abc" / "model.safetensors")
    assert len(tuned(short, ae.Settings(steps=2))[1]) == 3


def test_without_it_is_refused_and_says_how_to_get_it(tmp_path, short):
    (tmp_path / "x.ckpt").write_bytes(b"PK\3\4 and so on")
    for given in (None, saved({"other": torch.ones(3)}, tmp_path / "x.safetensors"), tmp_path / "x.ckpt", tmp_path):
        with pytest.raises(EncoderError) as error:
            tuned(short, ae.Settings(), given)
        for part in ("without its last layer", "fetch last-layer", "55 MB", str(tmp_path / "cache")):
            assert part in str(error.value)


def test_a_damaged_one_is_named(tmp_path, whole, short):
    tensors = in_transformers(whole)
    for bad in (torch.full((WIDTH,), float("nan")), torch.ones(WIDTH + 1)):
        damaged = tensors | {f"text_model.encoder.layers.{LAYERS - 1}.layer_norm1.bias": bad}
        with pytest.raises(FileError, match=r"x\.safetensors is damaged"):
            tuned(short, ae.Settings(), saved(damaged, tmp_path / "x.safetensors"))


def test_only_the_layer_is_fetched(hub_of, tmp_path):
    shapes = last_layer.shapes_of(1024, 23)
    tensors = {name: torch.randn(shape, generator=torch.Generator().manual_seed(1)) for name, shape in shapes.items()}
    size = sum(x.nbytes for x in tensors.values())
    assert round(size / 1e6) == 55
    hub = hub_of(safetensors.torch.save({**tensors, "logit_scale": torch.ones(()), "visual": torch.ones(99, 99)}))
    calls: list[tuple[int, int]] = []
    path = ae.fetch("last-layer", lambda *call: calls.append(call), endpoint=hub.address)
    assert {name: x for name, x in safetensors.torch.load_file(path).items() if not torch.equal(x, tensors[name])} == {}
    assert calls == sorted(calls)
    assert calls[-1] == (size, size)
    assert hub.sent < len(hub.data)
    hub.data = safetensors.torch.save({**tensors, "text_projection.weight": torch.full((1024, 1024), float("inf"))})
    with pytest.raises(FileError, match=hub.address):
        ae.fetch("last-layer", endpoint=hub.address)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
