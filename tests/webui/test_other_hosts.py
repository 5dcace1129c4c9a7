"""Hosts that lack something: it costs the one convenience that needs it."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from . import fake_host
from .fake_host import Host
from .outside import close, cond, outside

pytestmark = pytest.mark.parametrize("flavor", ["forge"], indirect=True)
WANTED = {"embedding": "dusk", "steps": 3}


def without(host: Host, patch: pytest.MonkeyPatch, *names: str) -> None:
    """Load the extension again, in a host that has no such modules."""
    for name in names:
        patch.setitem(sys.modules, name, None)  # importing it is an ImportError
        parent, _, child = name.rpartition(".")
        patch.delattr(sys.modules[parent], child)
    fake_host.forget_extension()
    host.scripts.alwayson_scripts.clear()
    host.webui("script").register()


def test_forge_neo(host: Host, patch: pytest.MonkeyPatch):
    """It has no sd_hijack, and keeps what encoding notes for the infotext elsewhere."""
    arguments: Any = types.ModuleType("backend.args")
    arguments.dynamic_args = noted = types.SimpleNamespace(last_extra_generation_params={"TI": "style"})
    patch.setitem(sys.modules, "backend.args", arguments)
    engine = sys.modules["backend.text_processing.classic_engine"]
    without(host, patch, "modules.sd_hijack")
    host.add_extension()
    (plain,) = host.generate(host.job("a castle"))
    (tuned,) = host.generate(host.job("a castle", **WANTED))
    assert close(cond(tuned), outside(host, "a castle", steps=3), cond(plain))
    with host.webui("host").without_infotext():
        noted.last_extra_generation_params["TI"] = "style, style"
        engine.last_extra_generation_params["Emphasis"] = "Original"
    assert noted.last_extra_generation_params == {"TI": "style"}
    assert engine.last_extra_generation_params == {}


def test_uninitialized_memory_is_no_projection(host: Host):
    """Forge Neo makes SD1's text projection with torch.empty, and the checkpoint has nothing to fill it with."""
    (plain,) = host.generate(host.job("a castle"))
    noise = torch.randn(fake_host.WIDTH, fake_host.WIDTH, generator=torch.Generator().manual_seed(5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host.model.tower().text_projection, "weight", noise)
        (tuned,) = host.generate(host.job("a castle", **WANTED))
    assert close(cond(tuned), outside(host, "a castle", steps=3), cond(plain))


def test_a_folder_for_pictures_that_is_not_there(host: Host, patch: pytest.MonkeyPatch, tmp_path: Path):
    """Forge Neo saves a page's pictures into its option `temp_dir`, a folder that it makes after its first page."""
    folder = tmp_path / "new" / "tmp"
    patch.setitem(host.opts.data, "temp_dir", str(folder))
    host.webui("script").register()
    patch.setattr(host.webui("tab"), "build", folder.is_dir)
    ((there, _, _),) = host.callbacks["on_ui_tabs"][-1]()
    assert there


def test_no_editor_of_metadata(host: Host, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """No cards, and one line that says so."""
    without(host, patch, "modules.ui_extra_networks_user_metadata")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no cards in this WebUI" in said
    host.add_extension()
    (plain,) = host.generate(host.job("a castle"))
    (tuned,) = host.generate(host.job("a castle", **WANTED))
    assert not torch.equal(cond(tuned), cond(plain))


@pytest.mark.parametrize("missing", ["get_conds_with_caching", "cached_params"])
def test_a_host_without_the_two_methods(host: Host, patch: pytest.MonkeyPatch, missing: str):
    """The accordion is there; pictures are plain, and it is said why."""
    (plain,) = host.generate(host.job("a castle"))
    p = host.job("a castle", **WANTED)
    hidden = getattr(host.Job, missing)
    patch.setattr(host.Job, "__getattribute__", _hiding(missing), raising=False)
    p.scripts = fake_host.ScriptRunner(host, host.scripts.alwayson_scripts)
    host.script.process(p, *_values(host))
    assert f"a job has no {missing}" in "".join(p.comments)
    patch.undo()
    assert getattr(host.Job, missing) is hidden
    p.scripts = fake_host.ScriptRunner(host)
    (picture,) = host.generate(p)
    assert torch.equal(cond(picture), cond(plain))


def _hiding(name: str) -> Any:
    def get(self: Any, wanted: str) -> Any:
        if wanted == name:
            raise AttributeError(wanted)
        return object.__getattribute__(self, wanted)

    return get


def _values(host: Host) -> list[Any]:
    request = host.webui("request")
    chosen = {**request.DEFAULTS, "enabled": True, **WANTED}
    return [chosen[name] for name in request.ARGUMENTS]
