"""Each source gives the mean that `aesthetics.creation` gives of the same pictures in a folder."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from aesthetic_embeddings.aesthetics import creation
from aesthetic_embeddings.aesthetics.sums import Skipped, Sums
from aesthetic_embeddings.errors import AestheticError, FileError, Interrupted
from aesthetic_embeddings.large_sets import files, parts, sources
from aesthetic_embeddings.large_sets.creation import create

from ..attack.measure import cost
from .conftest import COUNT, known, picture, write_tar, write_zip

FAMILY = "clip-32x2-24"
FILTER = "AESTHETIC_SCORE > 7 AND width >= 1280"  # pictures 32 to 39


@pytest.fixture
def expected(encoder, folder):
    return creation.create_with_report(folder, encoder)


def check(made, expected):
    vector, count = made.embedding.vectors[FAMILY], len(expected.files)
    assert made.embedding.images == count
    torch.testing.assert_close(vector, expected.embedding.vectors[FAMILY], rtol=1e-6, atol=1e-6)
    assert made.similarity_to_mean == pytest.approx(float(expected.similarities.mean()), abs=1e-6)
    x = torch.nn.functional.normalize(expected.features.double(), dim=1)
    pairs = (float((x @ x.T).sum()) - count) / (count * (count - 1))
    assert made.similarity_of_pairs == pytest.approx(pairs, abs=1e-6)


# ---- sums ----


def test_sums_do_not_depend_on_order_and_grouping():
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    whole = Sums.of(features)
    for sizes in ([1] * 50, [20, 30], [0, 49, 1]):
        grouped = sum(reversed([Sums.of(x) for x in features.split(sizes)]), Sums())
        assert grouped.count == 50
        torch.testing.assert_close(grouped.mean, whole.mean, rtol=0, atol=1e-12)
        assert grouped.similarity_of_pairs == pytest.approx(whole.similarity_of_pairs, abs=1e-12)
    with pytest.raises(AestheticError, match="different CLIPs"):
        whole + Sums.of(torch.ones(1, 7))


def test_skipped_files_are_counted_and_listed_up_to_a_limit():
    one_by_one = [Skipped.one(f"{i:04}.png", f"{'cut' if i % 3 else 'odd'}: {i}") for i in range(1000)]
    forward, backward = sum(one_by_one, Skipped()), sum(reversed(one_by_one), Skipped())
    assert forward == backward
    assert (forward.count, forward.reasons) == (1000, {"cut": 666, "odd": 334})
    assert [file for file, _ in forward.examples] == [f"{i:04}.png" for i in range(100)]
    many = sum((Skipped.one("a", f"reason {i}") for i in range(200)), Skipped())
    assert many.count == 200
    assert len(many.reasons) <= 52


# ---- sources ----


def test_a_folder_and_files(encoder, folder, expected):
    check(create([folder], encoder), expected)
    check(create([folder / "000*.png"], encoder), expected)
    check(create(sorted(folder.glob("*.png")), encoder), expected)


def test_tar_shards(encoder, tars, expected):
    check(create([tars], encoder), expected)
    check(create([tars / "*.tar"], encoder), expected)


def test_shards_that_webdataset_wrote(encoder, tmp_path, expected):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "%04d.tar"), maxcount=15, verbose=0) as writer:
        for i in range(COUNT):
            writer.write({"__key__": f"{i:05}", "png": picture(i), "json": known(i)})
    check(create([tmp_path / "*.tar"], encoder), expected)


def test_a_zip_archive(encoder, tmp_path, expected, monkeypatch):
    monkeypatch.setattr("aesthetic_embeddings.large_sets.archives.PART_SIZE", 13)
    path = write_zip(tmp_path / "all.zip")
    assert len(list(sources.parts_of([str(path)]))) > 5
    check(create([path], encoder), expected)


def table(**columns):
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.table({**columns, "score": [known(i)["AESTHETIC_SCORE"] for i in range(COUNT)]})


def test_parquet_with_the_bytes_of_pictures(encoder, tmp_path, expected, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("aesthetic_embeddings.large_sets.tables.PART_SIZE", 13)
    data = [picture(i) for i in range(COUNT)]
    pq.write_table(table(jpg=data, thumbnail=data), tmp_path / "a.parquet", row_group_size=7)
    pq.write_table(table(image=[{"bytes": x, "path": None} for x in data]), tmp_path / "b.parquet")  # of `datasets`
    for name in ("a", "b"):
        check(create([tmp_path / f"{name}.parquet"], encoder), expected)
    assert len(list(sources.parts_of([str(tmp_path / "a.parquet")]))) == 3


def test_arrow_files_and_streams(encoder, tmp_path, expected):
    pyarrow = pytest.importorskip("pyarrow")
    data = table(image=[picture(i) for i in range(COUNT)])
    with pyarrow.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, data.schema) as writer:
        writer.write_table(data, max_chunksize=9)
    with pyarrow.OSFile(str(tmp_path / "b.feather"), "wb") as file, pyarrow.ipc.new_file(file, data.schema) as writer:
        writer.write_table(data, max_chunksize=9)
    for name in ("a.arrow", "b.feather"):
        check(create([tmp_path / name], encoder), expected)


def test_lists_of_paths(encoder, folder, tmp_path, expected, monkeypatch):
    monkeypatch.setattr(files, "_PART_BYTES", 100)
    names = [f"pictures/{i:05}.png" for i in range(COUNT)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps({"path": name, "x": i}) for i, name in enumerate(names)))
    for name in ("list.txt", "list.jsonl"):
        assert len(list(sources.parts_of([str(tmp_path / name)]))) > 5
        check(create([tmp_path / name], encoder), expected)
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(table(url=[str(folder / f"{i:05}.png") for i in range(COUNT)]), tmp_path / "list.parquet")
    check(create([tmp_path / "list.parquet"], encoder), expected)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 1000])
def test_each_line_of_a_list_is_in_one_part(tmp_path, monkeypatch, size):
    monkeypatch.setattr(files, "_PART_BYTES", size)
    lines = ["/a.png", "/bc.png", "", "/d/ä.png", "/e.png"]
    for end in ("", "\n"):
        (tmp_path / "list.txt").write_text("\n".join(lines) + end)
        read = [row.label for part in sources.parts_of([str(tmp_path / "list.txt")]) for row in part.rows(None)]
        assert read == [line for line in lines if line]


def test_addresses(encoder, folder, tars, expected):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for path in (*folder.iterdir(), *tars.iterdir()):
        memory.pipe(f"/{path.parent.name}/{path.name}", path.read_bytes())
    memory.pipe("/list.txt", b"\n".join(b"memory://pictures/%05d.png" % i for i in range(COUNT)))
    for place in ("memory://pictures", "memory://shards", "memory://shards/*.tar", "memory://list.txt"):
        check(create([place], encoder), expected)


def write_features(path, features, dtype=np.float32):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, features.numpy().astype(dtype))


def test_features_that_were_computed_before(encoder, tmp_path, expected, monkeypatch):
    monkeypatch.setattr("aesthetic_embeddings.large_sets.features._PART_ROWS", 7)
    monkeypatch.setattr("aesthetic_embeddings.large_sets.features._BLOCK_ROWS", 3)
    write_features(tmp_path / "out" / "img_emb" / "img_emb_0.npy", expected.features[:25])
    write_features(tmp_path / "out" / "img_emb" / "img_emb_1.npy", expected.features[25:])
    write_features(tmp_path / "out" / "text_emb" / "text_emb_0.npy", torch.ones(25, 24))
    made = create([tmp_path / "out"], encoder)
    check(made, expected)
    assert (made.embedding.encoder, made.embedding.notes) == ("", "of features computed before")
    write_features(tmp_path / "half.npy", torch.randn(30, 768), np.float16)
    assert list(create([tmp_path / "half.npy"], "not needed").embedding.vectors) == ["clip-vit-l-14"]
    write_features(tmp_path / "odd.npy", torch.ones(3, 25))
    with pytest.raises(AestheticError, match="25 numbers do not say which CLIP"):
        create([tmp_path / "odd.npy"], encoder)


def test_features_that_are_zero_or_not_finite_are_skipped(encoder, tmp_path, expected):
    bad = torch.stack([torch.zeros(24), torch.full((24,), float("nan"))])
    write_features(tmp_path / "all.npy", torch.cat([expected.features, bad]))
    made = create([tmp_path / "all.npy"], encoder)
    check(made, expected)
    assert made.skipped.reasons == {"a feature that is zero or not finite": 2}


# ---- filters ----


@pytest.fixture
def filtered(encoder, folder):
    pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    return [
        creation.create_with_report([folder / f"{i:05}.png" for i in numbers], encoder)
        for numbers in (range(32, COUNT), range(32))
    ]


def test_a_filter_on_metadata_and_its_other_side(encoder, folder, tars, tmp_path, filtered, expected):
    pq = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    columns = {name: [known(i)[name] for i in range(COUNT)] for name in known(0)}
    pq.write_table(pyarrow.table({**columns, "jpg": [picture(i) for i in range(COUNT)]}), tmp_path / "a.parquet")
    (tmp_path / "list.jsonl").write_text(
        "\n".join(json.dumps({"path": f"pictures/{i:05}.png", **known(i)}) for i in range(COUNT))
    )
    write_features(tmp_path / "features" / "img_emb_0.npy", expected.features[:25])
    write_features(tmp_path / "features" / "img_emb_1.npy", expected.features[25:])
    for i, (start, stop) in enumerate(((0, 25), (25, COUNT))):
        pq.write_table(pyarrow.table(columns)[start:stop], tmp_path / "features" / f"metadata_{i}.parquet")
    zipped = write_zip(tmp_path / "all.zip")
    for source in (folder, tars, zipped, tmp_path / "a.parquet", tmp_path / "list.jsonl", tmp_path / "features"):
        made = create([source], encoder, where=FILTER, against_where=f"NOT ({FILTER})")
        check(made, filtered[0])
        torch.testing.assert_close(made.embedding.against, filtered[1].embedding.vectors, rtol=1e-6, atol=1e-6)


def test_filters_that_cannot_be_used(encoder, folder, filtered):
    for where, said in (
        ("AESTHETIC > 7", "AESTHETIC.*metadata has: "),
        ("width >", "syntax error"),
        ("true; DROP TABLE x", "more than one expression|syntax error"),
        ("true) FROM pictures WHERE (false", "more than one expression|syntax error"),
        (f"width > (SELECT count(*) FROM read_text('{os.__file__}'))", "disabled|Permission|external"),
        ("width > 1000000", "[Nn]o picture passes the filter"),
    ):
        with pytest.raises(AestheticError, match=said):
            create([folder], encoder, where=where)


def test_rows_without_the_value_do_not_pass(encoder, folder, filtered):
    (folder / "00033.json").write_text("{}")
    (folder / "00034.json").write_text('{"AESTHETIC_SCORE": "high", "width": null}')
    (folder / "00035.json").unlink()
    assert create([folder], encoder, where="width >= 1280").embedding.images == 5


# ---- what cannot be read ----


def test_damaged_files_are_counted_and_the_rest_is_read(encoder, folder, tars, tmp_path, expected):
    whole = (tars / "00002.tar").read_bytes()
    (tars / "00002.tar").write_bytes(whole[: len(whole) // 2])
    (tars / "00009.tar").write_bytes(b"no tar")
    write_tar(tars / "00010.tar", range(2))
    (folder / "cut.png").write_bytes(picture(1)[:100])
    (tmp_path / "a.zip").write_bytes(b"no zip")
    (tmp_path / "a.npy").write_bytes(b"no array")
    made = create([tars, folder, tmp_path / "a.zip", tmp_path / "a.npy"], encoder)
    assert set(made.skipped.reasons) == {"a file that is damaged or cannot be read", "damaged or cut short"}
    assert made.skipped.count == 5
    assert {os.path.basename(file) for file, _ in made.skipped.examples} == {
        *("00002.tar", "00009.tar", "cut.png", "a.zip", "a.npy")
    }
    assert made.embedding.images > 30 + 40 + 2


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tar_header_that_unpacks_to_any_size_is_not_read(encoder, tars, kind):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 64 * 2**20
    with gzip.open(tars / "00004.tar", "wb") as file:
        file.write(header.tobuf() + bytes(header.size + 1024))
    create([tars / "00000.tar"], encoder)  # what is loaded once is not counted
    with cost() as found:
        made = create([tars], encoder)
    assert made.embedding.images == 40
    assert [file for file, _ in made.skipped.examples] == [str(tars / "00004.tar")]
    assert "a header is larger than it should be" in next(iter(dict(made.skipped.examples).values()))
    assert found.bytes < 64 * 2**20


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "[]," * 2**21 + '"AESTHETIC_SCORE"]'])
def test_metadata_of_any_kind_is_no_metadata_at_worst(encoder, folder, tmp_path, text):
    (folder / "00032.json").write_text(text)  # the first that passes the filter
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    create([folder / "00038.png"], encoder, where=FILTER)  # what is loaded once is not counted
    for source in (folder, tmp_path / "a.zip"):
        with cost() as found:
            assert create([source], encoder, where=FILTER).embedding.images == 7
        assert found.bytes < 100_000_000


def test_parquet_rows_are_not_held_together(encoder, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name, numbers in {"small": [0], "large": [0] + [1] * 60}.items():
        column = pa.DictionaryArray.from_arrays(numbers, [picture(0), bytes(8 * 2**20)])  # in the file only once
        pq.write_table(
            pa.table({"image": column}), tmp_path / f"{name}.parquet", compression="zstd", store_schema=False
        )
    create([tmp_path / "small.parquet"], encoder)  # what is loaded once is not counted
    with cost() as found:
        made = create([tmp_path / "large.parquet"], encoder)
    assert (made.embedding.images, made.skipped.count) == (1, 60)
    assert found.bytes < 200_000_000


def test_sources_without_pictures(encoder, tmp_path):
    with pytest.raises(FileError, match="gone does not exist"):
        create([tmp_path / "gone"], encoder)
    with pytest.raises(AestheticError, match=f"There are no pictures in {tmp_path}"):
        create([tmp_path], encoder)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(AestheticError, match=r"None of the pictures could be read, 1 in all.*a\.png: empty"):
        create([tmp_path], encoder)


# ---- going on ----


def test_an_interrupted_job_continues(encoder, tars, folder, expected):
    def stop(done, total):
        if done > 20:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        create([tars], encoder, on_progress=stop, batch_size=2)
    seen = []
    made = create([tars], encoder, resume=True, on_progress=lambda done, total: seen.append(done))
    assert made.resumed == 2
    assert seen[0] > 20
    assert seen[-1] == COUNT
    check(made, expected)
    assert create([tars], encoder, resume=True).resumed == 0  # it was finished, and its file is gone


def test_another_job_does_not_continue_it(encoder, tars, folder):
    def stop(done, total):
        if done > 20:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        create([tars], encoder, on_progress=stop)
    write_tar(tars / "00011.tar", range(2))
    made = create([tars], encoder, resume=True)
    assert (made.resumed, made.embedding.images) == (0, 42)


def test_parts_are_small_and_can_be_pickled(folder, monkeypatch):
    import pickle

    monkeypatch.setattr(parts, "PART_SIZE", 16)
    cut = list(sources.parts_of([str(folder)]))
    assert pickle.loads(pickle.dumps(cut)) == cut
