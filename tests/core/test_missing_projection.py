import functools
import json
import os

import huggingface_hub
import pytest
import safetensors.torch
import torch
from transformers import CLIPConfig, CLIPModel

from aesthetic_embeddings import fetch
from aesthetic_embeddings.errors import EncoderError, FileError, Interrupted
from aesthetic_embeddings.text_encoder.missing_parts import text_projection

PATH = "/openai/clip-vit-large-patch14/resolve/main/model.safetensors"


def matrix(rows=768, columns=768):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1)) * 0.03


def checkpoint(**changes):
    """A CLIP's file: the projection lies between other tensors."""
    tensors = {
        "logit_scale": torch.tensor(4.6),
        "text_projection.weight": matrix(),
        "visual.weight": torch.ones(50, 50),
    }
    return safetensors.torch.save(tensors | changes, {"format": "pt"})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Our cache folder, and an empty hub cache beside it."""
    found = functools.partial(huggingface_hub.try_to_load_from_cache, cache_dir=tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", found)
    monkeypatch.setenv("AESTHETIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# ---- what is on this machine ----


def test_a_missing_projection_says_how_to_get_it(cache):
    with pytest.raises(EncoderError) as error:
        text_projection(768)
    for part in ("aesthetic-gradients fetch projection", "2.4 MB", "model.safetensors", str(cache)):
        assert part in str(error.value)


def test_other_widths_need_a_file():
    with pytest.raises(EncoderError, match=r"1024 wide.*Pass it as projection="):
        text_projection(1024)


def test_the_offline_way_works_as_the_error_says(cache):
    cache.mkdir()
    (cache / "model.safetensors").write_bytes(checkpoint())
    assert torch.equal(text_projection(768), matrix())


def test_the_hubs_cache_is_searched(tmp_path):
    repository = tmp_path / "hub" / "models--openai--clip-vit-large-patch14"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "model.safetensors").write_bytes(checkpoint())
    assert torch.equal(text_projection(768), matrix())


def test_each_format_has_its_own_orientation(tmp_path):
    """`[dim, width]` in transformers, `[width, dim]` in open_clip: a square matrix does not show which it is."""
    square = matrix(8, 8)
    for name, stored in {
        "text_projection.weight": square,
        "text_model.text_projection.weight": square,
        "text_projection": square.T,
        "cond_stage_model.model.text_projection": square.T,
    }.items():
        file = tmp_path / "x.safetensors"
        safetensors.torch.save_file({name: stored.contiguous(), "other": torch.ones(3)}, file)
        assert torch.equal(text_projection(8, file), square)
        file = tmp_path / "x.bin"
        torch.save({name: stored, "position_ids": torch.arange(7), "mask": torch.ones(2, dtype=torch.bool)}, file)
        assert torch.equal(text_projection(8, str(file)), square)
    torch.save({"state_dict": {"text_projection": matrix(8, 6).half()}}, tmp_path / "x.pt")
    assert torch.equal(text_projection(8, tmp_path / "x.pt"), matrix(8, 6).half().float().T)


def test_the_folder_of_a_clip(tmp_path):
    sizes = {"intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"hidden_size": 8, "vocab_size": 9, **sizes}
    vision = {"hidden_size": 8, "image_size": 8, "patch_size": 4, **sizes}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6))
    model.save_pretrained(tmp_path / "new", safe_serialization=True)
    (tmp_path / "old").mkdir()
    torch.save(model.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    pooled = torch.randn(3, 8)
    for folder in (tmp_path / "new", tmp_path / "old"):
        torch.testing.assert_close(pooled @ text_projection(8, folder).T, model.text_projection(pooled))
    with pytest.raises(FileError, match="holds no text projection"):
        text_projection(8, tmp_path)


def test_unusable_files_are_named(tmp_path):
    file = tmp_path / "x.safetensors"

    def holding(**tensors):
        safetensors.torch.save_file(tensors, file)
        return file

    with pytest.raises(FileError, match=r"x\.safetensors cannot be read"):
        text_projection(8, file)
    with pytest.raises(FileError, match=r"x\.safetensors holds no text projection"):
        text_projection(8, holding(my_text_projection=matrix(8, 8)))
    with pytest.raises(FileError, match=r"x\.safetensors holds 2 text projections \(a\.text"):
        text_projection(8, holding(**{"a.text_projection": matrix(8, 8), "b.text_projection": matrix(8, 8)}))
    with pytest.raises(EncoderError, match=r"x\.safetensors is for a text encoder 6 wide; this one is 8"):
        text_projection(8, holding(**{"text_projection.weight": matrix(8, 6)}))
    for bad in (
        torch.full((8, 8), float("nan")),
        torch.ones(8),
        torch.eye(8).index_fill(0, torch.tensor(2), 0),
    ):
        with pytest.raises(FileError, match=r"x\.safetensors is damaged"):
            text_projection(8, holding(**{"text_projection.weight": bad}))
    for data in (b"", b"neither", b"PK\3\4", checkpoint()[:5000]):
        file.write_bytes(data)
        with pytest.raises(FileError, match=r"x\.safetensors"):
            text_projection(8, file)


# ---- the one tensor from the hub ----


@pytest.fixture
def hub(hub_of):
    return hub_of(checkpoint())


def test_only_the_one_tensor_is_fetched(hub, cache, monkeypatch):
    calls = []
    path = fetch("projection", lambda *call: calls.append(call), endpoint=hub.address)
    assert path.parent == cache
    assert torch.equal(text_projection(768), matrix())
    assert os.listdir(cache) == [path.name]
    header = int.from_bytes(hub.data[:8], "little")
    assert hub.sent == 8 + header + 4 * 768 * 768
    assert calls == sorted(calls)
    assert calls[-1] == (4 * 768 * 768, 4 * 768 * 768)
    assert {path for path, _ in hub.asked} == {PATH, "/storage?signed=1"}
    hub.fault = "direct"
    monkeypatch.setenv("HF_ENDPOINT", hub.address + "/")
    assert fetch("projection") == path


def test_a_server_that_sends_whole_files_is_stopped_at_once(hub, cache):
    for hub.fault in ("whole", "lies"):
        hub.sent = 0
        with pytest.raises(FileError, match=r"whole files only"):
            fetch("projection", endpoint=hub.address)
        assert hub.sent < 20 * len(hub.data)
    assert not cache.exists()


@pytest.mark.parametrize(("fault", "says"), [("404", "404"), ("cut", "ended after 100000 of 2359296 bytes|Incomplete")])
def test_faults_of_the_network_are_named_and_leave_nothing(hub, cache, fault, says):
    hub.fault = fault
    with pytest.raises(FileError, match=f"could not be fetched from {hub.address}.*({says})"):
        fetch("projection", endpoint=hub.address)
    assert not cache.exists()


def test_no_server_at_all(hub):
    address = hub.address
    hub.shutdown()
    hub.server_close()
    with pytest.raises(FileError, match="could not be fetched"):
        fetch("projection", endpoint=address)
    with pytest.raises(FileError, match="could not be fetched"):
        fetch("projection", endpoint="nonsense")


@pytest.mark.parametrize(
    "data",
    [
        b"<html>Log in to this network</html>",
        b"\0" * 100,
        (12).to_bytes(8, "little") + b"not json at all",
        checkpoint(**{"text_projection.weight": matrix().half()}),
        checkpoint(**{"text_projection.weight": matrix(512, 512)}),
        checkpoint(**{"text_projection.weight": torch.zeros(768, 768)}),
        checkpoint(**{"text_projection.weight": torch.full((768, 768), float("nan"))}),
        safetensors.torch.save({"other": torch.ones(3)}),
        (90_000).to_bytes(8, "little") + b"[" * 90_000,
        b"X\0\0\0\0\0\0\0"
        + json.dumps({"text_projection.weight": {"dtype": "F32", "shape": 3, "data_offsets": "x"}}).encode(),
    ],
)
def test_a_wrong_download_is_not_kept(hub, cache, data):
    hub.data = data
    with pytest.raises(FileError, match=hub.address):
        fetch("projection", endpoint=hub.address)
    assert not cache.exists()


def test_it_can_be_interrupted(hub, cache):
    def stop(done, total):
        raise Interrupted("enough")

    with pytest.raises(Interrupted):
        fetch("projection", stop, endpoint=hub.address)
    assert not cache.exists()


def test_a_fetch_that_fails_keeps_what_was_there(hub, cache):
    path = fetch("projection", endpoint=hub.address)
    hub.fault = "cut"
    with pytest.raises(FileError):
        fetch("projection", endpoint=hub.address)
    assert os.listdir(cache) == [path.name]
    assert torch.equal(text_projection(768), matrix())
