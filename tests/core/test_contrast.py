"""What an aesthetic is told apart from, and which CLIP looked: kept in the file, and of use to the setting contrast."""

from __future__ import annotations

import os
import re
import struct
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import aesthetic_embeddings as ae
from aesthetic_embeddings.aesthetics.embedding import with_neutral
from aesthetic_embeddings.aesthetics.families import clip_signature, same_clip
from aesthetic_embeddings.aesthetics.mixes import Mix
from aesthetic_embeddings.aesthetics.neutral import NEUTRAL

from .encoders import EOS, TEXT, encoder, prompt
from .github import FILE, HEAD, NUMBERS, github

FAMILY = "clip-vit-l-14"


def embedding(seed: int, scale: float = 1.0, name: str = "", **about: Any) -> ae.AestheticEmbedding:
    x = torch.randn(768, generator=torch.Generator().manual_seed(seed)) * scale
    return ae.AestheticEmbedding({FAMILY: x}, name=name or f"number {seed}", **about)


def test_contrast_is_the_difference_of_unit_vectors() -> None:
    e, n = embedding(1, 15.0), embedding(2)
    told_apart = ae.contrast(e, n, 0.75).vectors[FAMILY]
    u, v = (x.vectors[FAMILY] / x.vectors[FAMILY].norm() for x in (e, n))
    torch.testing.assert_close(told_apart, u - 0.75 * v)
    torch.testing.assert_close(ae.contrast(e, n, 0.0).vectors[FAMILY], u)


def test_contrast_needs_a_common_family() -> None:
    with pytest.raises(ae.AestheticError, match="same CLIP"):
        ae.contrast(embedding(1), ae.AestheticEmbedding({"open-clip-vit-h-14": torch.ones(1024)}))


def test_ordinary_vectors_are_stored_in_the_file(tmp_path: Path) -> None:
    e = embedding(1, against=embedding(2).vectors, clips={FAMILY: "0f" * 32})
    path = e.save(tmp_path / "e.safetensors")
    loaded = ae.load(path)
    assert torch.equal(loaded.vectors[FAMILY], e.vectors[FAMILY])
    assert torch.equal(loaded.against[FAMILY], e.against[FAMILY])
    assert (loaded.clips, loaded.content_hash) == (e.clips, e.content_hash)
    # a reader that knows nothing of the other side finds the plain mean where it always was
    assert torch.equal(safetensors.torch.load_file(path)[FAMILY], e.vectors[FAMILY])


def test_ordinary_vectors_are_part_of_the_hash_if_there_are_any() -> None:
    e = embedding(1)
    assert replace(e, against=embedding(2).vectors).content_hash != e.content_hash
    assert replace(e, clips={FAMILY: "0f" * 32}).content_hash == e.content_hash


@pytest.mark.parametrize("clips", ["[]", "{", '{"clip-vit-l-14": 3}', '{"clip-vit-l-14": "zz"}', "[" * 100_000])
def test_an_invalid_clip_signature_is_ignored(tmp_path: Path, clips: str) -> None:
    path = tmp_path / "e.safetensors"
    path.write_bytes(
        safetensors.torch.save(
            dict(embedding(1).vectors), {"format": "aesthetic-embedding", "version": "1", "clips": clips}
        )
    )
    assert ae.load(path).clips == {}


@pytest.mark.parametrize("other", [torch.ones(7), torch.full((768,), float("nan"))])
def test_ordinary_vectors_that_do_not_fit_are_refused(tmp_path: Path, other: torch.Tensor) -> None:
    path = tmp_path / "e.safetensors"
    tensors = {**embedding(1).vectors, f"{FAMILY}/against": other}
    path.write_bytes(safetensors.torch.save(tensors, {"format": "aesthetic-embedding", "version": "1"}))
    with pytest.raises(ae.FileError, match="vector of ordinary pictures"):
        ae.load(path)


def test_a_blend_of_contrasts_is_the_contrast_of_the_blend() -> None:
    a, b = (embedding(i, 10.0 + i, against=embedding(9, 12.0).vectors) for i in (1, 2))
    mixed = ae.blend([(a, 0.7), (b, -0.3)])
    apart = [(e.vectors[FAMILY] - e.against[FAMILY]) / e.vectors[FAMILY].norm() for e in (a, b)]
    torch.testing.assert_close(mixed.vectors[FAMILY] - mixed.against[FAMILY], 0.7 * apart[0] - 0.3 * apart[1])


def test_a_blend_whose_ordinary_vectors_cancel_has_none() -> None:
    a, b = (with_neutral(embedding(i), embedding(9)) for i in (1, 2))
    mixed = ae.blend([(a, 1.0), (b, -1.0)])
    assert float(mixed.ordinary[FAMILY].norm()) < 1e-5  # which is not the same as "unknown"
    assert mixed.against == {}


def test_a_blend_has_no_ordinary_vectors_if_a_part_has_none() -> None:
    assert ae.blend([(embedding(1, against=embedding(9).vectors), 1.0), (embedding(2), 1.0)]).against == {}


def test_aesthetics_of_two_clips_of_one_shape_do_not_blend() -> None:
    ours, theirs = (clip_signature(torch.randn(768, 768)) for _ in range(2))
    known, other, unknown = embedding(1, clips={FAMILY: ours}), embedding(2, clips={FAMILY: theirs}), embedding(3)
    assert ae.blend([(known, 1.0), (unknown, 1.0)]).clips == {FAMILY: ours}
    with pytest.raises(ae.AestheticError, match="different CLIPs"):
        ae.blend([(known, 1.0), (other, 1.0)])


def test_merging_takes_both_vectors_from_the_later_part() -> None:
    first = embedding(1, against=embedding(9).vectors, clips={FAMILY: "0f" * 32})
    merged = ae.merge([first, embedding(2)])
    assert (merged.against, merged.clips) == ({}, {})


def test_the_neutral_vector_gets_the_length_of_the_aesthetic(tmp_path: Path) -> None:
    e, n = embedding(1, 15.0), embedding(2)
    filled = with_neutral(e, n)
    torch.testing.assert_close(filled.ordinary[FAMILY].norm(), e.vectors[FAMILY].norm())
    assert torch.cosine_similarity(filled.ordinary[FAMILY], n.vectors[FAMILY], dim=0) > 0.9999
    own = replace(e, against=embedding(3).vectors)
    assert torch.equal(with_neutral(own, n).ordinary[FAMILY], own.against[FAMILY])
    # it is what tuning uses, and no part of the file
    assert filled.content_hash == e.content_hash
    assert filled.tuning_hash != e.tuning_hash
    assert replace(e, clips={FAMILY: "0f" * 32}).tuning_hash != e.tuning_hash  # which CLIPs it may be used with
    assert ae.load(filled.save(tmp_path / "e.safetensors")).neutral == {}


def test_a_neutral_vector_of_another_clip_is_not_used() -> None:
    ours, theirs = (clip_signature(torch.randn(768, 768)) for _ in range(2))
    e, n = embedding(1, clips={FAMILY: ours}), embedding(2)
    assert FAMILY in with_neutral(e, n).neutral
    assert FAMILY in with_neutral(e, replace(n, clips={FAMILY: ours})).neutral
    assert FAMILY not in with_neutral(e, replace(n, clips={FAMILY: theirs})).neutral


def test_a_clip_is_known_by_its_projection_in_any_precision_and_after_fine_tuning() -> None:
    projection = torch.randn(768, 768) * 0.02
    ours = clip_signature(projection)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert clip_signature(projection.to(dtype)) == ours
    tuned = projection + 0.002 * torch.randn(768, 768)  # far more than any fine-tuning moves it
    assert same_clip(clip_signature(tuned), ours)
    assert not any(same_clip(clip_signature(torch.randn(768, 768)), ours) for _ in range(20))


# ---- tuning ----

SMALL = "clip-32x3-24"
SETTINGS = ae.Settings(steps=3, epsilon=1e-3)


def small(seed: int, **about: Any) -> ae.AestheticEmbedding:
    x = torch.randn(24, generator=torch.Generator().manual_seed(seed))
    return ae.AestheticEmbedding({SMALL: x}, name=f"number {seed}", **about)


def tuned(embedding: ae.AestheticEmbedding | torch.Tensor, **settings: Any) -> torch.Tensor:
    enc, ids = encoder("projection", torch.float64), prompt(5)
    with torch.no_grad(), ae.personalized(enc.model, ids, embedding, replace(SETTINGS, **settings)):
        return enc.run(enc.model, ids)[0]


def test_contrast_1_tunes_towards_the_difference_and_0_towards_the_mean() -> None:
    e, n = small(1), small(2)
    both = replace(e, against=n.vectors)
    assert torch.equal(tuned(both), tuned(e.vectors[SMALL]))
    assert torch.equal(tuned(both, contrast=0.5), tuned(e.vectors[SMALL] - 0.5 * n.vectors[SMALL]))
    assert not torch.equal(tuned(both, contrast=0.5), tuned(both))


def test_contrast_without_ordinary_vectors_is_reported() -> None:
    for embedding in (small(1), small(1).vectors[SMALL]):
        with pytest.raises(ae.AestheticError, match=r"(?i)contrast needs"):
            tuned(embedding, contrast=1.0)
    with pytest.raises(ae.AestheticError, match="leaves nothing of it"):
        tuned(replace(small(1), against=small(1).vectors), contrast=1.0)


def test_another_clip_of_the_same_shape_is_detected() -> None:
    enc = encoder("projection", torch.float64)
    ours, theirs = clip_signature(enc.text_projection()), clip_signature(torch.randn(24, 32))
    plain = tuned(small(1))
    assert torch.equal(tuned(small(1, clips={SMALL: ours})), plain)
    with pytest.raises(ae.EncoderError, match="another CLIP of the shape"):
        tuned(small(1, clips={SMALL: theirs}))
    assert torch.equal(tuned(small(1, clips={SMALL: theirs}), any_clip=True), plain)


def clip_of_vit_l_14s_shape() -> CLIPTextModelWithProjection:
    """With small feed-forward layers: what tells families apart are width, layers and projection."""
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "projection_dim": 768, "num_attention_heads": 12}
    config = CLIPTextConfig(**TEXT | sizes | {"intermediate_size": 16, "eos_token_id": EOS})
    return CLIPTextModelWithProjection(config).eval()


def test_a_random_clip_of_vit_l_14s_shape_is_refused_and_a_fine_tuned_text_encoder_is_not() -> None:
    stock, random = clip_of_vit_l_14s_shape(), clip_of_vit_l_14s_shape()
    e = embedding(1, clips={FAMILY: clip_signature(stock.text_projection.weight)})
    with pytest.raises(ae.EncoderError, match="another CLIP of the shape clip-vit-l-14"):
        personalized_state(random, e)
    with torch.no_grad():
        for x in stock.text_model.parameters():  # a checkpoint's training; its projection is the stock one
            x += 0.3 * x.std(unbiased=False) * torch.randn_like(x)
    assert not torch.equal(personalized_state(stock, e), personalized_state(stock, None))
    # files of before, which know nothing, load and tune as they did
    assert torch.equal(personalized_state(stock, embedding(1)), personalized_state(stock, e))
    assert torch.isfinite(personalized_state(random, embedding(1))).all()


@torch.no_grad()
def personalized_state(model: CLIPTextModelWithProjection, e: ae.AestheticEmbedding | None) -> torch.Tensor:
    ids = prompt(5)
    with nullcontext() if e is None else ae.personalized(model, ids, e, ae.Settings(steps=1)):
        return model(ids).last_hidden_state


# ---- the neutral embedding ----


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AESTHETIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_neutral_embedding_is_fetched_once(cache: Path) -> None:
    assert NEUTRAL.find() is None
    assert not NEUTRAL.is_here()
    seen: list[tuple[int, int]] = []
    with github(FILE) as address:
        path = NEUTRAL.fetch(lambda *done: seen.append(done), address)
    assert path.parent == cache
    assert seen == [(3200, 3200)]
    found = NEUTRAL.find()
    assert found is not None
    assert torch.equal(found.vectors[FAMILY], NUMBERS)
    assert NEUTRAL.is_here()


@pytest.mark.parametrize(
    "answer",
    [
        FILE[:-1],
        FILE + b"x",
        b"<html>".ljust(3200),
        HEAD + struct.pack("<768f", *[float("nan")] * 768),
        HEAD.replace(b"<f4", b"<i4") + FILE[128:],
    ],
)
def test_another_download_is_refused_and_the_file_is_kept(cache: Path, answer: bytes) -> None:
    with github(FILE) as address:
        path = NEUTRAL.fetch(endpoint=address)
    with github(answer) as address, pytest.raises(ae.FileError, match=re.escape(address)):
        NEUTRAL.fetch(endpoint=address)
    assert path.read_bytes() == FILE


def test_without_network_the_error_names_the_file_and_where_it_goes(cache: Path) -> None:
    with pytest.raises(ae.FileError, match=re.escape(str(cache))):
        NEUTRAL.fetch(endpoint="http://127.0.0.1:9")
    assert "vit_l_14_embeddings/rating5.npy of https://github.com/LAION-AI/aesthetic-predictor" in NEUTRAL.how_to_get
    cache.mkdir()
    (cache / NEUTRAL.cached).write_bytes(FILE)  # as it says
    assert NEUTRAL.is_here()


def test_a_damaged_file_counts_as_missing(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    (cache / NEUTRAL.cached).write_bytes(b"damaged")
    with pytest.raises(ae.FileError, match="fetch it again"):
        NEUTRAL.find()
    assert not NEUTRAL.is_here()
    assert ae.Library([tmp_path / "library"]).neutral is None


def test_the_librarys_neutral_embedding_is_the_default(cache: Path, tmp_path: Path) -> None:
    library = ae.Library([tmp_path / "library"])
    library.save(embedding(1, 15.0, "plain"))
    library.save(embedding(2, name="own", against=embedding(4).vectors))
    assert library.neutral is None
    assert library.get("plain").ordinary == {}
    assert library.get("plain").own_share(FAMILY) is None

    cache.mkdir()
    (cache / NEUTRAL.cached).write_bytes(FILE)
    library.refresh()
    plain, own = library.get("plain"), library.get("own")
    assert torch.cosine_similarity(plain.ordinary[FAMILY], NUMBERS, dim=0) > 0.9999
    assert torch.equal(own.ordinary[FAMILY], own.against[FAMILY])
    both = library.blend(Mix((("plain", 0.5), ("own", 0.5))))
    assert FAMILY in both.ordinary
    assert both.against == {}

    given = ae.Library([tmp_path / "library"], [embedding(6)])
    assert given.neutral is not None
    assert torch.equal(given.neutral.vectors[FAMILY], NUMBERS)  # what was fetched goes before what came with a model
    library.save(embedding(7, name="neutral"))
    assert torch.equal(library.neutral.vectors[FAMILY], embedding(7).vectors[FAMILY])  # and the user's own before all


def test_similarity_excludes_what_all_pictures_share(cache: Path, tmp_path: Path) -> None:
    """Three aesthetics of one narrow cone: what is common to them no longer counts."""
    library = ae.Library([tmp_path / "library"])
    n, *own = (torch.nn.functional.normalize(torch.randn(768), dim=0) for _ in range(3))
    own = [x - (x @ n) * n for x in own]
    for name, x in (("a", own[0]), ("b", own[1]), ("c", 0.9 * own[0] + 0.1 * own[1])):
        library.save(ae.AestheticEmbedding({FAMILY: 2 * n + x}, name=name))
    before = dict(library.nearest(library.get("a"), FAMILY))
    assert before["b"] > 0.7
    library.save(ae.AestheticEmbedding({FAMILY: n}, name="neutral"))
    after = dict(library.nearest(library.get("a"), FAMILY))
    assert abs(after["b"]) < 0.2
    assert "neutral" not in after  # of which nothing is left
    assert library.nearest(library.get("neutral"), FAMILY) == []
    assert after["c"] > 0.98
    share = library.get("a").own_share(FAMILY)
    norm = float(own[0].norm())
    assert share == pytest.approx(norm**2 / (4 + norm**2), abs=1e-4)


# ---- the paper's own embeddings ----

DATA = os.environ.get("AESTHETIC_DATA", "")


@pytest.mark.skipif(not DATA, reason="AESTHETIC_DATA names no folder with the real files")
def test_the_papers_embeddings_are_means_in_the_cone_or_contrasts(cache: Path) -> None:
    """AESTHETIC_DATA: a folder with the paper's eight in aesthetic_embeddings/, and LAION's means in neutral/.

    docs/taste.md has the table and the figures.
    """

    def rating(number: int) -> torch.Tensor:
        return torch.tensor(struct.unpack("<768f", rating_file(number)[128:]))

    def rating_file(number: int) -> bytes:
        return Path(DATA, "neutral", f"laion_vit_l_14_rating{number}.npy").read_bytes()

    cache.mkdir()
    (cache / NEUTRAL.cached).write_bytes(rating_file(5))
    library = ae.Library([Path(DATA, "aesthetic_embeddings")])
    assert library.neutral is not None
    found = {name: library.get(name) for name in library.names()}
    n = library.neutral.vectors[FAMILY]
    better = rating(7) - rating(4)

    def cosine(x: torch.Tensor, y: torch.Tensor) -> str:
        return f"{float(torch.cosine_similarity(x, y, dim=0)):.2f}".replace("0.", ".").replace("-", "\N{MINUS SIGN}")

    rows = []
    for name, e in found.items():
        x, own = e.vectors[FAMILY], e.own_share(FAMILY)
        assert own is not None
        rows.append(f"| {name} | {x.norm():.2f} | {cosine(x, n)} | {100 * own:.0f} % | {cosine(x, better)} |")
    means = torch.stack([e.vectors[FAMILY] for name, e in found.items() if name not in ("laion_7plus", "sac_8plus")])
    apart = means - (means @ n)[:, None] * n / n.square().sum()
    before, after = (f"{_median_cosine(x):.2f}"[1:] for x in (means, apart))

    page = (Path(__file__).parents[2] / "docs" / "taste.md").read_text(encoding="utf-8")
    assert len(rows) == 8
    for row in [*rows, f"The median cosine of two of the six means is {before}", f"it is {after}."]:
        assert row in page, row


def _median_cosine(rows: torch.Tensor) -> float:
    unit = torch.nn.functional.normalize(rows, dim=-1)
    above = torch.triu_indices(len(rows), len(rows), 1)
    return float((unit @ unit.T)[above[0], above[1]].median())
