"""Real Ray: the result is that of one process, whoever is killed while it is made."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.engines import Ray, local
from aesthetic_embeddings.errors import AestheticError
from aesthetic_embeddings.large_sets.creation import create
from aesthetic_embeddings.large_sets.sources import parts_of
from aesthetic_embeddings.large_sets.worker import Job, Result, Task, Worker

from .conftest import COUNT, write_tar

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own
FAMILY = "clip-32x2-24"
MEMORY = 100 * 2**20
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes do not know this module


@pytest.fixture(scope="module")
def one_node():
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=MEMORY, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def shards(tmp_path) -> Path:
    path = tmp_path / "many"
    path.mkdir()
    for i in range(COUNT // 5):
        write_tar(path / f"{i:05}.tar", range(5 * i, 5 * i + 5))
    return path


def same(made, expected) -> None:
    assert made.embedding.images == expected.embedding.images
    torch.testing.assert_close(made.embedding.vectors, expected.embedding.vectors, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(made.embedding.against, expected.embedding.against, rtol=1e-6, atol=1e-6)
    assert made.similarity_to_mean == pytest.approx(expected.similarity_to_mean, abs=1e-6)
    assert made.similarity_of_pairs == pytest.approx(expected.similarity_of_pairs, abs=1e-6)
    assert made.skipped == expected.skipped


def test_the_result_is_that_of_one_process(one_node, encoder, folder, tars, shards):
    (folder / "cut.png").write_bytes(b"\x89PNG")
    (shards / "00003.tar").write_bytes(b"no tar")
    progress = []
    options = {"where": "AESTHETIC_SCORE > 3", "against_where": "AESTHETIC_SCORE <= 3", "against": [folder]}
    made = create([shards, tars], encoder, engine=Ray(), on_progress=lambda *done: progress.append(done), **options)
    same(made, create([shards, tars], encoder, **options))
    assert progress[-1] == (2 * COUNT - 5 + 1 + COUNT + 1, 0)


def test_an_evaluation_has_the_same_bytes(one_node, tmp_path):
    pytest.importorskip("diffusers")
    e = ae.create(sorted(pocket.SAMPLES.iterdir())[0], str(pocket.MODEL), name="mine")
    experiment = ae.Experiment("pocket", [e], prompts=["a castle in a meadow"], images=2, sampler_steps=2)
    for name, engine in (("one", None), ("ray", Ray())):
        ae.evaluate(experiment, tmp_path / name, encoder="pocket", engine=engine)
    found = [{f.relative_to(g): f.read_bytes() for f in g.rglob("*.*")} for g in (tmp_path / "one", tmp_path / "ray")]
    assert len(found[0]) == 6 + 4
    assert found[0] == found[1]
    with pytest.raises(AestheticError, match="nobody/nothing"):
        ae.evaluate(experiment, tmp_path / "no", encoder="nobody/nothing", engine=Ray())


def test_a_workers_error_arrives_as_it_is(one_node, shards, encoder):
    with pytest.raises(AestheticError, match="metadata has"):
        create([shards], encoder, where="x > 1", engine=Ray())


class Mortal(Worker):
    """A worker that is killed once on each of some parts, in the middle of it."""

    def __init__(self, job: Job, marks: Path, deadly: set[str]) -> None:
        super().__init__(job, self._die)
        self._marks, self._deadly, self._part = marks, deadly, ""

    def __call__(self, task: Task) -> Result:
        self._part = Path(task.part.location).name
        time.sleep(0.2)
        return super().__call__(task)

    def _die(self, count: int) -> None:
        mark = self._marks / self._part
        if self._part in self._deadly and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def total(engine, make, tasks) -> Result:
    results = dict(engine(make, tasks))
    assert sorted(results) == list(range(len(tasks)))
    return sum(results.values(), Result())


def equal(a: Result, b: Result) -> None:
    assert a.of.count == b.of.count == COUNT
    torch.testing.assert_close(a.of.mean, b.of.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(a.of.units, b.of.units, rtol=0, atol=1e-5)


def test_killed_workers_lose_and_repeat_nothing(one_node, encoder, shards, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    job = Job(encoder, batch_size=2)
    tasks = [Task(part) for part in parts_of([str(shards)])]
    deadly = {"00001.tar", "00004.tar", "00006.tar"}
    equal(total(Ray(), functools.partial(Mortal, job, marks, deadly), tasks), total(local, lambda: Worker(job), tasks))
    assert {mark.name for mark in marks.iterdir()} == deadly


DRIVER = """
import sys
from aesthetic_embeddings.large_sets import checkpoint
from aesthetic_embeddings.large_sets.creation import create
from aesthetic_embeddings.engines import Ray
checkpoint._WRITE_INTERVAL = 0
def told(done, total):
    print(done, flush=True)
create([sys.argv[1]], sys.argv[2], engine=Ray(sys.argv[3]), on_progress=told)
"""


def test_a_killed_driver_goes_on_where_it_was(one_node, encoder, shards):
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", DRIVER, str(shards), encoder, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        for line in driver.stdout:
            if int(line) >= 15:
                break
        driver.kill()
    made = create([shards], encoder, engine=Ray(), resume=True)
    assert made.resumed >= 2
    same(made, create([shards], encoder))


def test_a_node_that_is_gone(encoder, shards, tmp_path):
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    ray.shutdown()
    node = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
    second = cluster.add_node(**{k: v for k, v in node.items() if k != "include_dashboard"})
    try:
        ray.init(cluster.address, log_to_driver=False)
        marks = tmp_path / "marks"
        marks.mkdir()
        job = Job(encoder, batch_size=2)
        tasks = [Task(part) for part in parts_of([str(shards)])]
        results, seen = Result(), 0
        for _, result in Ray()(functools.partial(Mortal, job, marks, set()), tasks):
            results, seen = results + result, seen + 1
            if seen == 2:
                cluster.remove_node(second, allow_graceful=False)
        assert seen == len(tasks)
        equal(results, total(local, lambda: Worker(job), tasks))
    finally:
        ray.shutdown()
        cluster.shutdown()
