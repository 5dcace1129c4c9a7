"""What an aesthetic is told apart from, and which CLIP looked: kept in the file, and of use to the setting contrast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import aesthetic_embeddings as ae
from aesthetic_embeddings.aesthetics.embedding import with_neutral
from aesthetic_embeddings.aesthetics.families import clip_signature, same_clip

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


def test_both_sides_are_kept_in_the_file(tmp_path: Path) -> None:
    e = embedding(1, against=embedding(2).vectors, clips={FAMILY: "0f" * 32})
    path = e.save(tmp_path / "e.safetensors")
    loaded = ae.load(path)
    assert torch.equal(loaded.vectors[FAMILY], e.vectors[FAMILY])
    assert torch.equal(loaded.against[FAMILY], e.against[FAMILY])
    assert (loaded.clips, loaded.content_hash) == (e.clips, e.content_hash)
    # a reader that knows nothing of the other side finds the plain mean where it always was
    assert torch.equal(safetensors.torch.load_file(path)[FAMILY], e.vectors[FAMILY])


def test_the_other_side_is_part_of_the_identity_but_only_where_there_is_one() -> None:
    e = embedding(1)
    assert replace(e, against=embedding(2).vectors).content_hash != e.content_hash
    assert replace(e, clips={FAMILY: "0f" * 32}).content_hash == e.content_hash


@pytest.mark.parametrize("clips", ["[]", "{", '{"clip-vit-l-14": 3}', '{"clip-vit-l-14": "zz"}', "[" * 100_000])
def test_what_makes_no_sense_as_a_clip_is_not_known(tmp_path: Path, clips: str) -> None:
    path = tmp_path / "e.safetensors"
    path.write_bytes(
        safetensors.torch.save(
            dict(embedding(1).vectors), {"format": "aesthetic-embedding", "version": "1", "clips": clips}
        )
    )
    assert ae.load(path).clips == {}


@pytest.mark.parametrize("other", [torch.ones(7), torch.full((768,), float("nan"))])
def test_another_side_that_does_not_fit_is_refused(tmp_path: Path, other: torch.Tensor) -> None:
    path = tmp_path / "e.safetensors"
    tensors = {**embedding(1).vectors, f"{FAMILY}/against": other}
    path.write_bytes(safetensors.torch.save(tensors, {"format": "aesthetic-embedding", "version": "1"}))
    with pytest.raises(ae.FileError, match="told apart"):
        ae.load(path)


def test_a_blend_of_contrasts_is_the_contrast_of_the_blend() -> None:
    a, b = (embedding(i, 10.0 + i, against=embedding(9, 12.0).vectors) for i in (1, 2))
    mixed = ae.blend([(a, 0.7), (b, -0.3)])
    apart = [
        e.vectors[FAMILY] / e.vectors[FAMILY].norm() - e.against[FAMILY] / e.vectors[FAMILY].norm() for e in (a, b)
    ]
    torch.testing.assert_close(mixed.vectors[FAMILY] - mixed.against[FAMILY], 0.7 * apart[0] - 0.3 * apart[1])
    cancelled = ae.blend([(a, 1.0), (replace(a, vectors=b.vectors, against=a.against), -a_scale(a, b))])
    assert (
        float(cancelled.against[FAMILY].norm()) < 1e-5
    )  # nothing is left to be told apart from, which is not "unknown"
    assert FAMILY in with_neutral(cancelled, embedding(5)).against


def a_scale(a: ae.AestheticEmbedding, b: ae.AestheticEmbedding) -> float:
    return float(b.vectors[FAMILY].norm() / a.vectors[FAMILY].norm())


def test_a_blend_has_no_other_side_where_a_part_has_none() -> None:
    assert ae.blend([(embedding(1, against=embedding(9).vectors), 1.0), (embedding(2), 1.0)]).against == {}


def test_aesthetics_of_two_clips_of_one_shape_do_not_blend() -> None:
    ours, theirs = (clip_signature(torch.randn(768, 768)) for _ in range(2))
    known, other, unknown = embedding(1, clips={FAMILY: ours}), embedding(2, clips={FAMILY: theirs}), embedding(3)
    assert ae.blend([(known, 1.0), (unknown, 1.0)]).clips == {FAMILY: ours}
    with pytest.raises(ae.AestheticError, match="different CLIPs"):
        ae.blend([(known, 1.0), (other, 1.0)])


def test_merging_takes_both_sides_from_the_later_part() -> None:
    first = embedding(1, against=embedding(9).vectors, clips={FAMILY: "0f" * 32})
    merged = ae.merge([first, embedding(2)])
    assert (merged.against, merged.clips) == ({}, {})


def test_a_neutral_one_stands_in_at_the_length_of_the_aesthetic() -> None:
    e, n = embedding(1, 15.0), embedding(2)
    filled = with_neutral(e, n).against[FAMILY]
    torch.testing.assert_close(filled.norm(), e.vectors[FAMILY].norm())
    torch.testing.assert_close(filled / filled.norm(), n.vectors[FAMILY] / n.vectors[FAMILY].norm())
    own = replace(e, against=embedding(3).vectors)
    assert with_neutral(own, n) is own


def test_a_clip_is_known_by_its_projection_in_any_precision_and_after_fine_tuning() -> None:
    projection = torch.randn(768, 768) * 0.02
    ours = clip_signature(projection)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert clip_signature(projection.to(dtype)) == ours
    tuned = projection + 0.002 * torch.randn(768, 768)  # far more than any fine-tuning moves it
    assert same_clip(clip_signature(tuned), ours)
    assert not any(same_clip(clip_signature(torch.randn(768, 768)), ours) for _ in range(20))
