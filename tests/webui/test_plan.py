"""The accordion's values, as the page and the API send them."""

from __future__ import annotations

from typing import Any

import pytest

import aesthetic_embeddings as ae

from .conftest import embedding
from .fake_host import Host

pytestmark = pytest.mark.parametrize("flavour", ["a1111"])  # alike in both


def planned(host: Host, **chosen: Any) -> Any:
    module = host.webui("plan")
    values = {**module.DEFAULTS, "enabled": True, "embedding": "dusk", **chosen}
    return module.plan([values[name] for name in module.NAMES], host.webui("host").library)


def test_the_defaults_are_the_cores(host: Host):
    assert planned(host).positive.settings == ae.Settings()
    assert planned(host, enabled=False) is None


@pytest.mark.parametrize("given", [(), (False,), (False, "dusk")])
def test_off_with_missing_arguments(host: Host, given: tuple):
    assert host.webui("plan").plan(given, host.webui("host").library) is None


def test_missing_arguments_at_the_end_are_defaults(host: Host):
    found = host.webui("plan").plan((True, "dusk", 7), host.webui("host").library)
    assert found.positive.settings == ae.Settings(steps=7)
    assert found.negative is None
    assert found.hires


@pytest.mark.parametrize(
    ("given", "epsilon"), [(-5, 1e-5), (-4.3, 5e-5), (-4, 1e-4), (-3.0, 1e-3), (-2, 1e-2), (3e-4, 3e-4), (1.0, 1.0)]
)
def test_epsilon_is_an_exponent_or_a_value(host: Host, given: float, epsilon: float):
    assert planned(host, step_size=given).positive.settings.step_size == epsilon


def test_every_stop_of_the_slider_is_another_epsilon(host: Host):
    low, high, step = host.webui("accordion").RANGES["step_size"]
    stops = [low + i * step for i in range(round((high - low) / step) + 1)]
    assert len({host.webui("plan").step_size(stop) for stop in stops}) == len(stops)


@pytest.mark.parametrize("preset", ae.settings.PRESETS)
def test_the_slider_can_stand_where_a_preset_is(host: Host, preset: str):
    wanted, module = ae.settings.PRESETS[preset].step_size, host.webui("plan")
    low, _, step = host.webui("accordion").RANGES["step_size"]
    assert module.step_size(module.exponent(wanted)) == wanted
    assert (module.exponent(wanted) - low) / step == pytest.approx(round((module.exponent(wanted) - low) / step))


@pytest.mark.parametrize("nothing", [{"steps": 0}, {"step_size": 0}, {"weight": 0}])
def test_what_changes_nothing_is_no_plan(host: Host, nothing: dict[str, float]):
    assert planned(host, **nothing) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1},
        {"steps": "many"},
        {"steps": 2.5},
        {"step_size": None},
        {"step_size": float("nan")},
        {"update": "sgd"},
        {"weight": 2},
        {"hires": "maybe"},
        {"embedding": "dust"},
        {"embedding": None},
        {"negative": "dust"},
    ],
    ids=str,
)
def test_wrong_values_are_named(host: Host, wrong: dict[str, Any]):
    with pytest.raises(ae.AestheticError):
        planned(host, **wrong)


def test_targets_are_equal_by_content(host: Host):
    target, settings = host.webui("plan").Target, ae.Settings()
    assert target(embedding("dusk", 1), settings) == target(embedding("evening", 1), settings)
    assert target(embedding("dusk", 1), settings) != target(embedding("dusk", 2), settings)
    assert target(embedding("dusk", 1), settings) != target(embedding("dusk", 1), ae.Settings(steps=1))


def test_sides_and_passes(host: Host):
    found = planned(host, negative="dawn", hires="off")
    assert found.target(negative=False, hires=False).embedding.name == "dusk"
    assert found.target(negative=True, hires=False).embedding.name == "dawn"
    assert found.target(negative=False, hires=True) is found.target(negative=True, hires=True) is None


def test_every_value_has_its_place(host: Host):
    module = host.webui("plan")
    assert sorted(module.NAMES) == sorted(module.DEFAULTS)
