"""The prompt's tags."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import embedding
from .fake_host import Host, Picture
from .outside import close, cond, outside, uncond


def made(host: Host, prompt: Any, negative: str = "blurred", more: Any = None, **chosen: Any) -> tuple[Picture, Any]:
    (picture,) = host.generate(p := host.job(prompt, negative, more=more, **chosen))
    return picture, p


def same(host: Host, prompt: str, **chosen: Any) -> bool:
    """Whether the tag in the prompt gives what the accordion gives."""
    return torch.equal(cond(made(host, prompt)[0]), cond(made(host, "a castle", **chosen)[0]))


def test_a_tag_is_as_the_accordion(host: Host, tunings: list):
    assert same(host, "a castle<aesthetic:dusk:1:steps=3>", embedding="dusk", steps=3)
    assert same(host, "a castle<aesthetic:dusk:2:steps=3>", embedding="dusk", steps=3)
    assert len(tunings) == 1
    (plain, _), (tuned, _) = made(host, "a castle"), made(host, "a castle<aesthetic:dusk:1:steps=3>")
    assert close(cond(tuned), outside(host, "a castle", steps=3), cond(plain))
    assert torch.equal(uncond(tuned), uncond(plain))


def test_without_a_tag_nothing_is_left_on_the_job(host: Host):
    _, p = made(host, "a castle<lora:mine:1>")
    assert not {"get_conds_with_caching", "cached_params", "aesthetic_seam"} & set(vars(p))
    assert p.extra_generation_params == {}


def test_settings_are_the_accordions_also_when_it_is_off(host: Host):
    values = {"enabled": False, "steps": 4, "update": "normalized", "epsilon": -3.0}
    tagged, _ = made(host, "a castle<aesthetic:dusk:1>", **values)
    assert torch.equal(cond(tagged), cond(made(host, "a castle", embedding="dusk", **{**values, "enabled": True})[0]))


@pytest.mark.parametrize(
    ("named", "chosen"),
    [
        ("epsilon=1e-3", {"epsilon": 1e-3}),
        ("epsilon=-3", {"epsilon": 1e-3}),
        ("epsilon=1e-3:steps=2", {"epsilon": 1e-3, "steps": 2}),
        ("update=normalized", {"update": "normalized"}),
        ("text=snow:text_negative=true", {"text": "snow", "text_negative": True}),
        ("preservation=.5:last_layers=1", {"preservation": 0.5, "last_layers": 1}),
    ],
)
@pytest.mark.parametrize("flavour", ["a1111"])
def test_named_settings(host: Host, named: str, chosen: dict[str, Any]):
    assert same(host, f"a castle<aesthetic:dusk:1:{named}>", embedding="dusk", **chosen)


def test_tags_are_added_to_each_other_and_to_the_accordion(host: Host):
    assert same(host, "a castle<aesthetic:dusk:0.7><aesthetic:dawn:-.3>", embedding="dusk:0.7 dawn:-0.3")
    both, _ = made(host, "a castle<aesthetic:dawn:-.3>", embedding="dusk")
    assert torch.equal(cond(both), cond(made(host, "a castle", embedding="dusk:1 dawn:-.3")[0]))


def test_less_than_one_is_nearer_to_plain(host: Host):
    plain, half, whole = (
        cond(made(host, f"a castle{tag}")[0]) for tag in ("", "<aesthetic:dusk:0.5>", "<aesthetic:dusk:1>")
    )
    assert torch.equal(cond(made(host, "a castle<aesthetic:dusk:0>")[0]), plain)
    assert torch.allclose(half, (plain + whole) / 2, atol=1e-5)
    assert same(host, "a castle<aesthetic:dusk:-1>", embedding="dusk:-1")


def test_the_negative_prompts_tags_are_its_own(host: Host):
    plain, _ = made(host, "a castle")
    tagged, _ = made(host, "a castle", "blurred<aesthetic:dawn:1:steps=3>")
    assert torch.equal(cond(tagged), cond(plain))
    assert close(uncond(tagged), outside(host, "blurred", "dawn", steps=3), uncond(plain))


def test_hires_prompts_have_tags_of_their_own(host: Host):
    more = {"enable_hr": True, "hr_prompt": "the sea<aesthetic:dawn:1:steps=3>"}
    (tuned, _), (plain, _) = (
        made(host, "a castle", more=more),
        made(host, "a castle", more=more | {"hr_prompt": "the sea"}),
    )
    assert torch.equal(cond(tuned), cond(plain))
    assert close(tuned.hr_c[0][0][0].cond, outside(host, "the sea", "dawn", steps=3), plain.hr_c[0][0][0].cond)
    off, _ = made(host, "a castle", more=more, enabled=False, hires="off")
    assert torch.equal(off.hr_c[0][0][0].cond, plain.hr_c[0][0][0].cond)


def test_the_cache_knows(host: Host, tunings: list):
    """One host prompt, several tags: what the cache kept for one of them is not another's."""
    seen = [cond(made(host, f"a castle{tag}")[0]) for tag in ("", "<aesthetic:dusk:1>", "<aesthetic:dawn:1>", "")]
    assert torch.equal(seen[0], seen[3])
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    embedding("dusk", 9).save(host.root / "models/aesthetic_embeddings/dusk.safetensors", overwrite=True)
    assert not torch.equal(cond(made(host, "a castle<aesthetic:dusk:1>")[0]), seen[1])
    assert len(tunings) == 3


def test_where_the_host_is_to_ignore_tags(host: Host):
    plain, _ = made(host, "a castle")
    for chosen in ({}, {"embedding": "dawn"}):
        alone, _ = made(host, "a castle", **chosen)
        tagged, _ = made(host, "a castle<aesthetic:dusk:1>", more={"disable_extra_networks": True}, **chosen)
        assert torch.equal(cond(tagged), cond(alone))
    assert torch.equal(uncond(tagged), uncond(plain))


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("<aesthetic:dust:1>", "Did you mean dusk"),
        ("<aesthetic:dusk:much>", "should be a number"),
        ("<aesthetic:dusk:1:2>", "should be written like"),
        ("<aesthetic:steps=3>", "should be written like"),
        ("<aesthetic:dusk:1:stepz=3>", "Did you mean steps"),
        ("<aesthetic:dusk:1:steps=many>", "steps should be a whole number"),
        ("<aesthetic:dusk:1:steps=1000>", "between 0 and 100"),
        ("<aesthetic:dusk:1><aesthetic:dusk:-1>", "cancels"),
    ],
)
@pytest.mark.parametrize("flavour", ["a1111"])
def test_a_wrong_tag_is_said_and_plain(host: Host, tag: str, said: str):
    plain, _ = made(host, "a castle")
    for prompts in ((f"a castle{tag}", "blurred"), ("a castle", f"blurred{tag}")):
        picture, p = made(host, *prompts)
        assert torch.equal(cond(picture), cond(plain))
        assert torch.equal(uncond(picture), uncond(plain))
        assert said in p.extra_generation_params["Aesthetic error"]
        assert len(p.comments) == 1


def test_a_fault_in_the_accordion_leaves_all_of_it_plain(host: Host):
    plain, _ = made(host, "a castle")
    picture, p = made(host, "a castle<aesthetic:dusk:1>", "blurred<aesthetic:dusk:1>", embedding="dust")
    assert torch.equal(cond(picture), cond(plain))
    assert torch.equal(uncond(picture), uncond(plain))
    assert "dust" in p.extra_generation_params["Aesthetic error"]


def test_a_batch_goes_by_its_first_prompt(host: Host):
    prompts = ["a castle<aesthetic:dusk:1>", "the sea"]
    (picture,) = host.generate(host.job(prompts, more={"batch_size": 2}))
    assert torch.equal(cond(picture, 1), cond(made(host, "the sea", embedding="dusk")[0]))
    _, second = host.generate(p := host.job(prompts, more={"n_iter": 2}))
    assert torch.equal(cond(second), cond(made(host, "the sea")[0]))
    assert "Aesthetic similarity" not in p.extra_generation_params  # the second picture has none


def test_infotext_has_what_the_tag_leaves_open(host: Host):
    _, p = made(host, "a castle<aesthetic:dusk:1:epsilon=1e-3>", enabled=False, steps=4)
    params = p.extra_generation_params
    assert list(params) == ["Aesthetic steps", "Aesthetic tag hashes", "Aesthetic similarity"]
    back = host.webui("infotext").read(params, host.webui("host").library)
    assert (back["enabled"], back["steps"]) == (False, 4)
    host.webui("host").library.rename("dusk", "evening")
    params["Prompt"] = "a castle<aesthetic:dusk:1:epsilon=1e-3>"
    host.webui("infotext").pasted("", params)
    assert params["Prompt"] == "a castle<aesthetic:evening:1:epsilon=1e-3>"


def test_both_lines_under_the_picture_name_the_mix(host: Host):
    _, p = made(host, "a castle<aesthetic:dawn:-.3>", embedding="dusk")
    (line,) = p.comments
    assert line.startswith("Aesthetic gradients: dusk + dawn:-0.3, similarity")
    assert p.extra_generation_params["Aesthetic embedding"] == "dusk"
