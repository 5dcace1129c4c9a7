import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from aesthetic_embeddings.aesthetics import embedding, families
from aesthetic_embeddings.aesthetics.embedding import AestheticEmbedding, blend, load
from aesthetic_embeddings.errors import AestheticError, FileError

L, H, G = "clip-vit-l-14", "open-clip-vit-h-14", "open-clip-vit-bigg-14"


def vector(dim=768, seed=0, dtype=torch.float32):
    return (torch.randn(dim, generator=torch.Generator().manual_seed(seed)) * 0.4).to(dtype)


def example(**changes):
    e = AestheticEmbedding(
        {L: vector(), G: vector(1280)}, "dark", 12, "2024-01-02T03:04:05+00:00", "a CLIP", "from home"
    )
    return dataclasses.replace(e, **changes)


# ---- the value ----


def test_its_repr_is_one_line_without_the_numbers():
    said = "<AestheticEmbedding 'dark': clip-vit-l-14 [768], open-clip-vit-bigg-14 [1280], 12 pictures>"
    assert repr(example()) == said


def test_vectors_become_fp32_copies_in_one_row():
    source = vector(dtype=torch.float16)[None]
    e = AestheticEmbedding({L: source})
    source.zero_()
    assert e.vectors[L].dtype == torch.float32
    assert torch.equal(e.vectors[L], vector(dtype=torch.float16).float())


def test_a_vector_born_in_inference_mode_can_take_part_in_tuning():
    with torch.inference_mode():
        e = AestheticEmbedding({L: vector()})
    assert not e.vectors[L].is_inference()


def test_the_hash_covers_the_content_not_the_metadata():
    assert example(name="other", notes="", images=3).content_hash == example().content_hash
    assert example(vectors={L: vector()}).content_hash != example().content_hash
    assert example(vectors={L: vector(), H: vector(1024)}).content_hash != example().content_hash
    # pinned: it stands in the infotext of people's pictures
    one = AestheticEmbedding({"clip-8x2-2": torch.tensor([1.0, -0.5])})
    assert one.content_hash == hashlib.sha256(b"clip-8x2-2\0" + bytes.fromhex("0000803f000000bf")).hexdigest()


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        ({}, "at least one"),
        ({L: vector(512)}, "wrong dimensions: 512, not 768"),
        ({L: vector(768 * 2).view(2, 768)}, "wrong dimensions: 2 × 768"),
        ({"clip-64x2-32": vector(31)}, "wrong dimensions: 31, not 32"),
        ({L: torch.zeros(768)}, "is zero"),
        ({L: torch.full((768,), float("nan"))}, "not finite"),
        ({L: vector().index_fill(0, torch.tensor([5]), float("inf"))}, "not finite"),
        ({L: torch.full((768,), 1e30)}, "not finite"),
        ({L: torch.full((768,), 1e-40)}, "is zero"),
    ],
)
def test_what_points_nowhere_is_refused(vectors, says):
    with pytest.raises(AestheticError, match=says):
        AestheticEmbedding(vectors)


def test_families_know_their_dimension():
    assert [families.dimension(name) for name in (L, H, G, "clip-512x12-500", "else")] == [768, 1024, 1280, 500, None]
    assert [families.family_of_dimension(dim) for dim in (768, 1024, 1280, 512)] == [L, H, G, None]


# ---- the file ----


def test_a_file_stores_all_of_the_embedding(tmp_path):
    path = example().save(tmp_path / "new" / "folder" / "dark.safetensors")
    read = load(path)
    assert read.content_hash == example().content_hash
    for field in ("name", "images", "created", "encoder", "notes"):
        assert getattr(read, field) == getattr(example(), field)
    assert os.listdir(path.parent) == ["dark.safetensors"]


text = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)


@given(
    st.dictionaries(
        st.sampled_from([L, H, G, "clip-16x2-8"]),
        st.integers(0, 2**31),
        min_size=1,
    ),
    text.filter(bool),
    text,
    st.integers(0, 10**8),
)
def test_whatever_is_saved_loads_as_it_was(tmp_path_factory, seeds, name, notes, images):
    path = tmp_path_factory.mktemp("saved") / "x.safetensors"
    e = AestheticEmbedding({f: vector(families.dimension(f), s) for f, s in seeds.items()}, name, images, notes=notes)
    e.save(path)
    read = load(path)
    assert (read.content_hash, read.name, read.images, read.notes) == (e.content_hash, name, images, notes)


def test_a_name_that_is_no_text_is_saved_with_question_marks(tmp_path):
    assert load(example(name="a\udc80b").save(tmp_path / "x.safetensors")).name == "a?b"


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path):
    path = example().save(tmp_path / "x.safetensors")
    with pytest.raises(FileError, match=r"x\.safetensors exists already.*overwrite=True"):
        example(name="new").save(path)
    assert load(path).name == "dark"
    example(name="new").save(path, overwrite=True)
    assert load(path).name == "new"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = example().save(tmp_path / "x.safetensors")
    for error, seen in ((OSError(28, "No space left on device"), FileError), (KeyboardInterrupt(), KeyboardInterrupt)):

        def fail(fd, error=error):
            raise error

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(seen):
            example(name="new").save(path, overwrite=True)
    assert load(path).name == "dark"
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_only_safetensors_are_written(tmp_path):
    with pytest.raises(FileError, match=r"should end in \.safetensors"):
        example().save(tmp_path / "x.pt")


@pytest.mark.parametrize("shape", [(768,), (1, 768)])
def test_a_bare_vector_in_a_safetensors_file_goes_by_its_dimension(tmp_path, shape):
    path = tmp_path / "converted.safetensors"
    safetensors.torch.save_file({"whatever": vector().half().view(shape)}, path)
    read = load(path)
    assert (list(read.vectors), read.name, read.images) == ([L], "converted", 0)


def tensors(names, **metadata):
    return safetensors.torch.save(names, metadata or None)


def framed(header, data=b""):
    return len(header.encode()).to_bytes(8, "little") + header.encode() + data


def ours(vectors, version="1"):
    return tensors(vectors, format="aesthetic-embedding", version=version)


whole = ours({L: vector()})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Not found</html>", "neither a safetensors nor a .pt"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "before version 1.6"),
        (whole[:-1], "cut short"),
        (whole[:60], "cut short"),
        (whole + b"\0", "damaged"),
        (b"\0" * (16 * 2**20 + 1), "too large"),
        (ours({L: vector()}, version="2"), "newer version"),
        (ours({L: torch.full((768,), float("nan"))}), "not finite"),
        (ours({L: torch.zeros(768)}), "is zero"),
        (ours({L: vector(1024)}), "wrong dimensions: 1024, not 768"),
        (ours({L: torch.ones(768, dtype=torch.int32)}), "does not hold floating-point numbers"),
        (
            framed(json.dumps({"__metadata__": {"format": "aesthetic-embedding", "version": "1"}})),
            "at least one vector",
        ),
        (tensors({"lora_te_layer.lora_up.weight": vector()}), "models/Lora"),
        (tensors({"emb_params": vector()[None]}), "move it to the folder embeddings/"),
        (tensors({"clip_l": vector()[None], "clip_g": vector(1280)[None]}), "move it to the folder embeddings/"),
        (tensors({"<cat>": vector()}), "move it to the folder embeddings/"),
        (tensors({"a": vector(), "b": vector()}), "holds 2 tensors"),
        (framed("{}"), "no vector"),
        (tensors({"a": vector(512)}), "wrong dimensions: 512"),
        (tensors({"a": vector(768 * 3).view(3, 768)}), "wrong dimensions: 3 × 768"),
        (tensors({"a": torch.tensor(1.0)}), "wrong dimensions"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the bytes differ from process to process
)
def test_every_wrong_file_is_named_with_its_own_fault(tmp_path, data, says):
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileError, match=f"(?i)wrong.safetensors.*{says}"):
        load(path)


def test_what_is_no_readable_file_is_named(tmp_path):
    for path in (tmp_path / "gone.safetensors", tmp_path, "a\0b"):
        with pytest.raises(FileError, match="cannot be read"):
            load(path)


def loads_or_says_why(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        load(path)
    except AestheticError as error:
        assert str(path) in str(error)  # noqa: PT017 (it need not raise)


headers = st.recursive(
    st.none() | st.integers() | text | st.sampled_from(["F32", "F16", "U8", "F8_E4M3", "BOOL"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([L, "__metadata__", "dtype", "shape", "data_offsets", "format", "version"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200) | headers.map(lambda h: framed(json.dumps(h), bytes(16))))
def test_any_bytes_raise_only_file_errors(tmp_path_factory, data):
    loads_or_says_why(tmp_path_factory.getbasetemp() / "fuzz", data)


@given(st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_good_file_with_changed_bytes_raises_only_file_errors(tmp_path_factory, changes):
    data = bytearray(whole)
    for at, value in changes:
        data[at] = value
    loads_or_says_why(tmp_path_factory.getbasetemp() / "fuzz", bytes(data))


@pytest.mark.parametrize("mark", [b"PK", b"\x80\x02"])
def test_the_length_of_a_header_is_not_taken_for_another_files_mark(tmp_path, mark):
    length = int.from_bytes(mark.ljust(8, b"\0"), "little")
    header = json.dumps({"v": {"dtype": "F32", "shape": [768], "data_offsets": [0, 3072]}}).ljust(length)
    path = tmp_path / "x.safetensors"
    path.write_bytes(framed(header, vector().numpy().tobytes()))
    assert torch.equal(load(path).vectors[L], vector())


# ---- blends ----


def test_a_blend_is_of_directions_in_the_families_that_all_have():
    a, b = example(name="a"), example(name="b", vectors={L: vector(seed=1) * 50, H: vector(1024)})
    mixed = blend([(a, 0.7), (b, -0.3)], "both")
    expected = 0.7 * a.vectors[L] / a.vectors[L].norm() - 0.3 * b.vectors[L] / b.vectors[L].norm()
    assert list(mixed.vectors) == [L]
    torch.testing.assert_close(mixed.vectors[L], expected)
    assert (mixed.name, mixed.images, mixed.notes) == ("both", 24, "blend of a × 0.7, b × -0.3")


def test_blends_without_a_direction_are_errors():
    a = example(name="a")
    with pytest.raises(AestheticError, match="no CLIP family in common"):
        blend([(a, 1), (example(vectors={H: vector(1024)}), 1)])
    with pytest.raises(AestheticError, match="cancels"):
        blend([(a, 1), (a, -1)])
    with pytest.raises(AestheticError, match="at least one"):
        blend([])
    for weight in (float("nan"), float("inf")):
        with pytest.raises(AestheticError):
            blend([(a, weight)])


def test_the_file_format_stays_readable(tmp_path):
    """Bytes of a file as version 1 writes it, put together by hand: whoever changes the format sees it here."""
    header = {
        "__metadata__": {"format": "aesthetic-embedding", "version": "1", "name": "dark", "images": "12"},
        "clip-8x2-2": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    path = tmp_path / "x.safetensors"
    path.write_bytes(framed(json.dumps(header), bytes.fromhex("0000803f000000bf")))
    read = load(path)
    assert (read.name, read.images, read.vectors["clip-8x2-2"].tolist()) == ("dark", 12, [1.0, -0.5])
    assert embedding.SUFFIXES == (".safetensors", ".pt", ".bin")
