"""Pictures, mutated."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

from PIL import Image, features

from . import embeddings


@cache
def originals() -> dict[str, bytes]:
    noise = Image.effect_noise((90, 70), 80)
    rgb = Image.merge("RGB", [noise, noise.transpose(Image.Transpose.ROTATE_180), noise])
    rgba = rgb.copy()
    rgba.putalpha(noise)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "png": (rgba, {"format": "PNG", "exif": exif}),
        "png16": (noise.convert("I").point(lambda x: x * 257).convert("I;16"), {"format": "PNG"}),
        "palette": (rgb.quantize(32), {"format": "PNG", "transparency": 3}),
        "jpeg": (rgb, {"format": "JPEG", "exif": exif}),
        "progressive": (rgb, {"format": "JPEG", "progressive": True, "subsampling": 0}),
        "cmyk": (rgb.convert("CMYK"), {"format": "JPEG"}),
        "gif": (rgb.quantize(16), {"format": "GIF", "save_all": True, "append_images": [rgb.quantize(8)] * 3}),
        "bmp": (rgb, {"format": "BMP"}),
        "tiff": (rgba, {"format": "TIFF"}),
        "tiff lzw": (rgb, {"format": "TIFF", "compression": "tiff_lzw"}),
        "tiff float": (noise.convert("F"), {"format": "TIFF", "compression": "tiff_adobe_deflate"}),
        "ppm": (rgb, {"format": "PPM"}),
        "tga": (rgba, {"format": "TGA", "compression": "tga_rle"}),
        "pcx": (rgb, {"format": "PCX"}),
        "sgi": (rgb, {"format": "SGI"}),
        "ico": (rgba.resize((64, 64)), {"format": "ICO"}),
        "eps": (rgb, {"format": "EPS"}),
    }
    if features.check("webp"):
        kinds["webp"] = (rgba, {"format": "WEBP"})
        kinds["webp lossless"] = (rgba, {"format": "WEBP", "lossless": True})
    if features.check("jpg_2000"):
        kinds["jpeg 2000"] = (rgb, {"format": "JPEG2000"})
    if "AVIF" in Image.SAVE:
        kinds["avif"] = (rgb, {"format": "AVIF", "speed": 10})
    made = {}
    for name, (image, options) in kinds.items():
        file = io.BytesIO()
        image.save(file, **options)
        made[name] = file.getvalue()
    return made


def mutated(seed: int) -> tuple[str, bytes]:
    """The mutant of this number, and what it is called."""
    rng = random.Random(seed)
    name = rng.choice(list(originals()))
    data = originals()[name]
    for _ in range(rng.choice((1, 1, 2, 5))):
        data = rng.choice(
            (embeddings._bits, embeddings._bytes, embeddings._number, embeddings._cut, embeddings._repeat)
        )(data, rng)
    if name.startswith(("png", "palette")) and rng.random() < 0.7:
        data = with_sums(data)  # so that what was changed is looked at
    return f"mutant {seed} of {name}", data


def with_sums(png: bytes) -> bytes:
    """A PNG whose chunks have the right sums."""
    data, at = png[:8], 8
    while at + 12 <= len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        chunk = png[at + 4 : at + 8 + size]
        data += struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + size
    return data


def large() -> Iterator[tuple[str, bytes]]:
    """Pictures that unpack to much more than they are, near the limit on pixels and over it."""
    for side in (13_300, 20_000, 60_000):
        yield f"png of {side} x {side}, RGBA", flat_png(side, side, 6)
    yield "png of 13,300 x 13,300, gray of 16 bits", flat_png(13_300, 13_300, 0, bits=16)
    yield "png of 13,300 x 13,300, palette", flat_png(13_300, 13_300, 3)
    yield "png of 94,000 x 1,900", flat_png(94_000, 1_900, 6)
    for name, options in {
        "jpeg": {"format": "JPEG"},
        "progressive jpeg": {"format": "JPEG", "progressive": True, "subsampling": 0},
        "tiff in one strip": {"format": "TIFF", "compression": "tiff_lzw", "strip_size": 1 << 30},
        "gif": {"format": "GIF"},
    }.items():
        for side in (7_000, 9_000):
            file = io.BytesIO()
            Image.new("RGB", (side, side), "teal").save(file, **options)
            yield f"{name} of {side} x {side}", file.getvalue()


def flat_png(width: int, height: int, kind: int, bits: int = 8) -> bytes:
    """A PNG of one color, packed row by row, without ever being whole in memory."""
    row = b"\0" + bytes([7]) * (width * {0: 1, 2: 3, 3: 1, 6: 4}[kind] * bits // 8)
    packer, packed = zlib.compressobj(1), io.BytesIO()
    for _ in range(height):
        packed.write(packer.compress(row))
    packed.write(packer.flush())
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    palette = _chunk(b"PLTE", bytes(range(48))) if kind == 3 else b""
    body = _chunk(b"IHDR", head) + palette + _chunk(b"IDAT", packed.getvalue()) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
