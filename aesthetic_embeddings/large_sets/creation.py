"""Sets of any size in, an aesthetic embedding out: `e = mean_i CLIP_vis(x_i)` (arXiv 2209.12330, section 3)."""

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
from ..errors import AestheticError
from .checkpoint import Checkpoint
from .engines import Engine, local
from .sources import parts_of
from .worker import Job, Result, Task, Worker


@dataclass(frozen=True)
class LargeCreation:
    """An embedding, and what is known of the set that it was made from.

    Attributes:
        embedding: The embedding.
        similarity_to_mean: The mean cosine of a picture with the mean: how alike the pictures are.
        similarity_of_pairs: The mean cosine of two different pictures.
        skipped: What could not be read: by reason, with the first examples.
        resumed: How many parts were done before, by a job that was ended.
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
    """Make an aesthetic embedding from any number of pictures. Memory does not grow with their number.

    Args:
        sources: Paths and addresses (s3://, gs://, hf://, ...; `*` is allowed): folders and files of pictures, tar
            shards, zip archives, Parquet and Arrow files, lists of paths or addresses (.txt, .jsonl), and features
            that were computed before (.npy). docs/large-sets.md says what each may hold.
        encoder: As of `aesthetics.creation.create`. On a cluster each node needs it, under this name.
        name: The name of the embedding.
        against: Sources of ordinary pictures, which the aesthetic is to be told apart from.
        where: A filter on the metadata of `sources`, in SQL: `AESTHETIC_SCORE > 7 AND width >= 512`.
        against_where: A filter for the other side, in the same pass: `AESTHETIC_SCORE <= 7`.
        engine: Who does the work: `engines.local`, or an `engines.Ray`.
        resume: Whether to go on where the same job was ended. Nothing is counted twice, and nothing is left out.
        batch_size: How many pictures are encoded at once; halved when memory runs out.
        device: Where the encoder runs.
        allow_pickle: Whether weights in pytorch_model.bin are loaded. They can run code.
        on_progress: Called with the number of pictures done and of all (0 where that is unknown). To stop, raise
            `Interrupted` from it.

    Returns:
        The embedding, and what is known of the set.

    Raises:
        AestheticError: No picture is left, a filter cannot be used, or something has to be installed.
        FileError: A source does not exist.
        EncoderError: The encoder is none, or is not on this machine.
    """
    if batch_size < 1:
        raise AestheticError(f"batch_size should be at least 1, not {batch_size}.")
    job = Job(encoder, where, against_where, batch_size, device, allow_pickle)
    tasks = [Task(part) for part in parts_of(list(map(str, sources)))]
    tasks += [Task(part, against=True) for part in parts_of(list(map(str, against)))]
    done, resumed = _all_done(job, tasks, engine, resume, on_progress)
    about: dict[str, Any] = {"name": name}
    for sums, places in ((done.of, sources), (done.against, against)):
        if not sums.count and (sums is done.of or against or against_where):
            raise AestheticError(_nothing(sums, places, where))
    family = done.family or _family_of_features(done.of, encoder)
    about |= {"encoder": done.name, "clips": done.clips} if done.family else {"notes": "of features computed before"}
    embedding = embedding_of(done.of, family, {"encoder": "", **about})
    if done.against.count:
        embedding = replace(embedding, against={family: done.against.mean})
    skipped = done.of.skipped + done.against.skipped
    return LargeCreation(embedding, done.of.similarity_to_mean, done.of.similarity_of_pairs, skipped, resumed)


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
    """Make an aesthetic with a vector from each encoder, and save it as `name`.

    if_exists: what to do where there is one of that name, of IF_EXISTS. options: see `create`.

    Returns what each encoder made, and the new file. Nothing is begun where the name cannot be used.
    """
    if if_exists not in IF_EXISTS:
        raise AestheticError(f"if_exists should be one of {', '.join(IF_EXISTS)}, not {if_exists!r}.")
    before = [library.get(name)] if if_exists == "add" else []
    library.check_free(name) if if_exists == "refuse" else check_name(name)
    made = []
    for encoder in encoders:
        report = functools.partial(on_progress, name_of(encoder)) if on_progress else None
        made.append(create(sources, encoder, name, on_progress=report, **options))
    embedding = merge([*before, *(each.embedding for each in made)], name)
    return tuple(made), library.save(embedding, overwrite=if_exists != "refuse")


def _all_done(
    job: Job,
    tasks: Sequence[Task],
    engine: Engine,
    resume: bool,
    on_progress: Callable[[int, int], object] | None,
) -> tuple[Result, int]:
    """The sum of the results of all parts, and how many of them were done before."""
    checkpoint = Checkpoint(job, tasks)
    resumed = sum(checkpoint.done) if resume and checkpoint.read() else 0
    left = [number for number, is_done in enumerate(checkpoint.done) if not is_done]
    total = sum(task.part.count for task in tasks) if all(task.part.count for task in tasks) else 0
    seen = _read(checkpoint.result)

    def advance(count: int) -> None:
        nonlocal seen
        seen += count
        if on_progress:
            on_progress(seen, total)

    is_local = engine is local
    make = functools.partial(Worker, job, advance if is_local else None)
    try:
        for number, result in engine(make, [tasks[number] for number in left]):
            checkpoint.add(left[number], result)
            if not is_local:
                advance(_read(result))
    except BaseException:
        if any(checkpoint.done):
            with suppress(AestheticError):
                checkpoint.write()
        raise
    checkpoint.remove()
    return checkpoint.result, resumed


def _read(result: Result) -> int:
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


def _nothing(sums: Sums, places: Sequence[str | Path], where: str) -> str:
    if where and not sums.skipped.count:
        return "There are no pictures that the filter lets pass."
    return no_pictures(", ".join(map(str, places)), sums.skipped.examples[:1], sums.skipped.count)
