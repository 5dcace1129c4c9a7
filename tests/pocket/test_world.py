"""The drawn world: repeatable, described in words, and with looks that training never shows."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pocket_model import looks, measures, scene, words, world


def test_the_world_is_the_same_for_the_same_seed():
    this, again = scene.random_scene(123), scene.random_scene(123)
    assert np.array_equal(np.asarray(world.draw(this)), np.asarray(world.draw(again)))
    assert words.caption(this, 4) == words.caption(again, 4)
    assert world.draw(this).size == (128, 128)


def test_words_need_no_drawing():
    code = "import sys, pocket_model.words; print('pocket_model.world' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_training_shows_no_look_that_is_held_out():
    seen = [scene.random_scene(seed) for seed in range(3000)]
    assert not any(looks.held_out_reason(s.look) for s in seen)
    assert 0.02 < np.mean([bool(s.look.photo) for s in seen]) < 0.08
    assert {s.style for s in seen} == set(scene.STYLES)


def test_held_out_looks_are_held_out_for_every_reason():
    report, choose = looks.held_out_looks("report"), looks.held_out_looks("choose")
    assert (len(report), len(choose)) == (24, 12)
    assert not set(report) & set(choose)
    for found in (report, choose):
        assert {looks.held_out_reason(look) for look in found} == {"tints", "palette", "range", "combination"}


@pytest.mark.parametrize(
    ("change", "statistic", "sign"),
    [
        ({"brightness": 0.8}, slice(0, 3), 1),
        ({"brightness": -0.8}, slice(0, 3), -1),
        ({"saturation": -0.9}, 3, -1),
        ({"contrast": -0.9}, 4, -1),
        ({"haze": 1.0}, 4, -1),
        ({"palette": ((10, 20, 90), (255, 240, 200)), "toning": 1.0}, 3, None),
    ],
)
def test_a_look_does_what_it_says(change, statistic, sign):
    plain = [scene.Scene("castle", "meadow", seed=seed) for seed in range(6)]
    before, after = (
        measures.color_statistics([world.draw(replace(s, look=look)) for s in plain])[:, statistic].mean()
        for look in (looks.PLAIN_LOOK, looks.Look(**change))
    )
    assert after != before if sign is None else sign * (after - before) > 0.05


def test_captions_say_how_strong_a_look_is():
    def said(**change: object) -> str:
        found = [words.look_words(random.Random(seed), looks.Look(**change)) for seed in range(20)]
        return "; ".join(part for parts in found for part in parts)

    assert "very dark" in said(brightness=-0.9)
    assert "slightly dark" in said(brightness=-0.3)
    assert "strong blue shadows" in said(shadows=looks.Tint(240, 0.9))
    assert "dark blue and white" in said(palette=((8, 8, 80), (250, 250, 250)), toning=1.0)


def test_cosines_and_intervals():
    changes = np.array([[2.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    assert measures.cosines(changes, np.array([3.0, 0.0])).tolist() == pytest.approx([1, 0, 0])
    low, high = measures.interval(np.tile([0.0, 1.0], (6, 8)))
    assert low < 0.5 < high
    assert measures.interval(np.ones((3, 4))) == (1.0, 1.0)
