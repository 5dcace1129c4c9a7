"""The accordion's values, as the page and the API send them."""

from __future__ import annotations

from typing import Any

import pytest

import aesthetic_embeddings as ae

from .conftest import embedding
from .fake_host import Host

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both


def planned(host: Host, **chosen: Any) -> Any:
    module = host.webui("request")
    values = {**module.DEFAULTS, "enabled": True, "embedding": "dusk", **chosen}
    return module.read_request(
        module.values_by_name([values[name] for name in module.ARGUMENTS]), host.webui("host").library
    )


def test_the_defaults_are_the_cores(host: Host):
    assert planned(host).positive.settings == ae.Settings()
    assert planned(host, enabled=False) is None


@pytest.mark.parametrize("given", [(), (False,), (False, "dusk")])
def test_off_with_missing_arguments(host: Host, given: tuple):
    assert (
        host.webui("request").read_request(host.webui("request").values_by_name(given), host.webui("host").library)
        is None
    )


def test_missing_arguments_at_the_end_are_defaults(host: Host):
    found = host.webui("request").read_request(
        host.webui("request").values_by_name((True, "dusk", 7)), host.webui("host").library
    )
    assert found.positive.settings == ae.Settings(steps=7)
    assert found.negative is None
    assert found.hires


@pytest.mark.parametrize("epsilon", [0.0, 3.3e-7, 1e-4, 0.5, 1.0])
def test_epsilon_is_itself(host: Host, epsilon: float):
    assert planned(host, epsilon=epsilon).positive.settings.epsilon == epsilon


@pytest.mark.parametrize(
    ("given", "epsilon"), [(-5, 1e-5), (-4.3, 5e-5), (-4, 1e-4), (-3.5, 3.2e-4), (-2, 1e-2), (-3.456, 10**-3.456)]
)
def test_a_negative_epsilon_is_a_power_of_ten_as_it_once_was(host: Host, given: float, epsilon: float):
    assert planned(host, epsilon=given).positive.settings.epsilon == pytest.approx(epsilon, rel=1e-10)
    by_name = host.webui("request").values_by_name([{"embedding": "dusk", "step_size": given}])
    assert host.webui("request").read_request(
        by_name, host.webui("host").library
    ).positive.settings.epsilon == pytest.approx(epsilon, rel=1e-10)


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
        {"epsilon": float("-inf")},
        {"epsilon": 1.5},
        {"epsilon": -(10**400)},
        {"enabled": "x" * 10**6},
        {"hires": "x" * 10**6},
        {"update": "sgd"},
        {"weight": 2},
        {"hires": "maybe"},
        {"enabled": "dusk"},
        {"embedding": "dust"},
        {"embedding": None},
        {"negative": "dust"},
    ],
    ids=lambda wrong: f"{wrong!s:.40}",
)
def test_wrong_values_are_named(host: Host, wrong: dict[str, Any]):
    with pytest.raises(ae.AestheticError) as error:
        planned(host, **wrong)
    assert len(str(error.value)) < 300


def test_targets_are_equal_by_content(host: Host):
    target, settings = host.webui("request").Target, ae.Settings()
    assert target(embedding("dusk", 1), settings) == target(embedding("evening", 1), settings)
    assert target(embedding("dusk", 1), settings) != target(embedding("dusk", 2), settings)
    assert target(embedding("dusk", 1), settings) != target(embedding("dusk", 1), ae.Settings(steps=1))


def test_sides_and_passes(host: Host):
    found = planned(host, negative="dawn", hires="off")
    assert found.target(negative=False, hires=False).embedding.name == "dusk"
    assert found.target(negative=True, hires=False).embedding.name == "dawn"
    assert found.target(negative=False, hires=True) is found.target(negative=True, hires=True) is None


def test_every_value_has_its_position(host: Host):
    module = host.webui("request")
    assert sorted(module.ARGUMENTS) == sorted(module.DEFAULTS)


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
    module = host.webui("request")
    assert module.values_by_name([given]) == module.DEFAULTS | expected


def test_what_a_dict_leaves_out_is_the_pages_default(host: Host):
    module = host.webui("request")
    found = module.values_by_name([{"steps": 5}, "dusk", 20, -3.0])
    assert [found[name] for name in ("enabled", "embedding", "steps", "epsilon")] == [True, "dusk", 5, -3.0]


@pytest.mark.parametrize(
    ("name", "nearest"), [("stepz", "steps"), ("Epsilon", "epsilon"), ("lr", "There are enabled"), (3, "There are")]
)
def test_an_unknown_name(host: Host, name: Any, nearest: str):
    with pytest.raises(ae.AestheticError, match=nearest):
        host.webui("request").values_by_name([{name: 1}])
