"""Whatever goes wrong: the picture is plain, it is said why, it does not pass for tuned later, nothing stays changed.

That the model is what it was is checked after every test (conftest.py, `host`).
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import safetensors.torch
import torch

import aesthetic_embeddings as ae
from aesthetic_embeddings.storage import downloads

from .conftest import embedding
from .fake_host import Holder, Host, Job
from .outside import cond, uncond

WANTED = {"embedding": "dusk", "steps": 5}


def plain(host: Host) -> torch.Tensor:
    return cond(host.generate(host.job("a castle"))[0])


def fails(host: Host, *words: str, **chosen: Any) -> Job:
    """A job that stays plain and says why, in one comment, in these words; the next one is not taken for tuned."""
    expected = plain(host)  # before, as the cache holds one conditioning: that of the job must not be in it
    p = host.job("a castle", **WANTED | chosen)
    (picture,) = host.generate(p)
    assert torch.equal(cond(picture), expected)
    (comment,) = p.comments
    assert comment.startswith("Aesthetic gradients: ")
    for word in words:
        assert word in comment
    return p


def works(host: Host, tunings: list, **chosen: Any) -> None:
    before = len(tunings)
    (picture,) = host.generate(p := host.job("a castle", **WANTED | chosen))
    assert len(tunings) == before + 1
    assert not torch.equal(cond(picture), plain(host))
    assert "similarity" in next(iter(p.comments))


# ---------------------------------------------------------------- interrupt and skip


@pytest.mark.parametrize("button", ["interrupt", "skip"])
def test_the_buttons_end_tuning_within_a_step(host: Host, button: str, tunings: list):
    heard, expected = [], plain(host)

    def press_at_step_two(text: str) -> None:
        heard.append(text)
        if "step 2 of 5" in text:
            getattr(host.state, button)()

    host.state.on_text = press_at_step_two
    p = host.job("a castle", **WANTED)
    (picture,) = host.generate(p)
    assert "step 2 of 5" in heard[-1]
    assert host.state.textinfo is None  # what stood above the progress bar before
    host.state.on_text = lambda text: None
    assert torch.equal(cond(picture), expected)
    assert [*p.comments] == ["Aesthetic gradients: Interrupted, so the prompt stayed plain."]
    works(host, tunings)


def test_after_an_interrupt_the_hires_pass_is_not_tuned_either(host: Host, tunings: list):
    more, heard = {"enable_hr": True, "n_iter": 3}, []
    (expected, *_) = host.generate(host.job("a castle", "blurred", more=more))

    def press(text: str) -> None:
        heard.append(text)
        host.state.interrupt()

    host.state.on_text = press
    (picture,) = host.generate(p := host.job("a castle", "blurred", **WANTED, negative="dawn", more=more))
    assert torch.equal(cond(picture), cond(expected))
    assert torch.equal(uncond(picture), uncond(expected))
    assert torch.equal(picture.hr_c[0][0][0].cond, expected.hr_c[0][0][0].cond)
    assert torch.equal(picture.hr_uc[0][0].cond, expected.hr_uc[0][0].cond)
    assert heard
    assert all("step 0 of 5" in text for text in heard)  # each conditioning begins, and none makes a step
    assert [*p.comments] == ["Aesthetic gradients: Interrupted, so the prompt stayed plain."]


def test_a_skipped_picture_is_followed_by_a_tuned_one(host: Host, tunings: list):
    def skip_once(text: str) -> None:
        if len(tunings) == 1:
            host.state.skip()

    host.state.on_text = skip_once
    skipped, tuned = host.generate(host.job("a castle", **WANTED, more={"n_iter": 2}))
    assert not torch.equal(cond(skipped), cond(tuned))
    assert torch.equal(cond(skipped), plain(host))


# ---------------------------------------------------------------- exceptions


def test_an_exception_of_the_hosts_own_is_raised_as_without_us(host: Host, tunings: list):
    encode = host.model.engine.encode_with_transformers

    def broken(ids: torch.Tensor) -> torch.Tensor:
        encode(ids)
        raise ZeroDivisionError("the host's")

    host.model.engine.encode_with_transformers = broken
    with pytest.raises(ZeroDivisionError, match="the host's"):
        host.generate(host.job("a castle", **WANTED))
    host.model.engine.encode_with_transformers = encode
    works(host, tunings)


def test_an_exception_while_encoding_again(host: Host, tunings: list, capsys: pytest.CaptureFixture):
    encode = host.model.engine.encode_with_transformers

    def broken_with_tuned_weights(ids: torch.Tensor) -> torch.Tensor:
        z = encode(ids)
        if tunings:
            raise ZeroDivisionError("on the way")
        return z

    host.model.engine.encode_with_transformers = broken_with_tuned_weights
    fails(host, "unexpected", "on the way", "console")
    host.model.engine.encode_with_transformers = encode
    assert "ZeroDivisionError" in capsys.readouterr().err
    works(host, tunings)


def raising(error: Exception) -> Callable[..., Any]:
    def tune(*args: Any, **kwargs: Any) -> Any:
        raise error

    return tune


def test_an_unexpected_exception_of_ours(host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(host.webui("conditioner"), "personalize_each", raising(KeyError("oops")))
    fails(host, "unexpected", "oops", "console")
    assert "KeyError" in capsys.readouterr().err


def test_an_unexpected_exception_before_the_batches(host: Host, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setattr(host.webui("script"), "read_request", raising(KeyError("oops")))
    (picture,) = host.generate(p := host.job("a castle", **WANTED))
    monkeypatch.undo()
    assert "unexpected" in next(iter(p.comments))
    assert "KeyError" in capsys.readouterr().err
    assert len(picture.c) == 1


def test_a_failed_prompt_is_tried_again(host: Host, monkeypatch: pytest.MonkeyPatch, tunings: list):
    with monkeypatch.context() as patch:
        patch.setattr(host.webui("conditioner"), "personalize_each", raising(KeyError("oops")))
        fails(host, "oops")
    works(host, tunings)


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=["cuda", "cpu"],
)
def test_out_of_memory(host: Host, error: Exception, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host.webui("conditioner"), "personalize_each", raising(error))
    fails(host, "Memory ran out", "normalized")


def test_out_of_memory_on_the_gpu_goes_to_the_cpu(host: Host, monkeypatch: pytest.MonkeyPatch):
    conditioner, tried, freed = host.webui("conditioner"), [], []

    def tune(towers: Any, records: list[Any], *rest: Any) -> tuple[dict[str, Any], list[str]]:
        tried.append(records[0].inputs.device.type)
        if tried == ["cuda"]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return {}, []

    def record(device: str) -> Any:
        """No GPU is needed for this: a recording that says where it is, and can be moved."""
        return types.SimpleNamespace(inputs=types.SimpleNamespace(device=torch.device(device)), to=record)

    monkeypatch.setattr(conditioner, "personalize_each", tune)
    monkeypatch.setattr(host.modules["modules.devices"], "torch_gc", lambda: freed.append(True))
    target = host.webui("request").Target(embedding("dusk", 1), ae.Settings())
    _, notes = conditioner.tune_in_host(target, [], [record("cuda")], None, [])
    assert tried == ["cuda", "cpu"]
    assert freed
    assert "CPU" in notes[0]


# ---------------------------------------------------------------- what the user can put right


def test_a_missing_file(host: Host):
    fails(host, "no aesthetic called 'dust'", "Did you mean dusk?", embedding="dust")


def test_a_damaged_file(host: Host):
    file = host.root / "models/aesthetic_embeddings/bad.safetensors"
    file.write_bytes(b"nothing")
    fails(host, str(file), embedding="bad")


def test_no_embedding_is_chosen(host: Host):
    fails(host, "No embedding is chosen", embedding="None")


def test_a_wrong_value(host: Host):
    fails(host, "steps should lie between", steps=1000)


def test_another_family(host: Host, tunings: list):
    folder = host.root / "models/aesthetic_embeddings"
    embedding("large", 3, family="clip-768x24-768").save(folder / "large.safetensors")
    fails(host, "'large' was made for clip-768x24-768", "Create the aesthetic again", embedding="large")
    works(host, tunings)


def test_a_missing_projection(host: Host, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, tunings: list):
    with monkeypatch.context() as patch:
        patch.setenv("AESTHETIC_CACHE", str(tmp_path / "empty"))
        patch.setattr(downloads, "in_cache", lambda repository: None)
        fails(host, "text projection", "Create aesthetic embedding", "2.4 MB")
    works(host, tunings)  # at once, when it is there


def test_the_projection_is_found_in_the_folder_of_a_whole_clip(
    host: Host, projection: torch.Tensor, monkeypatch: pytest.MonkeyPatch, tunings: list
):
    """Without a network, CLIP's files are put where the tab says."""
    folder = host.root / "models" / "CLIP" / "clip-vit-large-patch14"
    folder.mkdir(parents=True)
    name = "text_projection.weight"
    safetensors.torch.save_file({name: projection.clone(), "x": torch.ones(3)}, folder / "model.safetensors")
    monkeypatch.setenv("AESTHETIC_CACHE", str(host.root / "empty"))
    monkeypatch.setattr(downloads, "in_cache", lambda repository: None)
    works(host, tunings)


def test_an_encoder_that_does_not_compute_what_its_weights_say(host: Host, tunings: list):
    layer = host.model.tower().text_model.encoder.layers[0].mlp.fc1
    adapter = layer.register_forward_hook(lambda _, __, out: out * 1.5)
    fails(host, "does not compute what its weights say", "LoRA")
    adapter.remove()
    host.load("first")
    works(host, tunings)


@pytest.mark.parametrize("prompt", ["a castle AND the sea", "the sea AND a castle", ["a castle", "the sea"]], ids=str)
def test_one_prompt_that_is_refused_leaves_all_of_its_set_plain(host: Host, prompt: Any):
    """As sd-webui-regional-prompter does it in latent mode: a LoRA that is on for one region's prompt alone."""
    region = {"on": False}

    def switch(engine: Any, texts: tuple[list[str]]) -> None:
        region["on"] = "sea" in texts[0][0]

    fc1 = host.model.tower().text_model.encoder.layers[0].mlp.fc1
    hooks = [
        fc1.register_forward_hook(lambda _, __, out: out * 1.5 if region["on"] else out),
        host.model.engine.register_forward_pre_hook(switch),
    ]
    more = {"batch_size": len(prompt)} if isinstance(prompt, list) else {}
    (expected,) = host.generate(host.job(prompt, more=more))
    (picture,) = host.generate(p := host.job(prompt, **WANTED, more=more))
    for hook in hooks:
        hook.remove()
    for made, plain_one in zip(picture.c, expected.c, strict=True):
        for part, plain_part in zip(made, plain_one, strict=True):
            assert torch.equal(part[0].cond, plain_part[0].cond)
    assert any("LoRA" in comment for comment in p.comments)
    assert any("other prompts encoded with it stayed plain too" in comment for comment in p.comments)
    assert not any("similarity" in comment for comment in p.comments)
    host.load("first")
    (after,) = host.generate(p := host.job("a castle", **WANTED))  # tuned by then, or found among the tuned prompts
    assert not torch.equal(cond(after), plain(host))
    assert any("similarity" in comment for comment in p.comments)


def test_a_model_with_no_clip(host: Host):
    holder = Holder(torch.nn.Linear(1, 1))
    if host.forge:
        host.model.forge_objects.clip.cond_stage_model = types.SimpleNamespace(t5xxl=holder)
    else:
        host.model.engine.wrapped = holder
    fails(host, "no CLIP text")
    host.load("first")


@pytest.mark.parametrize("flavor", ["a1111"])
def test_a_model_whose_encoder_the_host_does_not_wrap(host: Host):
    """SD3: modules/models/sd3/sd3_cond.py has encoders of its own, which modules/sd_hijack.py leaves alone."""
    del host.model.engine.wrapped
    fails(host, "no CLIP text")
    host.load("first")
