"""The prompt's tags."""

from __future__ import annotations

import time
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


def test_a_tag_equals_the_accordion(host: Host, tunings: list):
    assert same(host, "a castle<aesthetic:dusk:1:steps=3>", embedding="dusk", steps=3)
    assert same(host, "a castle<aesthetic:dusk:2:steps=3>", embedding="dusk", steps=3)
    assert len(tunings) == 1
    (plain, _), (tuned, _) = made(host, "a castle"), made(host, "a castle<aesthetic:dusk:1:steps=3>")
    assert close(cond(tuned), outside(host, "a castle", steps=3), cond(plain))
    assert torch.equal(uncond(tuned), uncond(plain))


def test_without_a_tag_nothing_is_left_on_the_job(host: Host):
    _, p = made(host, "a castle<lora:mine:1>")
    assert not {"get_conds_with_caching", "cached_params", "aesthetic_hook"} & set(vars(p))
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
@pytest.mark.parametrize("flavor", ["a1111"])
def test_named_settings(host: Host, named: str, chosen: dict[str, Any]):
    assert same(host, f"a castle<aesthetic:dusk:1:{named}>", embedding="dusk", **chosen)


def test_tags_are_added_to_each_other_and_to_the_accordion(host: Host):
    assert same(host, "a castle<aesthetic:dusk:0.7><aesthetic:dawn:-.3>", embedding="dusk:0.7 dawn:-0.3")
    both, _ = made(host, "a castle<aesthetic:dawn:-.3>", embedding="dusk")
    assert torch.equal(cond(both), cond(made(host, "a castle", embedding="dusk:1 dawn:-.3")[0]))


def test_weights_below_one_blend_with_plain(host: Host):
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


def test_the_cache_distinguishes_tags(host: Host, tunings: list):
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
@pytest.mark.parametrize("flavor", ["a1111"])
def test_a_wrong_tag_is_reported_and_the_picture_is_plain(host: Host, tag: str, said: str):
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


PROMPTS = ["a castle<aesthetic:dusk:1>", "the sea", "a castle<aesthetic:dawn:1:steps=3>", "a castle"]


def test_each_prompt_of_a_batch_has_its_own_tags(host: Host, tunings: list):
    alone = [cond(made(host, prompt)[0]) for prompt in PROMPTS]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        (picture,) = host.generate(p := host.job([PROMPTS[i] for i in order], more={"batch_size": 4}))
        for place, i in enumerate(order):
            assert torch.equal(cond(picture, place), alone[i])
        told = [params.get("Aesthetic similarity") for params in p.infotexts]
        assert [bool(told[order.index(i)]) for i in range(4)] == [True, False, True, False]
        assert told[order.index(0)] != told[order.index(2)]
        assert sorted(part.split(":")[0] for part in p.infotexts[0]["Aesthetic tag hashes"].split(", ")) == [
            "dawn",
            "dusk",
        ]
    assert len(tunings) == 2


def test_the_cache_distinguishes_each_prompts_tags(host: Host):
    (first,) = host.generate(host.job(["a castle<aesthetic:dusk:1>", "a castle"], more={"batch_size": 2}))
    (second,) = host.generate(host.job(["a castle", "a castle<aesthetic:dusk:1>"], more={"batch_size": 2}))
    assert torch.equal(cond(first, 0), cond(second, 1))
    assert torch.equal(cond(first, 1), cond(second, 0))
    assert not torch.equal(cond(first, 0), cond(first, 1))


def test_each_negative_and_each_hires_prompt_has_its_own_tags(host: Host):
    negative = ["blurred", "blurred<aesthetic:dawn:1>"]
    more = {"batch_size": 2, "enable_hr": True, "hr_prompt": ["a hill", "a hill<aesthetic:dusk:1>"]}
    (picture,) = host.generate(host.job(["a castle"] * 2, negative, more=more))
    plain, _ = made(host, "a castle")
    assert torch.equal(uncond(picture, 0), uncond(plain))
    assert torch.equal(uncond(picture, 1), uncond(made(host, "a castle", negative[1])[0]))
    hires = [part[0][0].cond for part in picture.hr_c]
    assert torch.equal(hires[0], cond(made(host, "a hill")[0]))
    assert torch.equal(hires[1], cond(made(host, "a hill<aesthetic:dusk:1>")[0]))


def test_prompts_that_another_extension_puts_in_place(host: Host):
    class Prompts:
        def before_process_batch(self, p: Any) -> None:
            p.prompts = ["a castle<aesthetic:dusk:1>"] * 2

    alone = cond(made(host, "a castle<aesthetic:dusk:1>")[0])
    host.scripts.add(other := Prompts())
    (picture,) = host.generate(host.job(["a sea", "a ship<aesthetic:dawn:1>"], more={"batch_size": 2}))
    host.scripts.remove(other)
    assert torch.equal(cond(picture, 0), alone)
    assert torch.equal(cond(picture, 1), alone)


def test_a_wrong_tag_in_one_prompt_leaves_the_batch_plain(host: Host):
    prompts = ["a castle<aesthetic:dusk:1>", "the sea<aesthetic:dust:1>"]
    (picture,) = host.generate(p := host.job(prompts, more={"batch_size": 2}))
    for i, prompt in enumerate(["a castle", "the sea"]):
        assert torch.equal(cond(picture, i), cond(made(host, prompt)[0]))
        assert "Did you mean dusk" in p.infotexts[i]["Aesthetic error"]
        assert "Aesthetic similarity" not in p.infotexts[i]


def test_batches_one_after_the_other_report_their_own(host: Host):
    host.generate(p := host.job(["a castle<aesthetic:dusk:1>", "the sea"], more={"n_iter": 2}))
    assert ["Aesthetic similarity" in params for params in p.infotexts] == [True, False]


@pytest.mark.parametrize("flavor", ["a1111"])
@pytest.mark.parametrize("text", ["<aesthetic:" * 100_000, "<aesthetic:a>" * 80_000, "<" * 10**6, ">" * 10**6])
def test_a_megabyte_takes_linear_time(host: Host, text: str):
    tags, start = host.webui("tags"), time.process_time()
    found = tags.arguments_in(text)
    assert tags.rename_in_prompt(text, {}) == text
    assert time.process_time() - start < 0.5
    assert len(found) == text.count(":a>")


@pytest.mark.parametrize("flavor", ["a1111"])
def test_a_tag_of_a_megabyte_has_a_short_error(host: Host):
    _, p = made(host, f"a castle<aesthetic:{'a' * 10**6}>")
    assert len(p.extra_generation_params["Aesthetic error"]) < 200


def test_infotext_has_what_the_tag_leaves_open(host: Host):
    _, p = made(host, "a castle<aesthetic:dusk:1:epsilon=1e-3>", enabled=False, steps=4)
    params = p.extra_generation_params
    assert list(params) == ["Aesthetic steps", "Aesthetic tag hashes", "Aesthetic similarity"]
    back = host.webui("infotext").read(params, host.webui("host").library).values
    assert (back["enabled"], back["steps"]) == (False, 4)
    host.webui("host").library.rename("dusk", "evening")
    params["Prompt"] = "a castle<aesthetic:dusk:1:epsilon=1e-3>"
    host.webui("infotext").on_paste("", params)
    assert params["Prompt"] == "a castle<aesthetic:evening:1:epsilon=1e-3>"


def test_both_lines_under_the_picture_name_the_mix(host: Host):
    _, p = made(host, "a castle<aesthetic:dawn:-.3>", embedding="dusk")
    (line,) = p.comments
    assert line.startswith("Aesthetic gradients: dusk + dawn:-0.3, similarity")
    assert p.extra_generation_params["Aesthetic embedding"] == "dusk"
