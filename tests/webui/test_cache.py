"""The conditioning cache never lies, and nothing is tuned twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import embedding
from .fake_host import Host
from .outside import cond, uncond

WANTED = {"embedding": "dusk", "steps": 2}
CHANGES = {
    "steps": {"steps": 3},
    "epsilon": {"epsilon": -3.9},
    "update": {"update": "normalized"},
    "weight": {"weight": 0.5},
    "blend": {"weight": 0.5, "blend": "slerp"},
    "embedding": {"embedding": "dawn"},
    "text": {"text": "snow"},
    "preservation": {"preservation": 5.0},
    "last layers": {"last_layers": 1},
}


@pytest.fixture(autouse=True, params=[True, False], ids=["kept", "not kept"])
def _persistent(host: Host, request: pytest.FixtureRequest) -> None:
    """The host's setting "Persistent cond cache"."""
    host.opts.persistent_cond_cache = request.param


def generate(host: Host, **chosen: Any) -> torch.Tensor:
    (picture,) = host.generate(host.job("a castle", "blurred", **chosen))
    return cond(picture)


def test_plain_tuned_plain(host: Host):
    plain, tuned, again = generate(host), generate(host, **WANTED), generate(host)
    assert not torch.equal(plain, tuned)
    assert torch.equal(plain, again)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_one_changed_setting_changes_the_picture(host: Host, change: dict[str, Any]):
    base = WANTED | ({"weight": 0.5} if "blend" in change else {})
    first, other, again = (generate(host, **base | chosen) for chosen in ({}, change, {}))
    assert not torch.equal(first, other)
    assert torch.equal(first, again)


def test_a_file_made_anew_under_its_name_changes_the_picture(host: Host):
    first = generate(host, **WANTED)
    file = host.root / "models/aesthetic_embeddings/dusk.safetensors"
    embedding("dusk", 3).save(file, overwrite=True)
    second = generate(host, **WANTED)
    assert not torch.equal(first, second)
    embedding("dusk", 1).save(file, overwrite=True)
    assert torch.equal(first, generate(host, **WANTED))


def test_a_renamed_file_is_the_same_aesthetic(host: Host, tunings: list):
    first = generate(host, **WANTED)
    host.webui("host").library.rename("dusk", "evening")
    assert torch.equal(first, generate(host, **WANTED | {"embedding": "evening"}))
    assert len(tunings) == 1


def test_equal_settings_are_tuned_once(host: Host, tunings: list):
    first = generate(host, **WANTED)
    for _ in range(2):
        assert torch.equal(first, generate(host, **WANTED))
    assert len(tunings) == 1


def test_another_weight_is_not_tuned_again(host: Host, tunings: list):
    for weight in (1.0, 0.7, 0.3):
        generate(host, **WANTED, weight=weight)
    assert len(tunings) == 1


def test_going_back_is_not_tuned_again(host: Host, tunings: list):
    for name in ("dusk", "dawn", "dusk", "dawn"):
        generate(host, **WANTED | {"embedding": name})
    assert len(tunings) == 2


def test_batches_of_a_job_share_what_was_tuned(host: Host, tunings: list):
    pictures = host.generate(host.job("a castle", **WANTED, more={"batch_size": 2, "n_iter": 3}))
    assert len(pictures) == 3
    assert all(torch.equal(cond(picture, i), cond(pictures[0])) for picture in pictures for i in range(2))
    assert len(tunings) == 1


def test_hires_off_after_hires_the_same(host: Host):
    more = {"enable_hr": True}
    (same,) = host.generate(host.job("a castle", **WANTED, more=more))
    (off,) = host.generate(host.job("a castle", **WANTED, hires="off", more=more))
    (plain,) = host.generate(host.job("a castle", more=more))
    assert torch.equal(same.hr_c[0][0][0].cond, cond(same))
    assert torch.equal(off.hr_c[0][0][0].cond, cond(plain))
    assert torch.equal(off.hr_c[0][0][0].cond, plain.hr_c[0][0][0].cond)


def test_the_negative_side_has_its_own_key(host: Host):
    sides = [{}, {"embedding": "dusk"}, {"negative": "dusk"}, {"embedding": "dusk", "negative": "dawn"}, {}]
    each = [
        host.generate(host.job("a castle", "a castle", **side, **({"steps": 2} if side else {})))[0] for side in sides
    ]
    plain, positive, negative, both, again = ((cond(picture), uncond(picture)) for picture in each)
    assert torch.equal(plain[0], negative[0])
    assert torch.equal(plain[1], positive[1])
    assert torch.equal(positive[0], negative[1])  # the same text and aesthetic on either side
    assert torch.equal(positive[0], both[0])
    assert not torch.equal(both[0], both[1])
    assert all(map(torch.equal, plain, again))
