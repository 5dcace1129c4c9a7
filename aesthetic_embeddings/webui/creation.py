"""The tab's actions, without gradio: create, blend, export and preview embeddings, and find or download encoders."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image, ImageOps

from ..aesthetics.creation import IF_EXISTS, Creation, create_in_library
from ..aesthetics.embedding import SUFFIX, AestheticEmbedding
from ..aesthetics.encoders import ENCODERS, KnownEncoder
from ..aesthetics.mixes import from_text
from ..aesthetics.names import check_name
from ..aesthetics.neutral import NEUTRAL, NeutralEmbedding
from ..aesthetics.pictures import may_be_a_picture, read, thumbnail, to_rgb
from ..errors import AestheticError, FileError, Interrupted
from ..text_encoder.missing_parts import LAST_LAYER, TEXT_PROJECTION, Part
from . import host

__all__ = ["ENCODERS", "IF_EXISTS", "KnownEncoder"]  # for the page and the API

#: A callback for progress: the amount done, the total (0 if unknown), and a text.
OnProgress: TypeAlias = Callable[[float, float, str], object]

_stop = threading.Event()  # set by the tab's Interrupt; the host's would stop whatever job is running


def interrupt() -> None:
    """Stop the tab's current work, also if it still waits in the host's queue."""
    _stop.set()


# ---------------------------------------------------------------- encoders


def encoder_path(encoder: KnownEncoder) -> Path | None:
    """The encoder's folder on this machine: the host's, or one in the hub's cache. None if there is neither."""
    return encoder.located(host.encoder_folder())


def download_instructions(encoder: KnownEncoder) -> str:
    return (
        f"Download it ({encoder.gigabytes:.2f} GB) in the tab Create aesthetic embedding. Without a network, put "
        f"{encoder.file_names} of https://huggingface.co/{encoder.repository} into "
        f"{host.encoder_folder() / encoder.name}."
    )


def encoder_folders(encoders: Sequence[KnownEncoder | Path], folder: str = "") -> list[str]:
    """The folders of these encoders. folder: typed by the user; if given, it is used instead of `encoders`.

    Raises AestheticError if an encoder is not on this machine.
    """
    if folder.strip():
        return [str(_server_path(folder))]
    if not encoders:
        raise AestheticError("Choose an encoder, or several for several models.")
    paths = []
    for encoder in encoders:
        if isinstance(encoder, Path):
            paths.append(str(encoder))
        elif path := encoder_path(encoder):
            paths.append(str(path))
        else:
            raise AestheticError(
                f"{encoder.label} is not on this machine yet. {download_instructions(encoder)} Or type the folder of "
                "another CLIP into Encoder folder."
            )
    return paths


def download(encoder: KnownEncoder, on_progress: OnProgress) -> None:
    """Download the encoder's files into the hub's cache. Files that are there are kept, and partial ones completed.

    It runs in a separate process, which can be stopped at any time. It does not wait in the host's queue, since it
    takes minutes and needs only the network.
    """
    from huggingface_hub import constants

    code = "import sys, huggingface_hub as hub\nfor name in sys.argv[2:]: hub.hf_hub_download(sys.argv[1], name)"
    blobs = Path(constants.HF_HUB_CACHE, "models--" + encoder.repository.replace("/", "--"), "blobs")
    no_bars = {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
    }  # progress below does not see xet's files
    _stop.clear()
    time_left, size = TimeLeft(), encoder.gigabytes
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-c", code, encoder.repository, *encoder.files]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=os.environ | no_bars) as process:
            try:
                while process.poll() is None:
                    done = sum(file.stat().st_size for file in blobs.glob("*.incomplete")) / 1e9
                    on_progress(done, size, f"{encoder.label}: {done:.2f} of {size:.2f} GB{time_left.text(done, size)}")
                    if _stop.wait(0.5):
                        raise Interrupted("Interrupted. What has arrived is kept: Download goes on from there.")
            finally:
                process.kill()
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines() or ["no reason was given"]
            raise FileError(
                f"{encoder.label} could not be downloaded: {lines[-1]} Check the network and try again. "
                f"{download_instructions(encoder)}"
            )


# ---------------------------------------------------------------- parts that checkpoints lack


#: The parts that this host may need.
PARTS: list[Part | NeutralEmbedding] = [
    TEXT_PROJECTION,
    *([LAST_LAYER] if host.DROPS_LAST_LAYER else []),
    NEUTRAL,
]


def download_part(part: Part | NeutralEmbedding, on_progress: OnProgress) -> Path:
    """Download a part into our cache folder."""
    _stop.clear()

    def on_bytes(done: int, total: int) -> None:
        if _stop.is_set():
            raise Interrupted("Interrupted. Nothing was saved.")
        on_progress(done, total, f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")

    return part.fetch(on_bytes)


# ---------------------------------------------------------------- creating


def pictures(uploads: Iterable[Any], path: str = "") -> list[Path]:
    """The chosen files: uploads in the order of their names, then a file or folder of the server.

    Uploads that cannot be pictures are left out, since browsers send every file of a folder.
    """
    files = [Path(getattr(upload, "name", upload)) for upload in uploads]
    selected = [file for file in files if may_be_a_picture(file) and not file.name.startswith(".")]
    selected.sort(key=lambda file: (file.name, str(file)))
    return [*selected, *([_server_path(path)] if path.strip() else [])]


def create(
    name: str,
    files: list[Path],
    encoders: Sequence[KnownEncoder | Path],
    encoder_folder: str,
    batch_size: int,
    if_exists: str,
    on_progress: OnProgress,
    against: Sequence[Path] = (),
) -> tuple[tuple[Creation, ...], AestheticEmbedding, Path]:
    """Create an embedding from pictures, in the host's queue, and save it.

    Returns the result of each encoder, the embedding and its file. The name and all inputs are checked first.
    if_exists: one of IF_EXISTS. encoder_folder: see `encoder_folders`. against: ordinary pictures (see
    `create_with_report`).
    """
    if not files:
        raise AestheticError("There are no pictures yet. Upload some, or give a folder on the server.")
    if not name:
        raise AestheticError("Give the new embedding a name.")
    host.library.get(name) if if_exists == "add" else check_name(name)
    if if_exists == "refuse":
        host.library.check_free(name)
    folders = encoder_folders(encoders, encoder_folder)
    _stop.clear()
    on_progress(0, 0, "Waiting until the host is free")
    with host.queued_job(f"Create aesthetic embedding {name}"):
        creations, file = create_in_library(
            host.library,
            name,
            files,
            folders,
            batch_size,
            _progress_callback(on_progress, name_encoders=len(folders) > 1),
            against=list(against) or None,
            if_exists=if_exists,
            device=host.image_encoder_device(),
            allow_pickle=host.allow_pickle(),
        )
        return creations, host.library.get(name), file


def _progress_callback(on_progress: OnProgress, name_encoders: bool) -> Callable[[str, int, int], None]:
    """A callback that reports the pictures done, and raises Interrupted after the tab's or the host's Interrupt.

    name_encoders: whether the text starts with the encoder's name.
    """
    times_left: dict[str, TimeLeft] = {}

    def on_pictures(encoder: str, done: int, total: int) -> None:
        if _stop.is_set() or host.interrupted():
            raise Interrupted("Interrupted. Nothing was saved.")
        time_left = times_left.setdefault(encoder, TimeLeft())
        text = f"{done} of {total} pictures{time_left.text(done, total)}" if done else "Loading the encoder"
        on_progress(done, total, f"{encoder}: {text}" if name_encoders else text)

    return on_pictures


class TimeLeft:
    """Estimates the remaining time from the speed since the first progress."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def text(self, done: float, total: float) -> str:
        """Such as ", about 12 s left". Empty while the speed is unknown."""
        now = time.monotonic()
        if self._first is None and done:
            self._first = now, done
        start, done_before = self._first or (now, done)
        if done <= done_before or total <= done:
            return ""
        seconds = (now - start) / (done - done_before) * (total - done)
        return f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"


def thumbnails(creation: Creation, count: int = 36, size: int = 256) -> list[tuple[Image.Image, str]]:
    """The first pictures, each with a caption: its similarity to the mean, and its name."""
    result = []
    for file, similarity in list(zip(creation.files, creation.similarities.tolist(), strict=True))[:count]:
        with suppress(OSError, AestheticError):  # the file may have changed since it was encoded
            image = thumbnail(Path(file), size)
            result.append((image, f"{similarity:.2f} {Path(file).name}"))
    return result


# ---------------------------------------------------------------- managing


def names() -> list[str]:
    """All names in the library. Unreadable files and duplicates, which cannot be chosen elsewhere, are included."""
    return sorted({entry.name for entry in host.library.entries}, key=str.casefold)


def cards(size: int = 128) -> list[tuple[Image.Image, str]]:
    """A small picture for each of `names()`, and the name. Without a preview it is a plain color."""
    return [(_small_preview(name, size) or Image.new("RGB", (size, size), _color(name)), name) for name in names()]


def _small_preview(name: str, size: int) -> Image.Image | None:
    path = host.library.preview(name)
    with suppress(OSError, AestheticError):
        return None if path is None else ImageOps.fit(thumbnail(path, 2 * size), (size, size))
    return None


def _color(name: str) -> str:
    return f"hsl({zlib.crc32(name.encode()) % 360}, 30%, 60%)"


def blend(name: str, recipe: str, overwrite: bool) -> Path:
    """Save a mix as an embedding. recipe: such as `dusk:0.7 dawn:-0.3`."""
    if not recipe.strip():
        raise AestheticError("Write what to blend, such as: dusk:0.7 pale sea:-0.3")
    check_name(name)
    return host.library.save(host.library.blend(from_text(recipe, host.library), name), overwrite=overwrite)


def export(name: str) -> Path:
    """Save a copy of the embedding as safetensors, in a new temporary folder."""
    path = Path(tempfile.mkdtemp(), name.split("/")[-1] + SUFFIX)
    return host.library.get(name).save(path)


def set_preview(name: str, picture: Image.Image | None) -> Path:
    """Save a picture, scaled down, as the embedding's preview."""
    if picture is None:
        raise AestheticError("There is no picture yet. Drop one into the frame first.")
    small = to_rgb(picture)
    small.thumbnail((512, 512))
    data = io.BytesIO()
    small.save(data, "PNG")
    return host.library.set_preview(name, data.getvalue())


def preview(name: str) -> Image.Image | None:
    path = host.library.preview(name)
    with suppress(OSError, AestheticError):
        return None if path is None else read(path)
    return None


def _server_path(path: str) -> Path:
    """The path that a user typed or pasted, perhaps in quotation marks."""
    if not host.allows_server_paths():
        raise AestheticError("This host was started with --hide-ui-dir-config, so it takes no paths of the server.")
    return Path(path.strip().strip("\"'")).expanduser()
