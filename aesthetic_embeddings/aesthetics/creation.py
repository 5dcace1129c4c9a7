"""Pictures in, an aesthetic embedding out: `e = mean_i CLIP_vis(x_i)` (arXiv 2209.12330, section 3)."""

from __future__ import annotations

import contextlib
import mimetypes
import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors import SafetensorError
from torch import Tensor

from ..errors import AestheticError, EncoderError, FileError, out_of_memory
from ..storage.paths import walk
from ..torch_states import evaluating
from . import families
from .embedding import AestheticEmbedding, now

Source: TypeAlias = "str | os.PathLike[str] | Image.Image"
Encoder: TypeAlias = Any  # a folder, a hub id, or a transformers model; transformers is imported only when used

_PIXEL_LIMIT = 180_000_000  # as Pillow's own, which hosts switch off: about 0.5 GB once unpacked
_NARROWEST = 50  # a strip of 1 × 50 is still seen; one of 1 × 60000 would be enlarged to 224 × 13 million


@dataclass(frozen=True)
class Creation:
    """An embedding, and what it was made from.

    files: what was read, in order; a picture that has no file is called by its number ("picture 3").
    similarities: `[len(files)]`, the cosine of each picture with the mean: how alike the pictures are.
    skipped: (file, reason) of what could not be read.
    features: `[len(files), dim]`, what the encoder made of each picture.
    """

    embedding: AestheticEmbedding
    files: tuple[str, ...]
    similarities: Tensor
    skipped: tuple[tuple[str, str], ...]
    features: Tensor


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
) -> AestheticEmbedding:
    """The aesthetic embedding of some pictures; `create_with_report` without what it tells of them."""
    return create_with_report(
        images, encoder, name, batch_size, on_progress, against=against, processor=processor, device=device
    ).embedding


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
) -> Creation:
    """Mean of the raw (un-normalised) projected image features of `images`, `[dim]`, in fp64, kept in fp32.

    images: a folder (with all below it), a file, a PIL image, or an iterable of these. Memory does not grow with their
        number, but for 4 kB each; an iterator is read only a little ahead.
    encoder: a folder or hub id in transformers format (never downloaded: it must be on this machine), or a loaded
        CLIPModel or CLIPVisionModelWithProjection, which is left as it was.
    batch_size: how many pictures the encoder sees at once; halved when memory runs out.
    on_progress: called with the number of pictures done, and of all (0 where that is unknown), and again for those in
        `against`. To stop, raise `Interrupted` from it; nothing was written by then.
    against: ordinary pictures, which the aesthetic is to be told apart from (see `Settings.contrast`). Their mean is
        kept beside that of `images`.
    processor: the image processor of a loaded model. Without it: that of the model's own folder, else CLIP's usual one
        for the model's image size.
    device: where an encoder that is not loaded yet should run.

    Pictures that cannot be read are skipped and listed. Raises AestheticError where none is left, FileError for a path
    that does not exist, EncoderError where the encoder is none, or is not here.
    """
    if batch_size < 1:
        raise AestheticError(f"batch_size should be at least 1, not {batch_size}.")
    image_encoder = _image_encoder(encoder, processor, device, batch_size)
    found = _look(image_encoder, images, name, on_progress)
    if against is None:
        return found
    ordinary = _look(image_encoder, against, "", on_progress)
    embedding = replace(found.embedding, against=ordinary.embedding.vectors)
    return replace(found, embedding=embedding, skipped=found.skipped + ordinary.skipped)


def _look(
    image_encoder: ImageEncoder,
    images: Source | Iterable[Source],
    name: str,
    on_progress: Callable[[int, int], object] | None,
) -> Creation:
    batch_size = image_encoder.batch_size  # of which less and less is encoded at once where memory is short
    sources, total = _sources(images)
    files: list[str] = []
    skipped: list[tuple[str, str]] = []
    features: list[Tensor] = []
    waiting: list[Tensor] = []

    def look() -> None:
        features.extend(image_encoder.features(waiting))
        waiting.clear()
        report()

    def report() -> None:
        if on_progress:
            on_progress(len(features) + len(skipped), total)

    with (
        evaluating(image_encoder.model),
        contextlib.closing(_ahead(image_encoder.prepare, sources, batch_size)) as prepared,
    ):
        for number, (source, pixels) in enumerate(prepared, 1):
            label = f"picture {number}" if source is None else str(source)
            if isinstance(pixels, str):
                skipped.append((label, pixels))
                report()
                continue
            files.append(label)
            waiting.append(pixels)
            if len(waiting) == batch_size:
                look()
        if waiting:
            look()

    if not features:
        raise AestheticError(_nothing(images, skipped))
    about = {"name": name, "encoder": image_encoder.name, "clips": image_encoder.clips}
    return _mean(image_encoder.family, about, files, torch.stack(features), skipped)


def combine(parts: Sequence[Creation], without: Collection[str] = ()) -> Creation:
    """What `create_with_report` would make of the pictures of all parts, without some files. It reads no picture again.

    The parts come of the same encoder; a file that is in several counts once. Raises AestheticError where none is left.
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
    """about: what else the embedding says of itself."""
    mean = features.double().mean(0)
    if not bool(torch.isfinite(mean).all()):
        raise EncoderError(f"{about['encoder']} gave features that are not finite. Load it in float32.")
    embedding = AestheticEmbedding({family: mean}, images=len(files), created=now(), **about)
    similarities = torch.cosine_similarity(features.double(), mean[None]).float()
    return Creation(embedding, tuple(files), similarities, tuple(skipped), features)


# ---- pictures -------------------------------------------------------------------------------------------------------


def to_rgb(image: Image.Image) -> Image.Image:
    """Any picture as people see it, in RGB of 8 bits: upright, the first frame, transparent parts over white.

    Raises AestheticError for sizes that hold no picture or too large a one, and what Pillow raises.
    """
    width, height = image.size
    if width * height > _PIXEL_LIMIT:
        raise AestheticError(f"too large: {width} × {height} pixels")
    if min(width, height) < 4 or max(width, height) > _NARROWEST * min(width, height):
        raise AestheticError(f"too small or too narrow to show anything: {width} × {height} pixels")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats from 0 to 1, in 8 bits: Pillow's own conversion only clips at 255."""
    scales = (65535.0, 2.0**31) if image.mode.startswith("I") else (1.0, 255.0, 65535.0)
    image = image.convert("F")
    peak = float(image.getextrema()[1])  # type: ignore[arg-type]  # a pair of pairs only for pictures in colour
    full = next((scale for scale in scales if scale >= peak), peak)
    return image.point(lambda value: value * (255 / full) + 0.5).convert("L")


def _sources(images: Source | Iterable[Source]) -> tuple[Iterator[Path | Image.Image], int]:
    """All pictures one by one, and how many: 0 where only reading an iterator to its end would tell."""
    if isinstance(images, (str, os.PathLike, Image.Image)):
        images = [images]
    if isinstance(images, Sequence):
        listed = list(_expanded(images))
        return iter(listed), len(listed)
    return _expanded(images), 0


def _expanded(images: Iterable[Source]) -> Iterator[Path | Image.Image]:
    for image in images:
        if isinstance(image, Image.Image):
            yield image
        elif not isinstance(image, (str, os.PathLike)):
            raise AestheticError(f"Pictures are files, folders or PIL images, not {type(image).__name__}.")
        elif (path := Path(image)).is_dir():
            yield from filter(may_be_a_picture, walk(path))
        elif path.exists():
            yield path
        else:
            raise FileError(f"{path} does not exist, so no pictures can be read from it.")


def may_be_a_picture(path: Path) -> bool:
    """False for captions, tables, archives and so on: what lies beside pictures need not be listed as unreadable."""
    kind, _ = mimetypes.guess_type(path.name)
    return kind is None or kind.startswith(("image/", "video/")) or path.suffix.lower() in Image.registered_extensions()


def _ahead(
    prepare: Callable[[Path | Image.Image], Tensor | str], sources: Iterator[Path | Image.Image], depth: int
) -> Generator[tuple[Path | None, Tensor | str], None, None]:
    """(path, `prepare(source)`) in order, `depth` of them under way in threads while the caller is busy with others."""
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
    under_way: deque[tuple[Path | None, Future[Tensor | str]]] = deque()
    try:
        for source in sources:
            under_way.append((source if isinstance(source, Path) else None, pool.submit(prepare, source)))
            del source  # a PIL image is kept no longer than it is worked on
            if len(under_way) > depth:
                path, result = under_way.popleft()
                yield path, result.result()
        for path, result in under_way:
            yield path, result.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _reason(error: Exception, source: Path | Image.Image) -> str:
    """Why a picture was skipped, in a few words."""
    if isinstance(error, (AestheticError, Image.DecompressionBombError)):
        return str(error)
    if isinstance(source, Path) and source.is_file() and source.stat().st_size == 0:
        return "empty"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a format that Pillow reads here"
    if isinstance(error, MemoryError):
        return "too large for the memory there is"
    return f"damaged or cut short: {error}"


def _nothing(images: object, skipped: list[tuple[str, str]]) -> str:
    if skipped:
        (file, reason), count = skipped[0], len(skipped)
        return f"None of the pictures could be read, {count} in all. {file}: {reason}."
    where = f" in {images}" if isinstance(images, (str, os.PathLike)) else ""
    return f"There are no pictures{where}."


# ---- the encoder ----------------------------------------------------------------------------------------------------


@dataclass
class ImageEncoder:
    """A CLIP vision tower with its projection, and how pictures are made ready for it."""

    model: Any
    processor: Any
    name: str
    family: str
    batch_size: int

    @property
    def clips(self) -> dict[str, str]:
        """Which CLIP it is (see AestheticEmbedding), where its text projection is here to tell."""
        projection = getattr(self.model, "text_projection", None)
        return {} if projection is None else {self.family: families.clip_signature(projection.weight)}

    def prepare(self, source: Path | Image.Image) -> Tensor | str:
        """The pixels `[3, height, width]` that the encoder takes, or why there are none. Runs in a thread."""
        try:
            if isinstance(source, Path):
                with Image.open(source) as file:
                    image = to_rgb(file)
            else:
                image = to_rgb(source)
            return torch.as_tensor(self.processor(images=image, return_tensors="pt")["pixel_values"][0])
        except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
            return _reason(error, source)

    @torch.no_grad()
    def features(self, pixels: Sequence[Tensor]) -> list[Tensor]:
        """Raw projected image features, one `[dim]` in fp32 on the CPU per picture."""
        found: list[Tensor] = []
        weight = self.model.visual_projection.weight
        while len(found) < len(pixels):
            batch = torch.stack(list(pixels[len(found) : len(found) + self.batch_size]))
            try:
                batch = batch.to(weight.device, weight.dtype)
                with torch.autocast(batch.device.type, torch.bfloat16, enabled=_bf16_is_faster(weight)):
                    seen = self.model.vision_model(pixel_values=batch, return_dict=True).pooler_output
                found += self.model.visual_projection(seen.to(weight.dtype)).float().cpu()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise EncoderError(
                        f"The memory of {weight.device} does not suffice for {self.name} to look at one picture. "
                        "Free some of it, or use another device."
                    ) from error
                self.batch_size = len(batch) // 2
        return found


def _bf16_is_faster(weight: Tensor) -> bool:
    """On CPUs that multiply in bf16, which moves a feature's direction by less than 1e-4 (benchmarks/creation.py)."""
    knows = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch 2.6 and later
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and knows is not None and bool(knows())


def _image_encoder(encoder: Encoder, processor: Any, device: torch.device | str, batch_size: int) -> ImageEncoder:
    if isinstance(encoder, (str, os.PathLike)):
        source, model = str(encoder), _loaded(str(encoder)).to(device)
    else:
        source, model = str(getattr(encoder, "name_or_path", "") or ""), encoder
    if not hasattr(model, "vision_model") or not hasattr(model, "visual_projection"):
        raise EncoderError(
            f"{type(model).__name__} cannot look at pictures. Pass a folder in transformers format, a CLIPModel or a "
            "CLIPVisionModelWithProjection."
        )
    config, dim = model.config, model.visual_projection.out_features
    if text := getattr(config, "text_config", None):
        family = families.family(text.hidden_size, text.num_hidden_layers, dim)
    elif (known := families.family_of_dimension(dim)) is not None:
        family = known
    else:
        raise EncoderError(
            f"A vision tower alone, with features of {dim} numbers, does not say which CLIP it belongs to. Load the "
            "whole CLIPModel."
        )
    name = (Path(source).resolve().name if os.path.isdir(source) else source) or type(model).__name__
    processor = getattr(processor, "image_processor", processor) or _processor(source, model)
    return ImageEncoder(model, processor, name, family, batch_size)


def _loaded(source: str) -> Any:
    """The CLIP in a folder or in the hub's local cache, in fp32 on the CPU. Nothing is downloaded."""
    import transformers

    kinds = {"clip": "CLIPModel", "clip_vision_model": "CLIPVisionModelWithProjection"}
    try:
        config, _ = transformers.PretrainedConfig.get_config_dict(source, local_files_only=True)
        kind = config.get("model_type", "")
        if kind and kind not in kinds:
            raise EncoderError(f"{source} holds {kind!r}, not a CLIP.")
        with torch.random.fork_rng(devices=[]):  # building a model draws random numbers
            return getattr(transformers, kinds[kind]).from_pretrained(source, local_files_only=True).float()
    except (OSError, ValueError, KeyError) as error:
        raise EncoderError(
            f"There is no CLIP called {source!r}: neither a folder with config.json and weights, nor one in the hub's "
            f"local cache. Give the folder of one in transformers format, or download it once: hf download {source}"
        ) from error
    except (RuntimeError, SafetensorError) as error:
        raise EncoderError(f"The CLIP in {source} is damaged: {error}") from error


def _processor(source: str, model: Any) -> Any:
    """The image processor of a model's own folder or cache, else CLIP's usual one for the model's image size."""
    import transformers

    # transformers 5 gives the plain name to a class that needs torchvision; the one that needs Pillow alone is this
    kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    if source:
        with contextlib.suppress(OSError, ValueError):
            return kind.from_pretrained(source, local_files_only=True)
    size = getattr(model.config, "vision_config", model.config).image_size
    return kind(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
