"""Who does the work: this process, or Ray. An engine takes what makes a worker, and items; and gives results."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..errors import AestheticError
from .places import needed

Item = TypeVar("Item")
Made = TypeVar("Made")

_STORE = 300 * 2**20  # bytes of memory that a Ray of our own shares between its processes: sums need little


class Engine(Protocol):
    def __call__(self, make: Callable[[], Callable[[Item], Made]], items: Sequence[Item]) -> Iterator[tuple[int, Made]]:
        """(number of an item, what a worker made of it), each item once, in any order."""


def local(make: Callable[[], Callable[[Item], Made]], items: Sequence[Item]) -> Iterator[tuple[int, Made]]:
    """One after the other, in this process."""
    work = make()
    for number, item in enumerate(items):
        yield number, work(item)


@dataclass(frozen=True)
class Ray:
    """Ray Data: on this machine, or on the cluster that it belongs to.

    Ray starts the workers, hands out the items, and does those of a lost worker or node again elsewhere.

    Attributes:
        address: Of a cluster; `auto` for the one that this machine belongs to, None for this machine alone.
        gpus: How many GPUs are used; 0 for processors alone.
        per_gpu: How many workers share a GPU: each decodes pictures for it on a processor of its own.
    """

    address: str | None = None
    gpus: int = 0
    per_gpu: int = 4

    def __call__(self, make: Callable[[], Callable[[Item], Made]], items: Sequence[Item]) -> Iterator[tuple[int, Made]]:
        """Raises AestheticError where there is no such cluster, and what a worker raises of that kind."""
        if not items:
            return
        ray = needed("ray.data") and needed("ray")
        with _running(ray, self.address):
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = context.print_on_execution_start = False
            rows = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
            made = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _Actor,
                fn_constructor_args=(make,),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self._workers(ray, len(items))),
                num_cpus=1,
                num_gpus=1 / self.per_gpu if self.gpus else None,
            )
            for row in made.iter_rows():
                result = pickle.loads(row["made"])
                if isinstance(result, AestheticError):
                    raise result
                yield row["number"], result

    def _workers(self, ray: Any, most: int) -> int:
        return min(most, self.gpus * self.per_gpu or int(ray.cluster_resources().get("CPU", 1)))


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._work = make()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            made = self._work(pickle.loads(row["item"]))
        except AestheticError as error:  # handed back as a result, since Ray would wrap it
            made = error
        return {"number": row["number"], "made": pickle.dumps(made)}


@contextlib.contextmanager
def _running(ray: Any, address: str | None) -> Iterator[None]:
    """Connected to a cluster, or with one of our own on this machine; as it was afterwards."""
    if ray.is_initialized():
        yield
        return
    own = {} if address else {"num_cpus": os.cpu_count(), "include_dashboard": False, "object_store_memory": _STORE}
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except ConnectionError as error:
        raise AestheticError(f"There is no Ray cluster at {address}: {error}. Start one: ray start --head") from error
    try:
        yield
    finally:
        ray.shutdown()
