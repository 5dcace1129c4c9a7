"""The accordion's values, as the page and the API send them."""

from __future__ import annotations

from typing import Any

import pytest

import aesthetic_embeddings as ae
from aesthetic_embeddings.ui.sliders import RANGES, exponent, from_slider

from .conftest import embedding
from .fake_host import Host

pytestmark = pytest.mark.parametrize("flavour", ["a1111"])  # alike in both


def planned(host: Host, **chosen: Any) -> Any:
    module = host.webui("plan")
    values = {**module.DEFAULTS, "enabled": True, "embedding": "dusk", **chosen}
    return module.plan(module.named([values[name] for name in module.NAMES]), host.webui("host").library)


def test_the_defaults_are_the_cores(host: Host):
    assert planned(host).positive.settings == ae.Settings()
    assert planned(host, enabled=False) is None


@pytest.mark.parametrize("given", [(), (False,), (False, "dusk")])
def test_off_with_missing_arguments(host: Host, given: tuple):
    assert host.webui("plan").plan(host.webui("plan").named(given), host.webui("host").library) is None


def test_missing_arguments_at_the_end_are_defaults(host: Host):
    found = host.webui("plan").plan(host.webui("plan").named((True, "dusk", 7)), host.webui("host").library)
    assert found.positive.settings == ae.Settings(steps=7)
    assert found.negative is None
    assert found.hires


@pytest.mark.parametrize(
    ("given", "epsilon"), [(-5, 1e-5), (-4.3, 5e-5), (-4, 1e-4), (-3.0, 1e-3), (-2, 1e-2), (3e-4, 3e-4), (1.0, 1.0)]
)
def test_epsilon_is_an_exponent_or_a_value(host: Host, given: float, epsilon: float):
    assert planned(host, epsilon=given).positive.settings.epsilon == epsilon


def test_every_stop_of_the_slider_is_another_epsilon(flavour: str):
    low, high, step = RANGES["epsilon"]
    stops = [low + i * step for i in range(round((high - low) / step) + 1)]
    assert len({from_slider(stop) for stop in stops}) == len(stops)


@pytest.mark.parametrize("preset", ae.settings.PRESETS)
def test_the_slider_can_stand_where_a_preset_is(flavour: str, preset: str):
    wanted = ae.settings.PRESETS[preset].epsilon
    low, _, step = RANGES["epsilon"]
    assert from_slider(exponent(wanted)) == wanted
    assert (exponent(wanted) - low) / step == pytest.approx(round((exponent(wanted) - low) / step))


@pytest.mark.parametrize("nothing", [{"steps": 0}, {"epsilon": 0}, {"weight": 0}])
def test_what_changes_nothing_is_plain(host: Host, nothing: dict[str, float]):
    assert planned(host, **nothing).target(negative=False, hires=False) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1},
        {"steps": "many"},
        {"steps": 2.5},
        {"epsilon": None},
        {"epsilon": float("nan")},
        {"update": "sgd"},
        {"weight": 2},
        {"hires": "maybe"},
        {"enabled": "dusk"},
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


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"embedding": "dusk", "steps": 5}, {"enabled": True, "embedding": "dusk", "steps": 5}),
        ({"negative": "dusk"}, {"enabled": True, "negative": "dusk"}),
        ({"embedding": "dusk", "enabled": False}, {"enabled": False, "embedding": "dusk"}),
        ({"steps": 5}, {"enabled": False, "steps": 5}),
        ({"embedding": None}, {"enabled": False, "embedding": None}),
        ({"embedding": "dusk", "epsilon": 2e-4}, {"enabled": True, "embedding": "dusk", "epsilon": 2e-4}),
    ],
    ids=str,
)
def test_a_dict_in_place_of_the_first(host: Host, given: dict[str, Any], expected: dict[str, Any]):
    module = host.webui("plan")
    assert module.named([given]) == module.DEFAULTS | expected


def test_what_a_dict_leaves_out_is_the_pages_default(host: Host):
    module = host.webui("plan")
    found = module.named([{"steps": 5}, "dusk", 20, -3.0])
    assert [found[name] for name in ("enabled", "embedding", "steps", "epsilon")] == [True, "dusk", 5, -3.0]


@pytest.mark.parametrize(
    ("name", "nearest"), [("stepz", "steps"), ("Epsilon", "epsilon"), ("lr", "There are enabled"), (3, "There are")]
)
def test_a_name_that_is_none(host: Host, name: Any, nearest: str):
    with pytest.raises(ae.AestheticError, match=nearest):
        host.webui("plan").named([{name: 1}])
