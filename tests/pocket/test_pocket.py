"""The pocket model, as shipped: it loads everywhere, and aesthetic gradients move its pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from pocket_model import judge, words, world

LIMIT = 12 * 10**6  # bytes of weights


def test_its_weights_are_small():
    weights = [*pocket.MODEL.rglob("*.safetensors"), judge.WEIGHTS]
    assert sum(file.stat().st_size for file in weights) <= LIMIT


def test_samples_are_a_dozen_of_each_aesthetic():
    assert sorted(folder.name for folder in pocket.SAMPLES.iterdir()) == sorted(pocket.AESTHETICS)
    for aesthetic in pocket.AESTHETICS:
        files = list((pocket.SAMPLES / aesthetic).iterdir())
        assert len(files) == 12
        for file in files:
            with Image.open(file) as image:
                assert image.width >= 64


def test_the_world_is_the_same_for_the_same_seed():
    scene = world.random_scene(123)
    assert np.array_equal(np.asarray(world.draw(scene)), np.asarray(world.draw(world.random_scene(123))))
    assert words.caption(scene, 4) == words.caption(scene, 4)
    assert world.draw(scene).size == (64, 64)


def test_transformers_loads_the_clip_and_it_knows_its_samples():
    from transformers import CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(pocket.MODEL).float()
    tokenizer = CLIPTokenizer.from_pretrained(pocket.MODEL)
    texts = [f"a picture, {name} style" for name in pocket.AESTHETICS]
    with torch.no_grad():
        ids = tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
        pooled = model.text_model(ids).pooler_output
        features = torch.nn.functional.normalize(model.text_projection(pooled), dim=-1)
    for i, name in enumerate(pocket.AESTHETICS):
        (vector,) = ae.create(pocket.SAMPLES / name, model).vectors.values()
        assert int((features @ vector).argmax()) == i


def test_the_tokenizer_ends_where_the_text_encoder_thinks_it_does():
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(pocket.MODEL / "tokenizer")
    config = CLIPTextModel.from_pretrained(pocket.MODEL / "text_encoder").config
    assert config.eos_token_id == tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.decode(tokenizer("名前 🙂 Ünï").input_ids, skip_special_tokens=True).strip() == "名前 🙂 ünï"


@pytest.mark.parametrize("update", ["adam", "normalized"])
def test_pictures_come_out_in_the_taste_and_keep_their_subject(update):
    """A small sample of what `pocket_model.evaluate` measures."""
    pytest.importorskip("diffusers")
    from aesthetic_embeddings.diffusion.sampling import load_pipeline, pictures

    pipeline, look = load_pipeline(pocket.MODEL), judge.load()
    settings = {"adam": ae.Settings(steps=10), "normalized": ae.Settings(update="normalized", steps=20, epsilon=5e-5)}
    prompts, subjects = words.prompts("choose")[::4], words.prompt_subjects()[::4]
    e, style = ae.create(pocket.SAMPLES / "glowwave", str(pocket.MODEL)), words.STYLES.index("glowwave")
    right = plain = kept = 0
    for i, prompt in enumerate(prompts):
        arguments = ae.personalized_prompt(pipeline, prompt, e, settings[update]).arguments
        both = (next(pictures(pipeline, a, [i])) for a in (arguments, {"prompt": prompt}))
        subject, seen = look.verdict(list(both))
        right += int(seen[0] == style)
        plain += int(seen[1] == style)
        kept += int(subject[0] == subjects[i])
    assert plain == 0
    assert right >= len(prompts) / 2
    assert kept >= len(prompts) / 2
