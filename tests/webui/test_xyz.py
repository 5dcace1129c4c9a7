"""Axes of the X/Y/Z plot."""

from __future__ import annotations

import copy
import types
from typing import Any

import pytest
import torch

import aesthetic_embeddings as ae

from .fake_host import Host
from .outside import cond

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both


class AxisOption:
    """scripts/xyz_grid.py, AxisOption."""

    def __init__(self, label: str, type: Any, apply: Any, confirm: Any = None, cost: float = 0, choices: Any = None):
        self.label, self.type, self.apply, self.confirm, self.cost, self.choices = (
            label,
            type,
            apply,
            confirm,
            cost,
            choices,
        )


@pytest.fixture
def axes(host: Host) -> dict[str, Any]:
    """The plot's, by label; modules are named by their file: modules/script_loading.py, load_module."""
    plot = types.ModuleType("xyz_grid.py")
    plot.AxisOption, plot.axis_options = AxisOption, [AxisOption("Nothing", str, None)]
    script = type("Script", (), {"__module__": "xyz_grid.py"})
    host.modules["modules.scripts"].scripts_data.append(types.SimpleNamespace(module=plot, script_class=script))
    for _ in range(2):  # once more, and none is there twice
        host.webui("xyz").register()
    assert len({axis.label for axis in plot.axis_options}) == len(plot.axis_options) > 10
    return {axis.label: axis for axis in plot.axis_options}


def cells(host: Host, axis: Any, values: list[Any], prompt: str = "a castle", **chosen: Any) -> list[Any]:
    """scripts/xyz_grid.py, run: the values are cast and confirmed, and each is applied to a shallow copy of the job."""
    values = [axis.type(value) for value in values]
    p = host.job(prompt, **{"enabled": False, **chosen})
    axis.confirm(p, values)
    made = []
    for value in values:
        axis.apply(pc := copy.copy(p), value, values)
        made.append((cond(host.generate(pc)[0]), dict(pc.extra_generation_params)))
    return made


def alone(host: Host, **chosen: Any) -> torch.Tensor:
    return cond(host.generate(host.job("a castle", **chosen))[0])


def test_embeddings(host: Host, axes: dict[str, Any]):
    axis = axes["[Aesthetic] Embedding"]
    assert axis.choices() == ["None", "dawn", "dusk"]
    found = cells(host, axis, ["None", "dusk", "dusk:0.7 dawn:-0.3"], steps=3)
    assert torch.equal(found[0][0], alone(host))
    assert found[0][1] == {}
    assert torch.equal(found[1][0], alone(host, embedding="dusk", steps=3))
    assert torch.equal(found[2][0], alone(host, embedding="dusk:0.7 dawn:-0.3", steps=3))
    assert found[2][1]["Aesthetic embedding"] == "dusk:0.7 dawn:-0.3"


@pytest.mark.parametrize(
    ("label", "values", "expected"),
    [
        ("Steps", ["2", "3"], [{"steps": 2}, {"steps": 3}]),
        ("Epsilon", ["1e-3", "-4"], [{"epsilon": 1e-3}, {"epsilon": 1e-4}]),
        ("Update rule", ["adam", "normalized"], [{}, {"update": "normalized"}]),
        ("Text is negative", ["False", "True"], [{}, {"text_negative": True}]),
        ("Text", ["True", "snow"], [{"text": "True"}, {"text": "snow"}]),
        ("Negative embedding", ["None", "dawn"], [{}, {"negative": "dawn"}]),
    ],
)
def test_settings(host: Host, axes: dict[str, Any], label: str, values: list[Any], expected: list[dict[str, Any]]):
    on = {"embedding": "dusk", "text": "ice" if label == "Text is negative" else "", "enabled": True}
    found = cells(host, axes[f"[Aesthetic] {label}"], values, **on)
    for (picture, _), more in zip(found, expected, strict=True):
        assert torch.equal(picture, alone(host, **on | more))


def test_every_setting_has_an_axis_outside_the_plain_ones(host: Host, axes: dict[str, Any]):
    ours = [axis for label, axis in axes.items() if label.startswith("[Aesthetic] ")]
    assert len(ours) == 2 + len(vars(ae.Settings()))
    assert all(0 < axis.cost < 0.7 for axis in ours)


@pytest.mark.parametrize(
    ("label", "value"),
    [("Steps", 500), ("Epsilon", 7.0), ("Update rule", "sgd"), ("Embedding", "dusk:1 dust:1"), ("Weight", -0.5)],
)
def test_wrong_values_are_refused_before_the_first_cell(host: Host, axes: dict[str, Any], label: str, value: Any):
    with pytest.raises(ae.AestheticError):
        axes[f"[Aesthetic] {label}"].confirm(host.job("a castle"), [value])


def test_an_axis_without_effect_is_reported(host: Host, axes: dict[str, Any]):
    ((_, params),) = cells(host, axes["[Aesthetic] Steps"], ["3"])
    assert "no embedding is chosen" in params["Aesthetic error"]
    ((_, params),) = cells(host, axes["[Aesthetic] Steps"], ["3"], prompt="a castle<aesthetic:dusk:1>")
    assert params["Aesthetic steps"] == "3"
