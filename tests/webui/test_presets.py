"""The user's own presets."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
import pytest

from .fake_host import Host
from .test_accordion import choices, clicked, page

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", said.append)
    return said


def button(host: Host, name: str) -> Any:
    return clicked(page(host)[0], f"script_txt2img_aesthetic_gradients_{name}_preset")


def test_saved_loaded_and_deleted(host: Host):
    kept = host.webui("presets").STORED_ARGUMENTS
    values = {
        **{name: host.webui("request").DEFAULTS[name] for name in kept},
        "steps": 7,
        "embedding": "dusk:1 dawn:-1",
    }
    assert "enabled" not in kept
    update = button(host, "save")(" mine ", *values.values())
    assert update["value"] == "mine"
    assert choices(type("", (), update)) == ["mine"]
    assert dict(zip(kept, button(host, "load")("mine"), strict=True)) == values  # also by a page that is opened later
    assert button(host, "delete")("mine")["value"] is None
    assert json.loads(host.webui("host").presets_file().read_text()) == {}


def test_an_exponent_of_an_older_version_loads_as_its_epsilon(host: Host):
    host.webui("host").presets_file().write_text(json.dumps({"old": {"step_size": -4.3, "steps": 3}}))
    assert host.webui("presets").get("old") == {"epsilon": 5e-5, "steps": 3}


def test_a_preset_of_an_older_version_leaves_the_rest(host: Host):
    host.webui("host").presets_file().write_text('{"mine": {"steps": 3, "gone": 1}}')
    loaded = dict(zip(host.webui("presets").STORED_ARGUMENTS, button(host, "load")("mine"), strict=True))
    assert loaded.pop("steps") == 3
    assert all(value == gr.update() for value in loaded.values())


@pytest.mark.parametrize(("name", "given"), [("load", "none"), ("delete", None), ("save", " ")])
def test_errors_are_reported(host: Host, warnings: list[str], name: str, given: str | None):
    values = [0] * len(host.webui("presets").STORED_ARGUMENTS) if name == "save" else []
    button(host, name)(given, *values)
    assert len(warnings) == 1


def test_a_damaged_file_is_kept_and_reported(host: Host, warnings: list[str]):
    file = host.webui("host").presets_file()
    for damaged in ("{", "[]", '{"mine": 3}'):
        file.write_text(damaged)
        button(host, "save")("mine", *[0] * len(host.webui("presets").STORED_ARGUMENTS))
        assert file.read_text() == damaged
    assert len(warnings) == 3
