"""The benchmarks run, on a tower that is small enough to wait for."""

import sys
from dataclasses import replace

import pytest
import torch

import aesthetic_embeddings as ae
from aesthetic_embeddings.pocket import MODEL
from benchmarks import device, floor, growth, speed, where
from benchmarks.cases import Case, Result, run_in_fresh_process

SMALL = Case("adam", (3,), steps=2, width=64)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("loop", ["published", "ours"])
def test_a_case(loop):
    result = run_in_fresh_process(replace(SMALL, width=256), loop)
    assert result.seconds > 0
    assert result.megabytes > 0


def test_the_kernels_add_up_to_the_total():
    whole, found = where.seconds_of(SMALL)
    assert whole > 0
    assert {"Adam", "fresh memory", "host"} <= found.keys()


def test_the_floor_counts_what_grows():
    here = floor.Machine(bandwidth=1e9, rate=1e9)
    bytes_, operations = floor.lower_bound(SMALL, here)
    longer, twice = Case("adam", (6,), steps=2, width=64), Case("adam", (3,), steps=4, width=64)
    assert floor.lower_bound(longer, here)[0] == bytes_
    assert floor.lower_bound(longer, here)[1] > operations
    assert all(new > old for new, old in zip(floor.lower_bound(twice, here), (bytes_, operations), strict=True))


def test_long_prompts_are_cut_as_hosts_cut_them():
    assert [growth.chunks(n) for n in (4, 75, 150, 160)] == [(4,), (75,), (75, 75), (75, 75, 10)]


def test_the_plot(tmp_path):
    rows = [speed.Row(SMALL, [Result(2.0, 200.0)], [Result(1.0, 100.0)], 0.5)]
    assert "2.0x" in str(rows[0])
    speed.draw(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10000


def test_a_row_of_a_device():
    cells = device.row(SMALL, torch.device("cpu"), runs=1).split("|")
    assert len(cells) == 9
    assert all("ms" in cells[k] for k in (2, 3, 5, 6))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_run_over_large_sets(tmp_path, monkeypatch):
    large_sets = pytest.importorskip("benchmarks.large_sets")
    monkeypatch.setattr(large_sets, "PER_SHARD", 4)
    monkeypatch.setattr(large_sets, "ROWS_PER_FILE", 20)
    shards, features = tmp_path / "shards", tmp_path / "features"
    for folder in (shards, features):
        folder.mkdir()
    large_sets.write_shards(shards, 6)
    large_sets.write_features(features, 40)
    assert [file.name for file in sorted(shards.iterdir())] == ["00000.tar", "00001.tar"]
    made = large_sets.ours(shards, MODEL, tmp_path)
    assert ae.load(tmp_path / "mine.safetensors").images == 6
    assert made.seconds > 0
    assert made.megabytes > 0
    large_sets.ours(features, MODEL, tmp_path)
    assert ae.load(tmp_path / "mine.safetensors").images == 40
    with pytest.raises(SystemExit, match="nowhere does not exist"):
        large_sets.ours(tmp_path / "nowhere", MODEL, tmp_path)
    large_sets.draw([6], {"one process": [made], "Ray": [made]}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10000
