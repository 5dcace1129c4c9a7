"""The pocket model, as shipped: it loads everywhere, and aesthetic gradients move its pictures."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from pocket_model import judge, looks, measures, scene, words

LIMIT = 20 * 10**6  # bytes of weights


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
                assert image.width >= 128


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


def test_its_neutral_embedding_is_of_its_own_clip_and_stands_in(tmp_path):
    from transformers import CLIPModel

    neutral = ae.load(pocket.NEUTRAL)
    library = ae.Library([tmp_path], [neutral])
    model = CLIPModel.from_pretrained(pocket.MODEL)
    library.save(ae.create(pocket.SAMPLES / "glowwave", model, name="glowwave"))
    (family,) = neutral.vectors
    e = library.get("glowwave")
    assert neutral.clips == e.clips
    assert 0 < e.own_share(family) <= 1
    direction = torch.cosine_similarity(e.ordinary[family], neutral.vectors[family], dim=0)
    assert float(direction) == pytest.approx(1)


def test_its_neutral_embedding_is_the_mean_of_plain_drawings():
    from pocket_model.evaluate import ORDINARY_SEED, drawings

    (neutral,) = ae.load(pocket.NEUTRAL).vectors.values()
    plain = drawings(looks.PLAIN_LOOK, ORDINARY_SEED, 40)
    (mean,) = ae.create(plain, str(pocket.MODEL)).vectors.values()
    assert float(torch.cosine_similarity(mean, neutral, dim=0)) > 0.9


def test_the_tokenizer_ends_where_the_text_encoder_thinks_it_does():
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(pocket.MODEL / "tokenizer")
    config = CLIPTextModel.from_pretrained(pocket.MODEL / "text_encoder").config
    assert config.eos_token_id == tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.decode(tokenizer("名前 🙂 Ünï").input_ids, skip_special_tokens=True).strip() == "名前 🙂 ünï"


@pytest.mark.parametrize("update", ["adam", "normalized"])
def test_pictures_come_out_in_the_taste_and_keep_their_subject(update):
    """A small sample of what `pocket_model.evaluate` measures, on an aesthetic that captions name."""
    pytest.importorskip("diffusers")
    from pocket_model.evaluate import Bench, difference

    bench, style = Bench(), scene.STYLES.index("aivazovsky")
    settings = {"adam": ae.Settings(steps=10), "normalized": ae.Settings(update="normalized", steps=15, epsilon=1e-4)}
    prompts, subjects = words.prompts("choose")[::4], words.prompt_subjects()[::4]
    e = difference(ae.create(pocket.SAMPLES / "aivazovsky", bench.clip), bench.ordinary)
    tuned = bench.pictures([bench.tuned(p, e, settings[update]) for p in prompts], 0)
    plain = bench.pictures([bench.plain(p) for p in prompts], 0)
    subject, seen = bench.judge.classify(tuned)
    assert not (bench.judge.classify(plain)[1] == style).any()
    assert (seen == style).mean() >= 0.5
    assert (subject == subjects).mean() >= 0.5


def test_pictures_change_towards_a_look_that_training_never_had():
    """The change of the colors points at the look's own, and at no other's."""
    pytest.importorskip("diffusers")
    from pocket_model.evaluate import DRAWING_SEED, Bench, difference, drawings

    bench, prompts = Bench(), words.prompts("choose")[::4]
    violet, green = (looks.Look(shadows=looks.Tint(h, 0.8), lights=looks.Tint(h + 130, 0.8)) for h in (270, 100))
    assert looks.held_out_reason(violet) == looks.held_out_reason(green) == "tints"
    plain = measures.color_statistics(bench.pictures([bench.plain(p) for p in prompts], 0))
    drawn = measures.color_statistics(drawings(looks.PLAIN_LOOK, DRAWING_SEED, 12))
    own, changes = [], []
    for look in (violet, green):
        images = drawings(look, DRAWING_SEED, 12)
        e = difference(bench.embedding(images), bench.ordinary)
        tuned = bench.pictures([bench.tuned(p, e, ae.Settings(steps=8)) for p in prompts], 0)
        own.append((measures.color_statistics(images) - drawn).mean(0))
        changes.append(measures.color_statistics(tuned) - plain)
    for i in (0, 1):
        towards, aside = (measures.cosines(changes[i], own[j]) for j in (i, 1 - i))
        assert towards.mean() > 0.5
        assert (towards > aside).all()
