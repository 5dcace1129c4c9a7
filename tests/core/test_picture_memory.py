"""What Pillow takes to decode each format is what aesthetics/pictures.py counts with; and `create` stays below 1 GB."""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, features

from aesthetic_embeddings.aesthetics import pictures as reading
from aesthetic_embeddings.errors import AestheticError

from ..attack import pictures
from ..attack.__main__ import PICTURE_BYTES, in_a_process
from ..attack.measure import Tally

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts the peak of a process anew"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]
SIDE = 2000


def saved(mode: str, **options: Any) -> bytes:
    image = Image.effect_noise((SIDE, SIDE), 80).convert("RGB")
    if mode == "RGBA":
        image.putalpha(image.getchannel(0))
    file = io.BytesIO()
    (image if mode == "RGBA" else image.convert(mode)).save(file, **options)
    return file.getvalue()


FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("RGBA", {"format": "PNG", "compress_level": 1}),
    "bmp": ("RGB", {"format": "BMP"}),
    "gif": ("RGB", {"format": "GIF"}),
    "ppm": ("RGB", {"format": "PPM"}),
    "tga": ("RGBA", {"format": "TGA", "compression": "tga_rle"}),
    "pcx": ("RGB", {"format": "PCX"}),
    "sgi": ("RGB", {"format": "SGI"}),
    "jpeg": ("RGB", {"format": "JPEG"}),
    "progressive jpeg": ("RGB", {"format": "JPEG", "progressive": True, "subsampling": 0}),
    "progressive jpeg, half the colors": ("RGB", {"format": "JPEG", "progressive": True, "subsampling": 2}),
    "progressive jpeg, cmyk": ("CMYK", {"format": "JPEG", "progressive": True}),
    "tiff": ("RGBA", {"format": "TIFF"}),
    "tiff in one strip": ("RGBA", {"format": "TIFF", "compression": "tiff_lzw", "strip_size": 1 << 30}),
    "tiff of floats": ("F", {"format": "TIFF", "compression": "tiff_lzw", "strip_size": 1 << 30}),
    "webp": ("RGBA", {"format": "WEBP", "method": 0}),
    "webp without loss": ("RGBA", {"format": "WEBP", "lossless": True, "method": 0}),
    "avif": ("RGB", {"format": "AVIF", "speed": 10}),
    "jpeg 2000": ("RGB", {"format": "JPEG2000"}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_takes_no_more_than_is_counted_with(name: str, tmp_path: Path) -> None:
    mode, options = FORMATS[name]
    needed = {"WEBP": features.check("webp"), "JPEG2000": features.check("jpg_2000"), "AVIF": "AVIF" in Image.SAVE}
    if not needed.get(options["format"], True):
        pytest.skip("this Pillow cannot write it")
    path = tmp_path / "picture"
    path.write_bytes(saved(mode, **options))
    with reading._opened(path) as image:
        counted = reading._bytes_to_decode(image)
    tally = in_a_process(partial(_decode, path))
    assert not tally.faults
    assert tally.largest[0] <= counted + 8_000_000, f"{tally.largest[0] / SIDE**2:.1f} bytes for each pixel"


def _decode(path: Path) -> Tally:
    tally = Tally()
    tally.call(path.name, lambda: reading.read(path), AestheticError)
    return tally


def test_one_png_of_13300_x_13300_with_transparency_takes_less_than_1_gb(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(pictures.flat_png(13_300, 13_300, 6))
    tally = in_a_process(partial(_create, [path]))
    assert (tally.accepted, tally.faults) == (1, [])
    assert tally.largest[0] <= PICTURE_BYTES


def test_nor_do_many_large_pictures(tmp_path: Path) -> None:
    """Which four threads would decode at once, to 2 GB."""
    for name, data in pictures.large():
        if any(size in name for size in ("7000", "9000")):
            (tmp_path / f"{name}.png").write_bytes(data)
            (tmp_path / f"{name} again.png").write_bytes(data)
    tally = in_a_process(partial(_create, [tmp_path]))
    assert (tally.accepted, tally.faults) == (1, [])
    assert tally.largest[0] <= PICTURE_BYTES


def _create(images: list[Path]) -> Tally:
    import warnings

    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from aesthetic_embeddings.aesthetics.creation import create

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, image_size=224, patch_size=32, projection_dim=768))
    create(Image.new("RGB", (300, 300)), model)  # what is loaded once is not counted
    tally = Tally()
    tally.call("create", lambda: create(images, model), AestheticError)
    return tally
