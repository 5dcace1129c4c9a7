"""Creates an aesthetic embedding from a set of any size: `e = mean_i CLIP_vis(x_i)` (arXiv 2209.12330, section 3)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..aesthetics import families
from ..aesthetics.creation import IF_EXISTS, embedding_of, no_pictures
from ..aesthetics.embedding import AestheticEmbedding, merge
from ..aesthetics.image_encoder import Encoder, load_image_encoder, name_of
from ..aesthetics.library import Library
from ..aesthetics.names import check_name
from ..aesthetics.sums import Skipped, Sums
from ..engines import Engine, local
from ..errors import AestheticError
from .checkpoint import Checkpoint
from .sources import parts_of
from .worker import Job, Result, Task, Worker


@dataclass(frozen=True)
class LargeCreation:
    """An embedding, and statistics of its pictures.

    Attributes:
        embedding: The embedding.
        similarity_to_mean: The mean cosine of the pictures with their mean. It says how alike they are.
        similarity_of_pairs: The mean cosine of two different pictures.
        skipped: Files that could not be read: counts by reason, and the first examples.
        resumed: The number of parts that an earlier run of the job had finished.
    """

    embedding: AestheticEmbedding
    similarity_to_mean: float
    similarity_of_pairs: float
    skipped: Skipped
    resumed: int = 0


def create(
    sources: Sequence[str | Path],
    encoder: Encoder,
    name: str = "",
    *,
    against: Sequence[str | Path] = (),
    where: str = "",
    against_where: str = "",
    engine: Engine = local,
    resume: bool = False,
    batch_size: int = 8,
    device: str = "cpu",
    allow_pickle: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> LargeCreation:
    """Create an aesthetic embedding from any number of pictures. The memory needed does not grow with their number.

    Args:
        sources: Paths and addresses (s3://, gs://, hf://, ...; `*` is allowed): folders and files of pictures, tar
            shards, zip archives, Parquet and Arrow files, lists of paths or addresses (.txt, .jsonl), and features
            computed before (.npy). docs/large-sets.md describes each.
        encoder: As for `aesthetics.creation.create`. On a cluster each node needs it, under this name.
        name: The name of the embedding.
        against: Sources of ordinary pictures to tell the aesthetic apart from.
        where: A filter on the metadata of `sources`, in SQL: `AESTHETIC_SCORE > 7 AND width >= 512`.
        against_where: A filter that selects pictures of `sources` to tell it apart from, in the same pass:
            `AESTHETIC_SCORE <= 7`.
        engine: The engine that runs the job: `engines.local`, or an `engines.Ray`.
        resume: Whether to continue an interrupted run of the same job. No picture is counted twice or left out.
        batch_size: The number of pictures encoded at once; halved when memory runs out.
        device: The device that the encoder runs on.
        allow_pickle: Whether weights in pytorch_model.bin may be loaded. They can run code.
        on_progress: Called with the number of pictures done and their total (0 if unknown). To stop, raise
            `Interrupted` from it.

    Returns:
        The embedding, and statistics of its pictures.

    Raises:
        AestheticError: No picture is left, a filter cannot be used, or a package is not installed.
        FileError: A source does not exist.
        EncoderError: It is not a CLIP encoder, or it is not on this machine.
    """
    if batch_size < 1:
        raise AestheticError(f"batch_size should be at least 1, not {batch_size}.")
    job = Job(encoder, where, against_where, batch_size, device, allow_pickle)
    tasks = [Task(part) for part in parts_of(list(map(str, sources)))]
    tasks += [Task(part, against=True) for part in parts_of(list(map(str, against)))]
    result, resumed = _run_tasks(job, tasks, engine, resume, on_progress)
    metadata: dict[str, Any] = {"name": name}
    for sums, locations in ((result.of, sources), (result.against, against)):
        if not sums.count and (sums is result.of or against or against_where):
            raise AestheticError(_no_pictures_message(sums, locations, where))
    family = result.family or _family_of_features(result.of, encoder)
    metadata |= (
        {"encoder": result.name, "clips": result.clips} if result.family else {"notes": "of features computed before"}
    )
    embedding = embedding_of(result.of, family, {"encoder": "", **metadata})
    if result.against.count:
        embedding = replace(embedding, against={family: result.against.mean})
    skipped = result.of.skipped + result.against.skipped
    return LargeCreation(embedding, result.of.similarity_to_mean, result.of.similarity_of_pairs, skipped, resumed)


def create_in_library(
    library: Library,
    name: str,
    sources: Sequence[str | Path],
    encoders: Sequence[Encoder],
    on_progress: Callable[[str, int, int], object] | None = None,
    *,
    if_exists: str = "refuse",
    **options: Any,
) -> tuple[tuple[LargeCreation, ...], Path]:
    """Create an aesthetic with a vector from each encoder, and save it as `name`.

    if_exists: what to do if the name exists, one of IF_EXISTS. options: see `create`.

    Returns the result of each encoder, and the new file. The name is checked before any work.
    """
    if if_exists not in IF_EXISTS:
        raise AestheticError(f"if_exists should be one of {', '.join(IF_EXISTS)}, not {if_exists!r}.")
    existing = [library.get(name)] if if_exists == "add" else []
    library.check_free(name) if if_exists == "refuse" else check_name(name)
    creations = []
    for encoder in encoders:
        on_encoder_progress = functools.partial(on_progress, name_of(encoder)) if on_progress else None
        creations.append(create(sources, encoder, name, on_progress=on_encoder_progress, **options))
    embedding = merge([*existing, *(creation.embedding for creation in creations)], name)
    return tuple(creations), library.save(embedding, overwrite=if_exists != "refuse")


def _run_tasks(
    job: Job,
    tasks: Sequence[Task],
    engine: Engine,
    resume: bool,
    on_progress: Callable[[int, int], object] | None,
) -> tuple[Result, int]:
    """Run all tasks. Returns the sum of their results, and the number of parts that an earlier run had finished."""
    checkpoint = Checkpoint(job, tasks)
    resumed = sum(checkpoint.done) if resume and checkpoint.read() else 0
    remaining = [number for number, is_done in enumerate(checkpoint.done) if not is_done]
    total = sum(task.part.count for task in tasks) if all(task.part.count for task in tasks) else 0
    pictures_done = _pictures_read(checkpoint.result)

    def advance(count: int) -> None:
        nonlocal pictures_done
        pictures_done += count
        if on_progress:
            on_progress(pictures_done, total)

    is_local = engine is local
    make_worker = functools.partial(Worker, job, advance if is_local else None)
    try:
        for number, result in engine(make_worker, [tasks[number] for number in remaining]):
            checkpoint.add(remaining[number], result)
            if not is_local:
                advance(_pictures_read(result))
    except BaseException:
        if any(checkpoint.done):
            with suppress(AestheticError):
                checkpoint.write()
        raise
    checkpoint.remove()
    return checkpoint.result, resumed


def _pictures_read(result: Result) -> int:
    return sum(side.count + side.skipped.count for side in (result.of, result.against))


def _family_of_features(sums: Sums, encoder: Encoder) -> str:
    dim = len(sums.total)
    if known := families.family_of_dimension(dim):
        return known
    family = load_image_encoder(encoder, None, "cpu", 1, False).family
    if families.dimension(family) == dim:
        return family
    raise AestheticError(
        f"Features of {dim} numbers do not say which CLIP computed them. Name it as the encoder: its folder, or its id."
    )


def _no_pictures_message(sums: Sums, locations: Sequence[str | Path], where: str) -> str:
    if where and not sums.skipped.count:
        return "No picture passes the filter."
    return no_pictures(", ".join(map(str, locations)), sums.skipped.examples[:1], sums.skipped.count)
