from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesthetic_embeddings import AestheticError, Settings
from aesthetic_embeddings.settings import PRESETS, UPDATES
from aesthetic_embeddings.text_encoder.update_rules import UPDATE_RULES


def test_every_field_says_what_surfaces_need():
    for field in dataclasses.fields(Settings):
        about = field.metadata
        assert about["label"]
        assert about["help"].endswith(".")
        if type(field.default) in (int, float):
            assert about["low"] <= field.default <= about["high"]


def test_labels_are_unique():
    labels = [field.metadata["label"] for field in dataclasses.fields(Settings)]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": -1}, "between 0 and 100"),
        ({"steps": 101}, "between 0 and 100"),
        ({"steps": 10**400}, "between 0 and 100"),
        ({"epsilon": 10**400}, "between 0 and 1"),
        ({"weight": -(10**400)}, "between 0 and 1"),
        ({"steps": "x" * 10**6}, "whole number"),
        ({"steps": 2.5}, "whole number"),
        ({"steps": True}, "whole number"),
        ({"epsilon": float("nan")}, "between 0 and 1"),
        ({"epsilon": "1e-4"}, "a number"),
        ({"weight": 1.01}, "between 0 and 1"),
        ({"update": "sgd"}, "one of adam, normalized, gradient"),
        ({"blend": None}, "should be text"),
        ({"text_negative": 1}, "true or false"),
    ],
)
def test_wrong_values_are_reported(wrong, said):
    with pytest.raises(AestheticError, match=said) as error:
        Settings(**wrong)
    assert next(iter(wrong)) in str(error.value)
    assert len(str(error.value)) < 200


def test_values_of_sliders_are_accepted():
    assert Settings(steps=5.0, epsilon=1, weight=0) == Settings(steps=5, epsilon=1.0, weight=0.0)


@given(st.sampled_from([f.name for f in dataclasses.fields(Settings)]), st.from_type(object) | st.floats() | st.text())
def test_any_value_raises_only_our_error(name, value):
    try:
        made = Settings(**{name: value})
    except AestheticError:
        return
    assert type(getattr(made, name)) is type(getattr(Settings(), name))


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().steps = 3


def test_a_strength_is_a_factor_of_epsilon_for_its_own_text_encoder():
    settings = Settings(epsilon=1e-3, strength_clip_g=0.5, strength_clip_l=0)
    assert settings.of_family("open-clip-vit-bigg-14") == replace(settings, epsilon=5e-4)
    assert settings.of_family("clip-vit-l-14").changes_nothing
    assert settings.of_family("open-clip-vit-h-14") == settings


def test_every_update_rule_has_its_equation():
    assert tuple(UPDATE_RULES) == UPDATES


def test_the_papers_preset_is_the_published_algorithm():
    assert PRESETS["The paper's"] == Settings() == Settings(steps=10, epsilon=1e-4, update="adam", contrast=0.0)
