"""Engines that do a job's many items: in this process, in several, or with Ray."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from .errors import AestheticError, require

Item = TypeVar("Item")
Output = TypeVar("Output")

#: Shared memory of a Ray that we start ourselves. The sums need little.
_OBJECT_STORE_BYTES = 300 * 2**20


class Engine(Protocol):
    def __call__(
        self, make_worker: Callable[[], Callable[[Item], Output]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Output]]:
        """Yield `(index of an item, a worker's output for it)`, each item once, in any order."""


def local(make_worker: Callable[[], Callable[[Item], Output]], items: Sequence[Item]) -> Iterator[tuple[int, Output]]:
    """Process the items one after the other, in this process."""
    work = make_worker()
    for number, item in enumerate(items):
        yield number, work(item)


@dataclass(frozen=True)
class Processes:
    """Processes the items in `count` processes of this machine, on one CPU core each. They take turns on its GPUs."""

    count: int

    def __call__(
        self, make_worker: Callable[[], Callable[[Item], Output]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Output]]:
        context = multiprocessing.get_context("spawn")
        started = context.Value("i", 0)
        arguments = (make_worker, started, list(warnings.filters))
        with concurrent.futures.ProcessPoolExecutor(self.count, context, _start_process, arguments) as pool:
            numbers = {pool.submit(_do_in_process, item): number for number, item in enumerate(items)}
            try:
                for future in concurrent.futures.as_completed(numbers):
                    yield numbers[future], future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


_worker_of_process: Callable[[Any], Any]


def _start_process(make_worker: Callable[[], Callable[[Any], Any]], started: Any, filters: Sequence[Any]) -> None:
    """Set up a process of `Processes`: one CPU thread, the next GPU if there are several, its parent's warnings."""
    global _worker_of_process
    warnings.filters[:] = filters  # type: ignore[index]
    torch.set_num_threads(1)
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if gpus := torch.cuda.device_count():
        torch.cuda.set_device(number % gpus)
    _worker_of_process = make_worker()


def _do_in_process(item: Any) -> Any:
    return _worker_of_process(item)


@dataclass(frozen=True)
class Ray:
    """Processes the items with Ray Data, on this machine or on a cluster.

    Ray starts the workers, distributes the items, and repeats those of a lost worker or node elsewhere.

    Attributes:
        address: The address of a cluster. `auto`: the one that this machine belongs to. None: this machine alone.
        gpus: The number of GPUs to use; 0 for CPUs only.
        per_gpu: The number of workers that share a GPU. Each decodes pictures on its own CPU.
    """

    address: str | None = None
    gpus: int = 0
    per_gpu: int = 4

    def __call__(
        self, make_worker: Callable[[], Callable[[Item], Output]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Output]]:
        """See `Engine`. Raises AestheticError if there is no such cluster, or if a worker raises one."""
        if not items:
            return
        ray = require("ray.data", "cluster") and require("ray", "cluster")
        with _ray_session(ray, self.address):
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = context.print_on_execution_start = False
            rows = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
            results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _Actor,
                fn_constructor_args=(make_worker,),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self._workers(ray, len(items))),
                num_cpus=1,
                num_gpus=1 / self.per_gpu if self.gpus else None,
            )
            for row in results.iter_rows():
                result = pickle.loads(row["result"])
                if isinstance(result, AestheticError):
                    raise result
                yield row["number"], result

    def _workers(self, ray: Any, limit: int) -> int:
        return min(limit, self.gpus * self.per_gpu or int(ray.cluster_resources().get("CPU", 1)))


class _Actor:
    """A worker in one of Ray's processes."""

    def __init__(self, make_worker: Callable[[], Callable[[Any], Any]]) -> None:
        self._work = make_worker()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            result = self._work(pickle.loads(row["item"]))
        except AestheticError as error:  # returned as a result, since Ray would wrap it
            result = error
        return {"number": row["number"], "result": pickle.dumps(result)}


@contextlib.contextmanager
def _ray_session(ray: Any, address: str | None) -> Iterator[None]:
    """A context that is connected to a cluster, or to a Ray that it starts on this machine and stops at the end."""
    if ray.is_initialized():
        yield
        return
    local_options = (
        {}
        if address
        else {"num_cpus": os.cpu_count(), "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    )
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **local_options)
    except ConnectionError as error:
        raise AestheticError(f"There is no Ray cluster at {address}: {error}. Start one: ray start --head") from error
    try:
        yield
    finally:
        ray.shutdown()
