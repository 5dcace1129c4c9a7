"""SD.Next, whose prompt parser encodes a prompt together with its negative prompt (fake_sdnext.py)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import aesthetic_embeddings as ae

from . import fake_sdnext
from .fake_host import Picture, clip_text_model
from .outside import close

pytestmark = pytest.mark.parametrize("flavor", ["sdnext"], indirect=True)
WANTED = {"embedding": "dusk", "steps": 3}
LONG = " ".join(["a castle on a hill above the sea"] * 24)  # several chunks
Host = fake_sdnext.Host


def outside(
    host: Host, *sections: str, embedding: str = "dusk", clip_skip: int = 1, xhinker: bool = False, **settings: Any
) -> Tensor:
    """`[1, 77 * chunks, width]` by the core alone, in an encoder that the host has never seen."""
    pipe = fake_sdnext.StableDiffusionPipeline("first")
    pipe.text_encoder = clip_text_model("a1111", 3)
    ids = torch.cat([fake_sdnext.chunks(section)[0] for section in sections])
    e = host.webui("host").library.get(embedding)
    with torch.no_grad(), ae.personalized(pipe.text_encoder, ids, e, ae.Settings(**settings)):
        parser = fake_sdnext.Parser(host)
        function = parser.get_xhinker_text_embeddings if xhinker else parser.get_weighted_text_embeddings
        return function(pipe, " BREAK ".join(sections), "", clip_skip)[0]


def generate(host: Host, prompt: Any = "a castle", negative: str = "blurred", **chosen: Any) -> Picture:
    (picture,) = host.generate(host.job(prompt, negative, **chosen))
    return picture


def cond(picture: Picture, prompt: int = 0, stage: int = 0) -> Tensor:
    return picture.c[prompt][stage]


def test_off_leaves_the_host_alone(host: Host):
    embedder = host.parser.PromptEmbedder
    plain = generate(host)
    assert host.parser.PromptEmbedder is embedder
    assert len(host.parser.cache) == 1
    assert len(host.parser.encoded) == 1
    p = host.job("a castle", "blurred", embedding="dusk")
    host.generate(p)
    p = host.job("a castle", "blurred")
    host.generate(p)
    assert "aesthetic_hook" not in vars(p)
    assert p.extra_generation_params == p.comments == {}
    assert torch.equal(cond(plain), cond(generate(host)))


@pytest.mark.parametrize(
    "sections",
    [["a castle"], [LONG], ["a castle", "in the snow"], ["a (castle:1.3)"], ["a (castle:0.5) in the (snow:0.7)"]],
    ids=["short", "long", "BREAK", "emphasis", "masked"],
)
@pytest.mark.parametrize("skip", [1, 2], ids=["", "clip skip 2"])
@pytest.mark.parametrize("attention", ["native", "xhinker"])
def test_on_equals_the_core(host: Host, sections: list[str], skip: int, attention: str):
    more, prompt = {"clip_skip": skip, "prompt_attention": attention}, " BREAK ".join(sections)
    plain, tuned = generate(host, prompt, more=more), generate(host, prompt, more=more, **WANTED)
    expected = outside(host, *sections, steps=3, clip_skip=skip, xhinker=attention == "xhinker")
    assert close(cond(tuned), expected, cond(plain))
    assert torch.equal(tuned.uc[0][0], plain.uc[0][0])


def test_the_accordions_settings_reach_the_core(host: Host):
    chosen = {"steps": 4, "update": "normalized", "epsilon": 1e-3, "preservation": 0.5, "last_layers": 1}
    plain, tuned = generate(host), generate(host, embedding="dusk", **chosen)
    assert close(cond(tuned), outside(host, "a castle", **chosen), cond(plain))


def test_the_negative_side_is_tuned_by_itself(host: Host):
    plain = generate(host)
    (tuned,) = host.generate(host.job("a castle", "blurred", negative="dusk", steps=3))
    assert torch.equal(cond(tuned), cond(plain))
    assert close(tuned.uc[0][0], outside(host, "blurred", steps=3), plain.uc[0][0])


def test_padding_is_what_the_tuned_encoder_makes_of_no_words(host: Host):
    plain, tuned = generate(host, negative=LONG), generate(host, "a castle", LONG, **WANTED)
    alone = generate(host, "a castle", "", **WANTED)
    assert cond(tuned).shape == tuned.uc[0][0].shape != cond(alone).shape
    assert torch.equal(cond(tuned)[:, :77], cond(alone))
    assert not torch.equal(cond(tuned)[:, 77:], cond(plain)[:, 77:])


def test_each_stage_of_a_schedule_is_tuned_by_itself(host: Host):
    prompt = "a [castle:ship:0.5]"
    plain, tuned = generate(host, prompt), generate(host, prompt, **WANTED)
    for stage, text in enumerate(["a castle", "a ship"]):
        assert close(cond(tuned, stage=stage), outside(host, text, steps=3), cond(plain, stage=stage))


def test_the_cache_never_lies(host: Host, tunings: list):
    plain = [cond(generate(host))]
    tuned = [cond(generate(host, **WANTED))]
    plain.append(cond(generate(host)))
    other = cond(generate(host, embedding="dusk", steps=2))
    tuned.append(cond(generate(host, **WANTED)))
    plain.append(cond(generate(host)))
    assert all(torch.equal(x, plain[0]) for x in plain)
    assert torch.equal(*tuned)
    assert not any(torch.equal(x, y) for x, y in [(plain[0], tuned[0]), (tuned[0], other), (plain[0], other)])
    assert len(host.parser.cache) == 1
    assert len(tunings) == 2  # equal settings are tuned once


def test_its_cache_never_gives_one_parsers_result_for_anothers(host: Host):
    plain = generate(host)
    generate(host, more={"prompt_attention": "xhinker"})
    generate(host, **WANTED)
    assert torch.equal(cond(generate(host)), cond(plain))


def test_a_batch_is_tuned_prompt_by_prompt(host: Host):
    p = host.job(["a castle", "the sea"], "blurred", more={"batch_size": 2}, **WANTED)
    (tuned,) = host.generate(p)
    for i, text in enumerate(["a castle", "the sea"]):
        assert torch.equal(cond(tuned, i), cond(generate(host, text, **WANTED)))
    first, second = (infotext["Aesthetic similarity"] for infotext in p.infotexts)
    assert first == second  # SD.Next would write a function as it is
    assert " to " in first


def test_hires_off(host: Host):
    more = {"enable_hr": True}
    plain, same = generate(host, more=more), generate(host, more=more, **WANTED)
    off = generate(host, more=more, hires="off", **WANTED)
    assert torch.equal(same.hr_c[0][0], cond(same))
    assert torch.equal(off.hr_c[0][0], cond(plain))
    assert torch.equal(cond(off), cond(same))


def test_tags(host: Host):
    tuned = generate(host, **WANTED)
    (tagged,) = host.generate(p := host.job("a castle<aesthetic:dusk:1:steps=3>", "blurred"))
    assert torch.equal(cond(tagged), cond(tuned))
    assert "dusk" in p.infotexts[0]["Aesthetic tag hashes"]
    both = generate(host, "a castle<aesthetic:dusk:1:steps=3>", "blurred<aesthetic:dawn:1:steps=3>")
    assert torch.equal(cond(both), cond(tuned))
    assert close(both.uc[0][0], outside(host, "blurred", embedding="dawn", steps=3), generate(host).uc[0][0])
    assert all("<" not in text for texts in host.parser.encoded for text in texts)


def test_interrupted(host: Host):
    plain = generate(host)
    host.state.on_text = lambda text: host.state.interrupt()
    (picture,) = host.generate(p := host.job("a castle", "blurred", **WANTED))
    assert torch.equal(cond(picture), cond(plain))
    assert p.infotexts[0]["Aesthetic error"] == "Interrupted, so the prompt stayed plain."
    assert host.processed.comments == "Aesthetic gradients: Interrupted, so the prompt stayed plain."
    host.state.on_text = lambda text: None
    assert not torch.equal(cond(generate(host, **WANTED)), cond(plain))


def test_a_result_without_values(host: Host, patch: pytest.MonkeyPatch):
    """Of sequential offloading: modules/processing_prompt.py (set_prompt) does not use it."""
    encode = host.parser.get_weighted_text_embeddings

    def offloaded(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return tuple(x.to("meta") if isinstance(x, torch.Tensor) else x for x in encode(*args, **kwargs))

    patch.setattr(host.parser, "get_weighted_text_embeddings", offloaded)
    host.generate(p := host.job("a castle", "blurred", **WANTED))
    assert "this model offload mode" in p.infotexts[0]["Aesthetic error"]
    assert "Aesthetic similarity" not in p.infotexts[0]


def test_a_side_is_not_half_personalized(host: Host, patch: pytest.MonkeyPatch):
    plain = generate(host, ["a castle", "the sea"], more={"batch_size": 2})
    sdnext, calls = host.webui("sdnext"), []
    tuned_text = sdnext.tuned_text

    def second_fails(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:  # the first prompt, its negative prompt, and this
            raise ae.AestheticError("No.")
        return tuned_text(*args)

    patch.setattr(sdnext, "tuned_text", second_fails)
    p = host.job(["a castle", "the sea"], "blurred", more={"batch_size": 2}, negative="dawn", **WANTED)
    (picture,) = host.generate(p)
    assert all(torch.equal(cond(picture, i), cond(plain, i)) for i in range(2))
    assert not torch.equal(picture.uc[0][0], plain.uc[0][0])  # the other side is
    assert p.infotexts[0]["Aesthetic error"].startswith("No. The prompt stayed plain. The other prompts")
    assert p.infotexts[0]["Aesthetic similarity"].count("->") == 1


def test_under_the_picture(host: Host):
    generate(host, **WANTED)
    assert host.processed.comments.startswith("Aesthetic gradients: dusk, similarity ")
    generate(host)
    assert host.processed.comments == ""


def test_a_parser_that_does_not_ask(host: Host):
    host.generate(p := host.job("a castle", more={"prompt_attention": "fixed"}, **WANTED))
    assert "did not use its prompt parser" in p.infotexts[0]["Aesthetic error"]
    assert "did not use its prompt parser" in host.processed.comments
    host.generate(p := host.job("a castle", **WANTED))
    assert "Aesthetic error" not in p.infotexts[0]


def test_what_encoding_notes_is_the_plain_encodings(host: Host):
    for _ in range(2):  # the second time from our cache
        generate(host, negative="a style", text="snow", text_strength=0.5, **WANTED)
        assert host.model.embedding_db.embeddings_used == ["style"]


def test_another_extension_wraps_the_embedder_after_us(host: Host, patch: pytest.MonkeyPatch):
    tuned, ours, built = generate(host, **WANTED), host.parser.PromptEmbedder, []
    patch.setattr(host.parser, "PromptEmbedder", lambda *args, **kwargs: (built.append(args), ours(*args, **kwargs))[1])
    assert torch.equal(cond(generate(host, **WANTED)), cond(tuned))
    assert len(built) == 1


def test_a_model_without_clip(host: Host, patch: pytest.MonkeyPatch):
    plain = generate(host)
    assert host.webui("conditioner").loaded_families()
    t5 = type("T5EncoderModel", (type(host.model.text_encoder),), {})
    patch.setattr(host.model.text_encoder, "__class__", t5)
    (picture,) = host.generate(p := host.job("a castle", "blurred", **WANTED))
    assert torch.equal(cond(picture), cond(plain))
    assert "no CLIP text encoder" in p.infotexts[0]["Aesthetic error"]


def test_no_cards(host: Host, capsys: pytest.CaptureFixture[str]):
    """The rest of the extension loads, and one line says so."""
    host.webui("script").register()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no cards in this WebUI" in said


def test_digits_are_numbers_to_its_parser(host: Host, patch: pytest.MonkeyPatch):
    """modules/infotext.py, parse."""
    library = host.webui("host").library
    patch.setattr(library, "pinned", lambda name, digest: f"{name} {digest}", raising=False)
    params = {"Aesthetic embedding": 2024, "Aesthetic hash": 123456789, "Aesthetic steps": 3, "Aesthetic text": 12}
    values = host.webui("infotext").read(params, library).values
    assert (values["embedding"], values["steps"], values["text"]) == ("2024 0123456789", 3, "12")


def test_a_paste_sets_widgets_by_updates(host: Host):
    """modules/infotext.py, connect_paste: of a bare value it asks the function, as if it were a name, for its case."""
    import gradio as gr

    script = host.webui("script").AestheticGradients()
    with gr.Blocks():
        script.ui(False)
    params = {"Aesthetic embedding": "dusk", "Aesthetic steps": 7}
    values = [function(params) for _, function in script.infotext_fields]
    assert {"dusk", 7} <= {value["value"] for value in values if value is not None}
