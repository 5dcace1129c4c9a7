"""The section in the host's Settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import embedding
from .fake_host import Host
from .outside import close, cond, outside

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both


@pytest.fixture
def opts(host: Host) -> Any:
    host.webui("script").register()
    for callback in host.callbacks["on_ui_settings"]:
        callback()
    return host.opts


def library(host: Host) -> Any:
    return host.webui("host").library


def test_what_is_there(opts: Any):
    ours = [key for key in opts.data_labels if key.startswith("aesthetic_gradients_")]
    assert ours == [f"aesthetic_gradients_{name}" for name in ("folders", "memory", "device")]
    labels = [opts.data_labels[key].label for key in ours]
    assert len(set(labels)) == 3
    for key in ours:  # as modules/ui_settings.py, create_setting_component
        info = opts.data_labels[key]
        info.component(label=info.label, value=info.default, elem_id=f"setting_{key}", **info.component_args)


def test_more_folders_at_once(host: Host, opts: Any, tmp_path: Path):
    embedding("far", 5).save(tmp_path / "far away/far.safetensors")
    embedding("near", 6).save(tmp_path / "near/near.safetensors")
    assert library(host).names() == ["dawn", "dusk"]
    lines = f'  "{tmp_path / "far away"}"\n\nnear\n{tmp_path}/models/aesthetic_embeddings\nnowhere'
    opts.set("aesthetic_gradients_folders", lines)
    assert library(host).names() == ["dawn", "dusk", "far", "near"]
    assert library(host).folders[0] == tmp_path / "models/aesthetic_embeddings"
    opts.set("aesthetic_gradients_folders", "")
    assert library(host).names() == ["dawn", "dusk"]


def test_what_was_saved_is_there_after_a_restart(host: Host, tmp_path: Path):
    embedding("far", 5).save(tmp_path / "far/far.safetensors")
    host.opts.data["aesthetic_gradients_folders"] = "far"  # from config.json, before the scripts are loaded
    host.webui("script").register()
    host.callbacks["on_ui_settings"][-1]()
    assert "far" in library(host).names()


def test_no_paths_where_the_host_forbids_them(host: Host, tmp_path: Path):
    embedding("far", 5).save(tmp_path / "far/far.safetensors")
    host.shared.cmd_opts.hide_ui_dir_config = True
    host.webui("script").register()
    host.callbacks["on_ui_settings"][-1]()
    assert not host.opts.set("aesthetic_gradients_folders", "far")
    assert library(host).names() == ["dawn", "dusk"]


def test_memory(host: Host, opts: Any, tunings: list[Any]):
    def twice() -> int:
        before = len(tunings)
        for negative in ("one", "two"):  # which the host's own cache would have answered
            host.opts.persistent_cond_cache = False
            host.generate(host.job("a castle", negative, embedding="dusk", steps=1))
        return len(tunings) - before

    assert twice() == 1
    opts.set("aesthetic_gradients_memory", 0)
    assert twice() == 2
    opts.set("aesthetic_gradients_memory", 64)
    assert twice() == 1


def test_a_wrong_value_is_not_taken(host: Host, opts: Any):
    assert not opts.set("aesthetic_gradients_memory", "much")
    assert opts.aesthetic_gradients_memory == 64


def test_on_the_cpu(host: Host, opts: Any, monkeypatch: pytest.MonkeyPatch):
    """What is recorded is moved there, and tuned to the same end."""
    conditioner = host.webui("conditioner")
    moved: list[Any] = []
    move = conditioner.Recording.to
    monkeypatch.setattr(conditioner.Recording, "to", lambda r, device: [moved.append(device), move(r, device)][1])
    opts.set("aesthetic_gradients_device", "CPU")
    (picture,) = host.generate(host.job("a castle", embedding="dusk", steps=2))
    assert moved == ["cpu"]
    (plain,) = host.generate(host.job("a castle"))
    assert close(cond(picture), outside(host, "a castle", steps=2), cond(plain))
    opts.set("aesthetic_gradients_device", "auto")
    host.generate(host.job("a ship", embedding="dusk", steps=2))
    assert moved == ["cpu"]
