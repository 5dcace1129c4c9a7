"""What the sampler gets is the core's conditioning, for every kind of prompt that the hosts know."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

import aesthetic_embeddings

from . import fake_host
from .fake_host import Host
from .outside import close, cond, outside, twin, uncond

LONG = " ".join(["a castle on a hill above the sea"] * 24)  # 192 tokens: three chunks
WANTED = {"embedding": "dusk", "steps": 3}


def test_off_equals_the_host_and_leaves_no_trace(host: Host):
    p = host.job("a castle", "blurred")
    (picture,) = host.generate(p)
    p.scripts = fake_host.ScriptRunner(host)
    (without,) = host.generate(p)
    assert torch.equal(cond(picture), cond(without))
    assert torch.equal(uncond(picture), uncond(without))
    assert p.comments == {}
    assert p.cached_c[0] == p.cached_params(["a castle"], 20, {})  # the host's own key
    assert not {"get_conds_with_caching", "cached_params", "aesthetic_hook"} & set(vars(p))


@pytest.mark.parametrize(
    "prompt",
    [
        "a castle",
        LONG,
        "a castle BREAK in the snow",
        "a (castle:1.3) in the (snow)",
        "a castle <|endoftext|> in the snow",
    ],
    ids=["short", "three chunks", "BREAK", "emphasis", "literal end of text"],
)
@pytest.mark.parametrize("skip", [1, 2], ids=["", "clip skip 2"])
def test_on_equals_the_core(host: Host, prompt: str, skip: int):
    host.opts.CLIP_stop_at_last_layers = skip
    (plain,) = host.generate(host.job(prompt))
    (tuned,) = host.generate(host.job(prompt, **WANTED))
    assert close(cond(tuned), outside(host, prompt, steps=3, clip_skip=skip), cond(plain))
    assert torch.equal(uncond(tuned), uncond(plain))


@pytest.mark.parametrize("update", ["adam", "normalized", "gradient"])
def test_the_accordions_settings_reach_the_core(host: Host, update: str):
    chosen = {"steps": 4, "update": update, "preservation": 0.5, "last_layers": 1}
    (plain,) = host.generate(host.job("a castle"))
    (tuned,) = host.generate(host.job("a castle", embedding="dusk", epsilon=-3, **chosen))
    assert close(cond(tuned), outside(host, "a castle", epsilon=1e-3, **chosen), cond(plain))


def test_an_empty_prompt_is_a_prompt_of_no_words(host: Host):
    (plain,) = host.generate(host.job(""))
    (tuned,) = host.generate(host.job("", **WANTED))
    assert torch.equal(cond(tuned), outside(host, "", steps=3))
    assert torch.equal(cond(tuned), cond(plain))  # the published code leaves it alone, and so does the core


def test_the_parts_of_and_are_tuned_one_by_one(host: Host):
    (tuned,) = host.generate(host.job("a castle AND the sea", **WANTED))
    (plain,) = host.generate(host.job("a castle AND the sea"))
    for part, text in enumerate(["a castle", "the sea"]):
        assert close(cond(tuned, part=part), outside(host, text, steps=3), cond(plain, part=part))


def test_each_stage_of_a_schedule_is_tuned_by_itself(host: Host):
    prompt = "a [castle:ship BREAK with sails:0.5]"
    (tuned,) = host.generate(host.job(prompt, **WANTED))
    (plain,) = host.generate(host.job(prompt))
    assert [stage.end_at_step for stage in tuned.c[0][0]] == [10, 20]
    castle, ship = (cond(tuned, time=time) for time in (0, 1))
    assert close(ship, outside(host, "a ship BREAK with sails", steps=3), cond(plain, time=1))
    # the shorter stage gets an empty chunk, which its own weights encode
    assert close(castle[:77], outside(host, "a castle", steps=3), cond(plain)[:77])
    assert castle.shape == ship.shape == (2 * 77, 768)


def test_textual_inversion_vectors_stay_what_they_are(host: Host, tunings: list):
    host.textual_inversions["mine"] = torch.randn(3, 768) * 0.02
    p = host.job("a castle by mine")
    (plain,) = host.generate(p)
    (tuned,) = host.generate(q := host.job("a castle by mine", **WANTED))
    assert not torch.equal(cond(tuned), cond(plain))
    ((_, records, *_),) = tunings
    at = slice(4, 7)  # behind <|startoftext|> a castle by
    assert torch.equal(records[0].inputs[0, at], host.textual_inversions["mine"])
    noted = {key: q.extra_generation_params[key] for key in p.extra_generation_params}
    assert noted == p.extra_generation_params != {}  # once, though encoded twice


def test_a_lora_that_reaches_the_weights_while_encoding(host: Host, tunings: list):
    """extensions-builtin/Lora/networks.py (network_apply_weights) writes into the weights in their first forward;
    Forge's backend/patcher/lora.py (LoraLoader.refresh) puts other parameters there as the encoder is asked for."""
    fc1 = host.model.tower().text_model.encoder.layers[0].mlp.fc1
    own, delta = fc1.weight, torch.randn_like(fc1.weight) * 0.01
    values = own.detach().clone()

    def merge(*_: object) -> None:
        if fc1.weight is own and torch.equal(own, values):
            with torch.inference_mode(host.forge), torch.no_grad():
                if host.forge:
                    fc1.weight = torch.nn.Parameter(values + delta)
                else:
                    own.copy_(values + delta)

    hook = fc1.register_forward_pre_hook(merge)
    (tuned,) = host.generate(host.job("a castle", **WANTED))
    hook.remove()
    twins = twin(host.flavor, 1).text_model.encoder.layers[0].mlp.fc1
    twins.weight, before = torch.nn.Parameter(fc1.weight.detach().clone(), requires_grad=False), twins.weight
    expected = outside(host, "a castle", steps=3)
    twins.weight, fc1.weight = before, own
    with torch.inference_mode(host.forge), torch.no_grad():
        own.copy_(values)
    (plain,) = host.generate(host.job("a castle"))
    assert len(tunings) == 1
    assert close(cond(tuned), expected, cond(plain))


@pytest.mark.parametrize("blend", ["lerp", "slerp"])
def test_weight_blends_plain_and_tuned(host: Host, blend: str):
    (plain,) = host.generate(host.job("a castle"))
    whole, half, none = (
        host.generate(host.job("a castle", **WANTED, weight=weight, blend=blend))[0] for weight in (1.0, 0.5, 0.0)
    )
    assert torch.equal(cond(none), cond(plain))
    if blend == "lerp":
        assert torch.allclose(cond(half), (cond(plain) + cond(whole)) / 2, atol=1e-5)
    else:
        lengths = [cond(picture).norm(dim=-1) for picture in (half, plain, whole)]
        assert torch.allclose(lengths[0], (lengths[1] + lengths[2]) / 2, rtol=1e-4)


def test_text_turns_the_aesthetic(host: Host):
    each = [{}, {"text": "snow"}, {"text": "snow", "text_negative": True}, {"text": "snow", "text_strength": 0.0}]
    without, towards, away, not_at_all = (
        cond(host.generate(host.job("a castle", **WANTED, **chosen))[0]) for chosen in each
    )
    assert not torch.equal(towards, without)
    assert not torch.equal(towards, away)
    assert torch.equal(not_at_all, without)


def test_the_negative_prompt_may_have_its_own_aesthetic(host: Host):
    (plain,) = host.generate(host.job("a castle", "blurred"))
    (both,) = host.generate(host.job("a castle", "blurred", **WANTED, negative="dawn"))
    assert close(uncond(both), outside(host, "blurred", "dawn", steps=3), uncond(plain))
    assert close(cond(both), outside(host, "a castle", "dusk", steps=3), cond(plain))
    (one,) = host.generate(host.job("a castle", "blurred", steps=3, negative="dawn"))
    assert torch.equal(uncond(one), uncond(both))
    assert torch.equal(cond(one), cond(plain))


def test_a_batch_of_different_prompts(host: Host, tunings: list):
    prompts = ["a castle", "the sea", "a castle", "a ship"]
    pictures = host.generate(host.job(prompts, **WANTED, more={"batch_size": 2, "n_iter": 2}))
    plain = host.generate(host.job(prompts, more={"batch_size": 2, "n_iter": 2}))
    for i, prompt in enumerate(prompts):
        n, at = divmod(i, 2)
        assert close(cond(pictures[n], at), outside(host, prompt, steps=3), cond(plain[n], at))
    assert len(tunings) == 3  # a castle comes twice


def test_hires_the_same_with_its_own_prompt(host: Host, tunings: list):
    more = {"enable_hr": True, "hr_prompt": "the sea"}
    (tuned,) = host.generate(host.job("a castle", **WANTED, more=more))
    (plain,) = host.generate(host.job("a castle", more=more))
    assert close(tuned.hr_c[0][0][0].cond, outside(host, "the sea", steps=3), plain.hr_c[0][0][0].cond)
    assert len(tunings) == 2


def test_hires_the_same_with_the_same_prompt_is_tuned_once(host: Host, tunings: list):
    (picture,) = host.generate(host.job("a castle", **WANTED, more={"enable_hr": True}))
    assert torch.equal(picture.hr_c[0][0][0].cond, cond(picture))
    assert len(tunings) == 1


def test_hires_off_is_plain(host: Host):
    more = {"enable_hr": True}
    (plain,) = host.generate(host.job("a castle", more=more))
    (tuned,) = host.generate(host.job("a castle", **WANTED, hires="off", more=more))
    assert torch.equal(tuned.hr_c[0][0][0].cond, cond(plain))
    assert not torch.equal(cond(tuned), cond(plain))


def test_another_checkpoint_has_another_encoder(host: Host):
    (first,) = host.generate(host.job("a castle", **WANTED))
    host.load("second")
    (plain,) = host.generate(host.job("a castle"))
    (second,) = host.generate(host.job("a castle", **WANTED))
    assert close(cond(second), outside(host, "a castle", steps=3, seed=2), cond(plain))
    host.load("first")
    (again,) = host.generate(host.job("a castle", **WANTED))
    assert torch.equal(cond(again), cond(first))


def test_scripts_are_reloaded(host: Host, tunings: list):
    """modules/scripts.py, load_scripts, at start and at "Reload UI": callbacks are forgotten and every file is run
    again, while packages stay imported; each class that a module holds becomes a script."""
    counts = set()
    for _ in range(2):
        host.callbacks.clear()
        loaded = runpy.run_path(
            str(Path(aesthetic_embeddings.__file__).parent.parent / "scripts/aesthetic_gradients.py")
        )
        (script,) = [x for x in loaded.values() if isinstance(x, type) and issubclass(x, fake_host.Script)]
        assert host.callbacks
        counts.add(tuple(len(registered) for registered in host.callbacks.values()))
        host.script, host.scripts = script(), fake_host.ScriptRunner(host)
        host.scripts.add(host.script, len(host.webui("request").ARGUMENTS))
        (picture,) = host.generate(host.job("a castle", **WANTED))
        (plain,) = host.generate(host.job("a castle"))
        assert not torch.equal(cond(picture), cond(plain))
    assert len(counts) == 1
    assert len(tunings) == 1
