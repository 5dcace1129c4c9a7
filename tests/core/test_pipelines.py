"""Conditioning for diffusers pipelines: the pocket model is a real SD1 pipeline; SDXL's is two small random towers."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings import settings as table
from aesthetic_embeddings.diffusion import pipelines
from aesthetic_embeddings.storage.lru_cache import LRUCache
from aesthetic_embeddings.text_encoder.missing_parts import text_projection

from .encoders import TEXT, randomize

diffusers = pytest.importorskip("diffusers")
L, G = "clip-32x3-24", "clip-40x2-28"
PROMPT = "a castle in a meadow"


@pytest.fixture(scope="module")
def sd1() -> Any:
    return diffusers.StableDiffusionPipeline.from_pretrained(pocket.MODEL)


@pytest.fixture(scope="module")
def embedding() -> ae.AestheticEmbedding:
    return ae.create(pocket.SAMPLES / "glowwave", str(pocket.MODEL))


def sdxl(**config: Any) -> Any:
    tokenizer = CLIPTokenizer.from_pretrained(pocket.MODEL)
    ids = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    second = {"hidden_size": 40, "intermediate_size": 80, "num_hidden_layers": 2, "projection_dim": 28}
    first, second = CLIPTextConfig(**{**TEXT, **ids}), CLIPTextConfig(**{**TEXT, **ids, **second}, hidden_act="gelu")
    encoders = CLIPTextModel(first).eval(), CLIPTextModelWithProjection(second).eval()
    for encoder in encoders:
        randomize(encoder)
    return diffusers.StableDiffusionXLPipeline(
        vae=None,
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=None,
        scheduler=None,
        **config,
    )


def vectors(**dims: int) -> ae.AestheticEmbedding:
    return ae.AestheticEmbedding({family: torch.randn(dim) for family, dim in dims.items()}, name="random")


def plain(pipeline: Any, prompt: str = PROMPT, negative: str | None = None) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return pipeline.encode_prompt(
            prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, negative_prompt=negative
        )


def test_sd1_equals_the_core(sd1, embedding):
    settings = ae.Settings(steps=5)
    ours = ae.personalized_prompt(sd1, PROMPT, embedding, settings, negative_prompt="fog")
    ids = sd1.tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids
    projection = text_projection(sd1.text_encoder.config.hidden_size, pocket.MODEL)
    with torch.no_grad(), ae.personalized(sd1.text_encoder, ids, embedding, settings, projection) as run:
        expected = sd1.text_encoder(ids).last_hidden_state
    assert torch.equal(ours.arguments["prompt_embeds"], expected)
    (similarities,) = ours.similarities.values()
    assert similarities == run.similarities
    assert similarities[-1] > similarities[0]
    before = plain(sd1, negative="fog")
    assert torch.equal(ours.arguments["negative_prompt_embeds"], before[1])
    assert not torch.equal(ours.arguments["prompt_embeds"], before[0])


def test_it_can_generate_a_picture(sd1, embedding):
    arguments = ae.personalized_prompt(sd1, PROMPT, embedding, ae.Settings(steps=2)).arguments
    out = sd1(**arguments, num_inference_steps=2, output_type="pil")
    assert out.images[0].size == (128, 128)


@pytest.mark.parametrize("nothing", [{"weight": 0}, {"steps": 0}, {"epsilon": 0}])
def test_nothing_changes_bit_for_bit(sd1, embedding, nothing):
    ours = ae.personalized_prompt(sd1, PROMPT, embedding, ae.Settings(**nothing))
    assert torch.equal(ours.arguments["prompt_embeds"], plain(sd1)[0])


def test_a_turned_aesthetic(sd1, embedding):
    """All the way to the text, the target is the text itself, or its opposite."""
    for negative, similarity in ((False, 1.0), (True, -1.0)):
        settings = ae.Settings(steps=0, text=PROMPT, text_strength=1, text_negative=negative)
        (found,) = ae.personalized_prompt(sd1, PROMPT, embedding, settings).similarities.values()
        assert found[0] == pytest.approx(similarity, abs=1e-5)


def test_sdxl_tunes_both_towers_and_the_pooled_output():
    pipeline, projection = sdxl(), torch.randn(24, 32)
    before = plain(pipeline)
    ours = ae.personalized_prompt(
        pipeline, PROMPT, vectors(**{L: 24, G: 28}), ae.Settings(epsilon=1e-3), projection=projection
    )
    hidden, pooled = ours.arguments["prompt_embeds"], ours.arguments["pooled_prompt_embeds"]
    assert not torch.equal(hidden[..., :32], before[0][..., :32])
    assert not torch.equal(hidden[..., 32:], before[0][..., 32:])
    assert not torch.equal(pooled, before[2])
    assert set(ours.similarities) == {L, G}
    assert all(s[-1] > s[0] for s in ours.similarities.values())
    assert not ours.notes
    for after, b in zip(plain(pipeline), before, strict=True):
        assert torch.equal(after, b)


def test_offloaded_weights():
    """Accelerate loads them for each call of a module, and their parameters hold no values between calls."""
    accelerate = pytest.importorskip("accelerate")
    pipeline, e, settings = sdxl(), vectors(**{L: 24, G: 28}), ae.Settings(steps=3, epsilon=1e-3)
    projection = torch.randn(24, 32)

    def ours() -> dict[str, torch.Tensor]:
        return ae.personalized_prompt(pipeline, PROMPT, e, settings, projection=projection, cache=False).arguments

    loaded = ours()
    for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
        accelerate.cpu_offload(encoder, torch.device("cpu"))
        assert {p.device.type for p in encoder.parameters()} == {"meta"}
    offloaded = ours()
    assert all(torch.equal(x, offloaded[name]) for name, x in loaded.items())


def test_sdxl_with_a_vector_for_one_tower_tunes_that_one_and_says_so():
    pipeline = sdxl()
    before = plain(pipeline)
    ours = ae.personalized_prompt(pipeline, PROMPT, vectors(**{G: 28}), projection=torch.randn(24, 32))
    assert torch.equal(ours.arguments["prompt_embeds"][..., :32], before[0][..., :32])
    assert not torch.equal(ours.arguments["prompt_embeds"][..., 32:], before[0][..., 32:])
    assert set(ours.similarities) == {G}
    assert len(ours.notes) == 1
    assert L in ours.notes[0]


def test_sdxls_towers_have_a_strength_each(monkeypatch):
    monkeypatch.setattr(table, "STRENGTHS", {L: "strength_clip_l", G: "strength_clip_g"})
    pipeline, projection, e = sdxl(), torch.randn(24, 32), vectors(**{L: 24, G: 28})

    def made(**options: Any) -> torch.Tensor:
        return ae.personalized_prompt(pipeline, PROMPT, e, ae.Settings(**options), projection=projection).arguments[
            "prompt_embeds"
        ]

    found, half = made(epsilon=1e-3, strength_clip_l=0, strength_clip_g=0.5), made(epsilon=5e-4)
    assert torch.equal(found[..., :32], plain(pipeline)[0][..., :32])
    assert torch.equal(found[..., 32:], half[..., 32:])


def test_sdxl_without_a_projection_for_its_first_tower():
    ours = ae.personalized_prompt(sdxl(), PROMPT, vectors(**{L: 24, G: 28}))
    assert set(ours.similarities) == {G}
    assert "projection" in ours.notes[0]


def test_an_aesthetic_for_none_of_the_towers_is_refused(sd1):
    with pytest.raises(ae.EncoderError, match="made for clip-vit-l-14"):
        ae.personalized_prompt(sdxl(), PROMPT, vectors(**{"clip-vit-l-14": 768}), projection=torch.randn(24, 32))
    with pytest.raises(ae.EncoderError, match="made for clip-vit-l-14"):
        ae.personalized_prompt(sd1, PROMPT, vectors(**{"clip-vit-l-14": 768}))


def test_sdxls_empty_negative_prompt_stays_zero():
    pipeline = sdxl(force_zeros_for_empty_prompt=True)
    ours = ae.personalized_prompt(pipeline, PROMPT, vectors(**{G: 28}))
    assert not ours.arguments["negative_prompt_embeds"].any()
    assert not ours.arguments["negative_pooled_prompt_embeds"].any()
    with_text = ae.personalized_prompt(pipeline, PROMPT, vectors(**{G: 28}), negative_prompt="fog")
    assert torch.equal(with_text.arguments["negative_prompt_embeds"], plain(pipeline, negative="fog")[1])


def with_t5(kind: str) -> Any:
    """SD3's three text encoders, or Flux's two, at a small size."""
    parts = sdxl()
    t5 = T5EncoderModel(
        T5Config(vocab_size=len(parts.tokenizer), d_model=96, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    randomize(t5)
    common = {"vae": None, "scheduler": None, "transformer": None, "tokenizer": parts.tokenizer}
    if kind == "flux":
        return diffusers.FluxPipeline(
            **common, text_encoder=parts.text_encoder, text_encoder_2=t5.eval(), tokenizer_2=parts.tokenizer
        )
    first = CLIPTextModelWithProjection(parts.text_encoder.config)
    randomize(first)
    return diffusers.StableDiffusion3Pipeline(
        **common,
        text_encoder=first.eval(),
        text_encoder_2=parts.text_encoder_2,
        text_encoder_3=t5.eval(),
        tokenizer_2=parts.tokenizer,
        tokenizer_3=parts.tokenizer,
    )


@pytest.mark.parametrize("blend", ["lerp", "slerp"])
def test_sd3s_clips_are_tuned_and_t5_is_left_alone(blend):
    pipeline, e = with_t5("sd3"), vectors(**{L: 24, G: 28})
    options = {"max_length": pipeline.tokenizer_max_length, "padding": "max_length", "return_tensors": "pt"}
    ids, settings = pipeline.tokenizer(PROMPT, **options).input_ids, ae.Settings(epsilon=1e-3)

    def encoded() -> dict[str, torch.Tensor]:
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        with torch.no_grad():
            return dict(zip(names, pipeline.encode_prompt(PROMPT, None, None, device="cpu"), strict=True))

    before = encoded()
    with (
        ae.personalized(pipeline.text_encoder, ids, e.vectors[L], settings),
        ae.personalized(pipeline.text_encoder_2, ids, e.vectors[G], settings),
    ):
        want = encoded()
    ours = ae.personalized_prompt(pipeline, PROMPT, e, settings)
    for name in ("prompt_embeds", "pooled_prompt_embeds"):
        assert torch.equal(ours.arguments[name], want[name])
        assert not torch.equal(want[name], before[name])
        assert torch.equal(ours.arguments[f"negative_{name}"], before[f"negative_{name}"])
    assert set(ours.similarities) == {L, G}
    assert not ours.notes
    length = ids.shape[1]
    half = ae.personalized_prompt(pipeline, PROMPT, e, replace(settings, weight=0.5, blend=blend))
    assert torch.equal(half.arguments["prompt_embeds"][:, length:], before["prompt_embeds"][:, length:])


def test_fluxs_clip_is_tuned():
    pipeline, e, settings = with_t5("flux"), vectors(**{L: 24}), ae.Settings(epsilon=1e-3)
    options = {"max_length": pipeline.tokenizer_max_length, "padding": "max_length", "return_tensors": "pt"}
    ids, projection = pipeline.tokenizer(PROMPT, **options).input_ids, torch.randn(24, 32)

    def encoded(text: str) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return pipeline.encode_prompt(text, device="cpu")[:2]

    hidden, pooled = encoded(PROMPT)
    with ae.personalized(pipeline.text_encoder, ids, e, settings, projection):
        _, want = encoded(PROMPT)
    ours = ae.personalized_prompt(pipeline, PROMPT, e, settings, projection=projection, negative_prompt="fog")
    assert torch.equal(ours.arguments["prompt_embeds"], hidden)
    assert torch.equal(ours.arguments["pooled_prompt_embeds"], want)
    assert not torch.equal(want, pooled)
    for name, x in zip(("negative_prompt_embeds", "negative_pooled_prompt_embeds"), encoded("fog"), strict=True):
        assert torch.equal(ours.arguments[name], x)
    alone = ae.personalized_prompt(pipeline, PROMPT, e, settings, projection=projection)
    assert not any(name.startswith("negative") for name in alone.arguments)


# ---------------------------------------------------------------- equal inputs are tuned once


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "CACHE", LRUCache(10**6))


@pytest.fixture
def tunings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one at each tuning."""
    tune, calls = pipelines.personalize_each, []
    monkeypatch.setattr(pipelines, "personalize_each", lambda *args: [calls.append(1), tune(*args)][1])
    return calls


def test_equal_inputs_are_tuned_once(tunings):
    pipeline, e, cache = sdxl(), vectors(**{L: 24, G: 28}), True
    projection, steps = torch.randn(24, 32), []

    def run(prompt: str = PROMPT, e: Any = e, **options: Any) -> Any:
        settings, more = ae.Settings(**{"epsilon": 1e-3, "steps": 2} | options), {"projection": projection}
        return ae.personalized_prompt(
            pipeline, prompt, e, settings, cache=cache, on_step=lambda *step: steps.append(step), **more
        )

    first, told = run(), list(steps)
    second = run()
    assert len(tunings) == 1
    assert steps == told + told
    assert second.similarities == first.similarities
    assert all(torch.equal(x, second.arguments[name]) for name, x in first.arguments.items())
    half = run(weight=0.5)  # blended anew
    assert len(tunings) == 1
    assert not torch.equal(half.arguments["prompt_embeds"], first.arguments["prompt_embeds"])
    for changed in ({"prompt": "a tree"}, {"steps": 3}, {"text": "fog"}, {"e": vectors(**{L: 24})}):
        before = len(tunings)
        run(**changed)
        assert len(tunings) == before + 1
    projection = torch.randn(24, 32)
    run()
    assert len(tunings) == 6
    cache = False
    run()
    run()
    assert len(tunings) == 8


def test_a_part_that_is_fetched_later_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("AESTHETIC_CACHE", str(tmp_path))
    pipeline, e = sdxl(), vectors(**{L: 24, G: 28})
    assert ae.personalized_prompt(pipeline, PROMPT, e).notes
    file = tmp_path / "clip-vit-l-14-text-projection.safetensors"
    safetensors.torch.save_file({"text_projection.weight": torch.randn(24, 32)}, file)
    assert set(ae.personalized_prompt(pipeline, PROMPT, e).similarities) == {L, G}


@pytest.mark.parametrize("update", ["adam", "normalized"])
def test_results_that_are_not_finite_are_errors_and_not_cached(update):
    """Half precision overflows where fp32 does not."""
    pipeline, e = sdxl(), vectors(**{G: 28})
    pipeline.text_encoder_2.half()
    settings = ae.Settings(steps=100, epsilon=1.0, update=update)
    with pytest.raises(ae.AestheticError, match=r"not finite|range of numbers"):
        ae.personalized_prompt(pipeline, PROMPT, e, settings)
    assert len(pipelines.CACHE) == 0


def test_a_small_pipeline_runs_on_two_threads_at_most(sd1, embedding, monkeypatch):
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(4)
    try:
        encode = type(sd1).encode_prompt

        @functools.wraps(encode)
        def noting(*args: Any, **options: Any) -> Any:
            seen.append(torch.get_num_threads())
            return encode(*args, **options)

        monkeypatch.setattr(type(sd1), "encode_prompt", noting)
        ae.personalized_prompt(sd1, PROMPT, embedding, cache=False)
        assert set(seen) == {2}
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
