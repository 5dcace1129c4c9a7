"""Finds picture files, decodes them within a memory limit, and converts them to upright RGB."""

from __future__ import annotations

import contextlib
import io
import mimetypes
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias, TypeVar

from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import AestheticError, FileError
from ..storage.paths import open_regular, walk

#: A picture: a file, the bytes of one, or a PIL image; where several are expected, also a folder.
Source: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image"
Given: TypeAlias = "Path | bytes | Image.Image"
#: Also a function that fetches the bytes of a picture. The thread that decodes the picture calls it.
Picture: TypeAlias = "Given | Callable[[], bytes]"
K = TypeVar("K")
T = TypeVar("T")

#: Bytes per pixel that Pillow needs to decode a format, the picture included, as measured by
#: tests/core/test_picture_memory.py. Other formats are not opened: EPS starts a program, ICO holds pictures of another
#: size than its header says. JPEG and TIFF depend on the file, see `_bytes_to_decode`.
FORMATS = {
    "PNG": 4.2,
    "BMP": 4.2,
    "DIB": 4.2,
    "GIF": 6,
    "PPM": 4.2,
    "TGA": 4.2,
    "PCX": 16,
    "SGI": 16,
    "JPEG": 0,
    "MPO": 0,
    "TIFF": 0,
    "WEBP": 22,
    "AVIF": 18,
    "HEIF": 18,
    "JPEG2000": 30,
}
#: Pillow reads these piece by piece. Its readers of other formats may hold a whole file in memory.
_STREAMED = {"PNG", "BMP", "DIB", "PPM", "TGA", "TIFF"}
_FILE_LIMIT = 64 * 2**20

_PIXEL_LIMIT = 180_000_000  # like Pillow's own limit, which hosts switch off
_MEMORY_LIMIT = 800_000_000  # bytes, for all pictures that are being decoded
_LARGE = 16_000_000  # pixels; larger pictures are reduced, which hardly changes their features
_SHORT_SIDE = 1024  # pixels, the least short side of a reduced picture: several times an encoder's
_NARROWEST = 50  # the largest ratio of the sides; a strip of 1 × 60000 would be enlarged to 224 × 13 million
_BAND = 4_000_000  # pixels that are converted at once


def read(picture: Given) -> Image.Image:
    """Decode a picture and convert it by `to_rgb`. All threads together use at most _MEMORY_LIMIT bytes at a time.

    Raises AestheticError for too large a picture, FileError for a path that is not a file, and what Pillow raises.
    """
    with _opened(picture) as image, _memory.reserved(_bytes_to_decode(image)):
        return to_rgb(image)


def thumbnail(picture: Given, size: int) -> Image.Image:
    """As `read`, reduced to at most `size` pixels in width and height."""
    with _opened(picture, (2 * size, 2 * size)) as image, _memory.reserved(_bytes_to_decode(image)):
        small = to_rgb(image)
    small.thumbnail((size, size))
    return small


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture as people see it, in 8-bit RGB: upright, the first frame, transparent parts over white.

    A picture of more than 16 million pixels is reduced by an integer factor.

    Raises AestheticError for a picture that is too large, too small or too narrow, and what Pillow raises.
    """
    width, height = image.size
    if width * height > _PIXEL_LIMIT:
        raise AestheticError(f"too large: {width} × {height} pixels")
    if min(width, height) < 4 or max(width, height) > _NARROWEST * min(width, height):
        raise AestheticError(f"too small or too narrow to show anything: {width} × {height} pixels")
    orientation = image.getexif().get(0x0112)
    small = _in_bands(image, _factor(image.size))
    if orientation:
        small.getexif()[0x0112] = orientation
        small = ImageOps.exif_transpose(small)
    return small


def may_be_a_picture(path: Path) -> bool:
    """False for captions, tables, archives and so on, which should not be reported as unreadable pictures."""
    kind, _ = mimetypes.guess_type(path.name)
    return kind is None or kind.startswith(("image/", "video/")) or path.suffix.lower() in Image.registered_extensions()


def listed(images: Source | Iterable[Source]) -> tuple[Iterator[Given], int]:
    """An iterator over all pictures, those in folders included, and their number; 0 if it is unknown."""
    sources: Iterable[Source] = [images] if isinstance(images, (str, os.PathLike, bytes, Image.Image)) else images
    if isinstance(sources, Sequence):
        every = list(_files_of_folders(sources))
        return iter(every), len(every)
    return _files_of_folders(sources), 0


def prefetched(
    prepare: Callable[[Image.Image], T], pictures: Iterator[tuple[K, Picture]], depth: int, threads: int | None = None
) -> Generator[tuple[K, T | str], None, None]:
    """Yields (key, `prepare(image)` or why it is unreadable) in order, while threads work `depth` pictures ahead.

    threads: how many pictures are read at the same time; by default one per CPU core, but at most 4.
    """
    pool = ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1))
    under_way: deque[tuple[K, Future[T | str]]] = deque()

    def work(picture: Picture) -> T | str:
        try:
            if callable(picture):
                picture = picture()
            return prepare(read(picture))
        except Exception as error:  # Pillow's readers raise all kinds of errors on damaged files
            return _reason(error, picture)

    try:
        for key, picture in pictures:
            under_way.append((key, pool.submit(work, picture)))
            del picture  # so that a PIL image can be freed after its work
            if len(under_way) > depth:
                key, result = under_way.popleft()
                yield key, result.result()
        for key, result in under_way:
            yield key, result.result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Memory:
    """A budget of bytes that threads share. A thread waits until enough are left."""

    def __init__(self, limit: int) -> None:
        self.limit, self._used, self._changed = limit, 0, threading.Condition()

    @contextlib.contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._used + size <= self.limit)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


_memory = _Memory(_MEMORY_LIMIT)


@contextlib.contextmanager
def _opened(picture: Given, draft: tuple[int, int] | None = None) -> Iterator[Image.Image]:
    """draft: a size at which a JPEG may be decoded directly, if it is at most an eighth of the whole."""
    if isinstance(picture, Image.Image):
        yield picture
        return
    with open_regular(picture) if isinstance(picture, Path) else io.BytesIO(picture) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        with Image.open(file, formats=_formats(size)) as image:
            factor = _factor(image.size)
            image.draft(None, draft or (image.width // factor, image.height // factor))
            yield image


def _formats(size: int) -> list[str]:
    """The formats that a file of `size` bytes may have."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN and (size <= _FILE_LIMIT or name in _STREAMED)]


def _bytes_to_decode(image: Image.Image) -> int:
    """An upper bound of the memory for decoding and converting. Raises AestheticError if the picture is too large."""
    width, height = image.size
    per_pixel: float = FORMATS.get(image.format or "", 8)
    if image.format in ("JPEG", "MPO"):
        scale = (getattr(image, "decoderconfig", None) or (1,))[0]  # the reduction by `draft`
        width, height = width * scale, height * scale
        layers = [h * v for _, h, v, _ in getattr(image, "layer", [])] or [1] * 4
        per_pixel = 2 * sum(layers) / max(layers) + 6 / scale**2  # a progressive JPEG needs all coefficients at once
    elif image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,) * 4)  # BitsPerSample
        per_pixel = 6 + 2.5 * sum(bits) / 8  # one strip may be the whole picture
    needed = int(width * height * per_pixel + 16 * image.width * image.height / _factor(image.size) ** 2)
    if width * height > _PIXEL_LIMIT or needed > _MEMORY_LIMIT:
        raise AestheticError(f"too large: {width} × {height} pixels")
    return needed


def _factor(size: tuple[int, int]) -> int:
    """The integer factor by which to reduce a picture; 1 unless it is large."""
    width, height = size
    return max(1, min(size) // _SHORT_SIDE) if width * height > _LARGE else 1


def _in_bands(image: Image.Image, factor: int) -> Image.Image:
    """Convert to RGB and reduce, band by band: a whole copy in another mode would double the memory."""
    image.load()
    (width, height), convert = image.size, _converter(image)
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = max(1, _BAND // (width * factor)) * factor
    for top in range(0, height, rows):
        band = convert(image.crop((0, top, width, min(height, top + rows))))
        small.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return small


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """The function that converts a band of this picture to RGB."""
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image)
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        return _over_white
    return lambda band: band.convert("RGB")


def _over_white(band: Image.Image) -> Image.Image:
    band = band.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB")


def _eight_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """For gray of 16 or 32 bits, or floats from 0 to 1, which Pillow's own conversion clips at 255."""
    scales = (65535.0, 2.0**31) if image.mode.startswith("I") else (1.0, 255.0, 65535.0)
    width, height = image.size
    rows = max(1, _BAND // width)
    bands = (image.crop((0, top, width, min(height, top + rows))) for top in range(0, height, rows))
    peak = max(float(band.convert("F").getextrema()[1]) for band in bands)  # type: ignore[arg-type]
    full = next((scale for scale in scales if scale >= peak), peak)

    def convert(band: Image.Image) -> Image.Image:
        return band.convert("F").point(lambda value: value * (255 / full) + 0.5).convert("L").convert("RGB")

    return convert


def _files_of_folders(images: Iterable[Source]) -> Iterator[Given]:
    for image in images:
        if isinstance(image, (Image.Image, bytes)):
            yield image
        elif not isinstance(image, (str, os.PathLike)):
            raise AestheticError(f"Pictures are files, folders or PIL images, not {type(image).__name__}.")
        elif (path := Path(image)).is_dir():
            yield from filter(may_be_a_picture, walk(path))
        elif path.exists():
            yield path
        else:
            raise FileError(f"{path} does not exist, so no pictures can be read from it.")


def _reason(error: Exception, picture: Picture) -> str:
    """Why a picture is unreadable, in a few words."""
    if isinstance(error, (AestheticError, Image.DecompressionBombError)):
        return str(error)
    if picture == b"" or (isinstance(picture, Path) and picture.is_file() and picture.stat().st_size == 0):
        return "empty"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or in an unsupported format"
    if isinstance(error, MemoryError):
        return "too large for the free memory"
    return f"damaged or cut short: {error!s:.200}"
