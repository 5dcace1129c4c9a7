"""Pictures in, an aesthetic embedding out: `e = mean_i CLIP_vis(x_i)` (arXiv 2209.12330, section 3)."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import AestheticError, EncoderError, out_of_memory
from ..torch_states import evaluating
from .embedding import AestheticEmbedding, merge, now
from .image_encoder import Encoder, ImageEncoder, load_image_encoder, name_of
from .library import Library
from .names import check_name
from .pictures import Picture, Source, listed, prefetched
from .sums import Sums

K = TypeVar("K")

#: What to do if the library has an aesthetic of that name. "add" adds the vector of another encoder.
IF_EXISTS = ("refuse", "replace", "add")

#: From how many pictures on a page should name the command that is made for them, and how it does.
MANY_PICTURES = 1000
FOR_MANY_PICTURES = (
    "For thousands of pictures there is the command line, in little memory and continued after a stop: "
    "aesthetic-gradients create NAME FOLDER (docs/large-sets.md)."
)

_FEWEST = 5  # pictures, for a median and quartiles to mean something
_CLEARLY = 0.1  # the least distance of an outlier from the median, in cosine


@dataclass(frozen=True)
class Creation:
    """An embedding, and what it was made from.

    Attributes:
        embedding: The embedding.
        files: The pictures that were read, in order. One without a file is called by its number ("picture 3").
        similarities: `[len(files)]`, the cosine of each picture with the mean.
        skipped: (file, reason) of each picture that could not be read.
        features: `[len(files), dim]`, the image features of each picture.
    """

    embedding: AestheticEmbedding
    files: tuple[str, ...]
    similarities: Tensor
    skipped: tuple[tuple[str, str], ...]
    features: Tensor

    def outliers(self) -> list[bool]:
        """For each of `files`, whether it is clearly unlike the others.

        An outlier's cosine with the mean lies below Tukey's fence, 1.5 interquartile ranges under the lower quartile,
        and at least 0.1 below the median: among near-identical pictures the fence alone would exclude some. Removing
        outliers moves the mean and the fence, so the rest is judged again until no outlier is left. Sets of fewer than
        five pictures have none.
        """
        features = self.features.double()
        kept = torch.arange(len(features))
        while len(kept) >= _FEWEST:
            x = torch.cosine_similarity(features[kept], features[kept].mean(0)[None])
            low, median, high = x.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=x.dtype)).tolist()
            alike = x >= min(low - 1.5 * (high - low), median - _CLEARLY)
            if bool(alike.all()):
                break
            kept = kept[alike]
        found = torch.ones(len(features), dtype=torch.bool)
        found[kept] = False
        return found.tolist()


def create(
    images: Source | Iterable[Source],
    encoder: Encoder,
    name: str = "",
    batch_size: int = 8,
    on_progress: Callable[[int, int], object] | None = None,
    *,
    against: Source | Iterable[Source] | None = None,
    processor: Any = None,
    device: torch.device | str = "cpu",
    allow_pickle: bool = False,
) -> AestheticEmbedding:
    """Make an aesthetic embedding from pictures: the mean of their raw projected image features, `[dim]`.

    The features are not normalized (arXiv 2209.12330, section 3). The mean is taken in fp64 and kept in fp32. Pictures
    that cannot be read are skipped; `create_with_report` lists them.

    Args:
        images: A folder with all its subfolders, a file, the bytes of one, a PIL image, or an iterable of these. Memory
            grows by 4 kB per picture, and an iterator is read only a little ahead. Besides the encoder it takes 1 GB at
            most; a picture that would take more is skipped.
        encoder: A folder or hub id in transformers format, which must be on this machine (nothing is downloaded), one
            of `encoders.ENCODERS`, or a loaded CLIPModel or CLIPVisionModelWithProjection, which is not changed.
        name: The name of the embedding.
        batch_size: How many pictures are encoded at once. Halved when memory runs out.
        on_progress: Called with the number of pictures done and the number of all (0 if unknown), and again for those
            in `against`. Raise `Interrupted` in it to stop; nothing has been written by then.
        against: Ordinary pictures to contrast with (see `Settings.contrast`). Their mean is kept beside that of
            `images`.
        processor: The image processor of a loaded model. By default the one in the model's folder, else CLIP's usual
            one for the model's image size.
        device: The device for an encoder that is not loaded yet.
        allow_pickle: Whether to load weights from pytorch_model.bin, which can run code.

    Returns:
        The embedding.

    Raises:
        AestheticError: No picture could be read.
        FileError: A path does not exist.
        EncoderError: The encoder is no CLIP with a vision tower, or is not on this machine.
    """
    made = create_with_report(
        images,
        encoder,
        name,
        batch_size,
        on_progress,
        against=against,
        processor=processor,
        device=device,
        allow_pickle=allow_pickle,
    )
    return made.embedding


def create_with_report(
    images: Source | Iterable[Source],
    encoder: Encoder,
    name: str = "",
    batch_size: int = 8,
    on_progress: Callable[[int, int], object] | None = None,
    *,
    against: Source | Iterable[Source] | None = None,
    processor: Any = None,
    device: torch.device | str = "cpu",
    allow_pickle: bool = False,
) -> Creation:
    """As `create`, but returns the embedding with the features of each picture, and the skipped ones."""
    if batch_size < 1:
        raise AestheticError(f"batch_size should be at least 1, not {batch_size}.")
    image_encoder = load_image_encoder(encoder, processor, device, batch_size, allow_pickle)
    made = _encoded(image_encoder, images, name, on_progress)
    if against is None:
        return made
    ordinary = _encoded(image_encoder, against, "", on_progress)
    embedding = replace(made.embedding, against=ordinary.embedding.vectors)
    return replace(made, embedding=embedding, skipped=made.skipped + ordinary.skipped)


def encoded(
    image_encoder: ImageEncoder, pictures: Iterator[tuple[K, Picture]], threads: int | None = None
) -> Generator[list[tuple[K, Tensor | str]], None, None]:
    """Yields batches, in order, of each picture's key with its feature `[dim]`, or with the reason it is unreadable.

    The model is in evaluation mode until the generator is closed.
    threads: see `prefetched`.
    """
    batch_size = image_encoder.batch_size  # the encoder may split it, if memory is short
    batch: list[tuple[K, Tensor]] = []

    def encode() -> list[tuple[K, Tensor | str]]:
        features = image_encoder.features([pixels for _, pixels in batch])
        found: list[tuple[K, Tensor | str]] = [(key, x) for (key, _), x in zip(batch, features, strict=True)]
        batch.clear()
        return found

    with (
        evaluating(image_encoder.model),
        contextlib.closing(prefetched(image_encoder.prepare, pictures, batch_size, threads)) as prepared,
    ):
        for key, pixels in prepared:
            if isinstance(pixels, str):
                yield [(key, pixels)]
                continue
            batch.append((key, pixels))
            if len(batch) == batch_size:
                yield encode()
        if batch:
            yield encode()


def _encoded(
    image_encoder: ImageEncoder,
    images: Source | Iterable[Source],
    name: str,
    on_progress: Callable[[int, int], object] | None,
) -> Creation:
    pictures, total = listed(images)
    labelled = (
        (str(picture) if isinstance(picture, Path) else f"picture {number}", picture)
        for number, picture in enumerate(pictures, 1)
    )
    files: list[str] = []
    skipped: list[tuple[str, str]] = []
    features: list[Tensor] = []
    with contextlib.closing(encoded(image_encoder, labelled)) as batches:
        for batch in batches:
            for file, x in batch:
                if isinstance(x, str):
                    skipped.append((file, x))
                else:
                    files.append(file)
                    features.append(x)
            if on_progress:
                on_progress(len(features) + len(skipped), total)
    if not features:
        raise AestheticError(no_pictures(images, skipped[:1], len(skipped)))
    about = {"name": name, "encoder": image_encoder.name, "clips": image_encoder.clips}
    return _mean(image_encoder.family, about, files, torch.stack(features), skipped)


def create_each(
    images: Source | Iterable[Source],
    encoders: Sequence[Encoder],
    name: str = "",
    batch_size: int = 8,
    on_progress: Callable[[str, int, int], object] | None = None,
    *,
    against: Source | Iterable[Source] | None = None,
    device: torch.device | str = "cpu",
    allow_pickle: bool = False,
) -> tuple[Creation, ...]:
    """Make an embedding of the same pictures with each encoder, in this order; see `create_with_report`.

    on_progress: called with the encoder's name, the number of pictures done, and the number of all; for the first time
        before the encoder is loaded. Raise `Interrupted` in it to stop.
    device: where encoders run. If its memory does not suffice for one picture, the encoder runs on the CPU.
    """
    if not encoders:
        raise AestheticError("Choose an encoder, or several for several models.")
    if len(encoders) > 1:
        images, against = _readable_again(images), _readable_again(against)

    def made_by(encoder: Encoder) -> Creation:
        who = name_of(encoder)

        def report(done: int, total: int) -> None:
            if on_progress:
                on_progress(who, done, total)

        def make(device: torch.device | str) -> Creation:
            return create_with_report(
                images,
                encoder,
                name,
                batch_size,
                report,
                against=against,
                device=device,
                allow_pickle=allow_pickle,
            )

        report(0, 0)
        try:
            return make(device)
        except Exception as error:
            if torch.device(device).type == "cpu" or not any(out_of_memory(e) for e in (error, error.__cause__) if e):
                raise
        _free_memory()  # outside of `except`, whose traceback keeps the tensors alive
        return make("cpu")

    return tuple(made_by(encoder) for encoder in encoders)


def create_in_library(
    library: Library,
    name: str,
    images: Source | Iterable[Source],
    encoders: Sequence[Encoder],
    batch_size: int = 8,
    on_progress: Callable[[str, int, int], object] | None = None,
    *,
    against: Source | Iterable[Source] | None = None,
    if_exists: str = "refuse",
    device: torch.device | str = "cpu",
    allow_pickle: bool = False,
) -> tuple[tuple[Creation, ...], Path]:
    """Make an aesthetic with a vector from each encoder, and save it as `name`; see `create_each`.

    if_exists: what to do if there is one of that name: one of IF_EXISTS.

    Returns the creation of each encoder, and the new file. A name that cannot be used is refused before any work.
    """
    if if_exists not in IF_EXISTS:
        raise AestheticError(f"if_exists should be one of {', '.join(IF_EXISTS)}, not {if_exists!r}.")
    before = [library.get(name)] if if_exists == "add" else []
    library.check_free(name) if if_exists == "refuse" else check_name(name)
    made = create_each(
        images,
        encoders,
        name,
        batch_size,
        on_progress,
        against=against,
        device=device,
        allow_pickle=allow_pickle,
    )
    embedding = merge([*before, *(each.embedding for each in made)], name)
    return made, library.save(embedding, overwrite=if_exists != "refuse")


def combine(parts: Sequence[Creation], without: Collection[str] = ()) -> Creation:
    """The creation of all parts' pictures without some files. No picture is read again.

    All parts are of the same encoder. A file in several parts counts once. Raises AestheticError if no file is left.
    """
    features = {file: x for part in parts for file, x in zip(part.files, part.features, strict=True)}
    files = [file for file in features if file not in without]
    skipped = dict(pair for part in parts for pair in part.skipped if pair[0] not in without)
    if not files:
        raise AestheticError("No pictures are left.")
    (family,), last = parts[-1].embedding.vectors, parts[-1].embedding
    about = {"name": last.name, "encoder": last.encoder, "clips": last.clips, "against": last.against}
    each = torch.stack([features[file] for file in files])
    return _mean(family, about, files, each, list(skipped.items()))


def _mean(
    family: str, about: dict[str, Any], files: list[str], features: Tensor, skipped: list[tuple[str, str]]
) -> Creation:
    """about: other fields of the embedding."""
    sums = Sums.of(features)
    similarities = torch.cosine_similarity(features.double(), sums.mean[None]).float()
    return Creation(embedding_of(sums, family, about), tuple(files), similarities, tuple(skipped), features)


def embedding_of(sums: Sums, family: str, about: dict[str, Any]) -> AestheticEmbedding:
    """The embedding of these sums. about: its other fields. Raises EncoderError if the mean is not finite."""
    if not bool(torch.isfinite(sums.mean).all()):
        raise EncoderError(f"{about['encoder']} gave features that are not finite. Load it in float32.")
    return AestheticEmbedding({family: sums.mean}, images=sums.count, created=now(), **about)


def _readable_again(images: Any) -> Any:
    """Pictures that several encoders can read in turn: an iterator is exhausted after the first."""
    return list(images) if isinstance(images, Iterator) else images


def no_pictures(images: object, skipped: Sequence[tuple[str, str]], count: int) -> str:
    """The message if no picture could be read. skipped: the first of `count` unreadable ones."""
    if skipped:
        file, reason = skipped[0]
        return f"None of the pictures could be read, {count} in all. {file}: {reason}."
    where = f" in {images}" if isinstance(images, (str, os.PathLike)) else ""
    return f"There are no pictures{where}."


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
