"""What the tab does, without gradio: create, blend, export and preview embeddings, and find or download encoders."""

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

#: Called during work: how much is done, of how much (0 if unknown), and in words.
Report: TypeAlias = Callable[[float, float, str], object]

_stop = threading.Event()  # the tab's own Interrupt: the host's would hit whatever job runs at the time


def interrupt() -> None:
    """Stop what the tab has under way, or has waiting in the host's queue."""
    _stop.set()


# ---------------------------------------------------------------- encoders


def located(encoder: KnownEncoder) -> Path | None:
    """The folder that holds it on this machine: that of the host, or one in the hub's cache."""
    return encoder.located(host.encoder_folder())


def how_to_get(encoder: KnownEncoder) -> str:
    return (
        f"Download it ({encoder.gigabytes:.2f} GB) in the tab Create aesthetic embedding. Without a network, put "
        f"{encoder.file_names} of https://huggingface.co/{encoder.repository} into "
        f"{host.encoder_folder() / encoder.name}."
    )


def usable(encoders: Sequence[KnownEncoder | Path], folder: str = "") -> list[str]:
    """The folders of these encoders. folder: one that people at the page have typed; it stands for all.

    Raises AestheticError where an encoder is not here.
    """
    if folder.strip():
        return [str(_typed(folder))]
    if not encoders:
        raise AestheticError("Choose an encoder, or several for several models.")
    found = []
    for encoder in encoders:
        if isinstance(encoder, Path):
            found.append(str(encoder))
        elif place := located(encoder):
            found.append(str(place))
        else:
            raise AestheticError(
                f"{encoder.label} is not on this machine yet. {how_to_get(encoder)} Or type the folder of another CLIP "
                "into Encoder folder."
            )
    return found


def download(encoder: KnownEncoder, report: Report) -> None:
    """Fetch the encoder's files into the hub's cache. What is there already is not fetched again, nor half of it.

    By a process of its own, which can be ended at any time; and not in the host's queue: it takes minutes of network,
    and nothing of the host.
    """
    from huggingface_hub import constants

    code = "import sys, huggingface_hub as hub\nfor name in sys.argv[2:]: hub.hf_hub_download(sys.argv[1], name)"
    arriving = Path(constants.HF_HUB_CACHE, "models--" + encoder.repository.replace("/", "--"), "blobs")
    no_bars = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}  # xet's parts would not be counted below
    _stop.clear()
    clock, size = Clock(), encoder.gigabytes
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-c", code, encoder.repository, *encoder.files]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=os.environ | no_bars) as process:
            try:
                while process.poll() is None:
                    done = sum(file.stat().st_size for file in arriving.glob("*.incomplete")) / 1e9
                    report(done, size, f"{encoder.label}: {done:.2f} of {size:.2f} GB{clock.left(done, size)}")
                    if _stop.wait(0.5):
                        raise Interrupted("Interrupted. What has arrived is kept: Download goes on from there.")
            finally:
                process.kill()
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines() or ["no reason was given"]
            raise FileError(
                f"{encoder.label} could not be downloaded: {said[-1]} Check the network and try again. "
                f"{how_to_get(encoder)}"
            )


# ---------------------------------------------------------------- what checkpoints lack


#: What may be missing in this host.
PARTS: list[Part | NeutralEmbedding] = [
    TEXT_PROJECTION,
    *([LAST_LAYER] if host.LEAVES_LAST_LAYER_OUT else []),
    NEUTRAL,
]


def download_part(part: Part | NeutralEmbedding, report: Report) -> Path:
    """Fetch a part into our cache folder."""
    _stop.clear()

    def on_progress(done: int, total: int) -> None:
        if _stop.is_set():
            raise Interrupted("Interrupted. Nothing was saved.")
        report(done, total, f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")

    return part.fetch(on_progress)


# ---------------------------------------------------------------- creating


def pictures(uploads: Iterable[Any], path: str = "") -> list[Path]:
    """All that was chosen: uploaded files, in the order of their names, and a file or folder of the server.

    Of uploads, what cannot be a picture is left out, as it is of folders: browsers send all that a folder holds.
    """
    files = [Path(getattr(upload, "name", upload)) for upload in uploads]
    chosen = [file for file in files if may_be_a_picture(file) and not file.name.startswith(".")]
    chosen.sort(key=lambda file: (file.name, str(file)))
    return [*chosen, *([_typed(path)] if path.strip() else [])]


def create(
    name: str,
    chosen: list[Path],
    encoders: Sequence[KnownEncoder | Path],
    encoder_folder: str,
    batch_size: int,
    if_exists: str,
    report: Report,
    against: Sequence[Path] = (),
) -> tuple[tuple[Creation, ...], AestheticEmbedding, Path]:
    """Make an embedding of some pictures and save it, in the host's queue; also returns what each encoder made.

    if_exists: of IF_EXISTS. encoder_folder: see `usable`. against: ordinary pictures (see `create_with_report`).
    Checks the name and all inputs before any work.
    """
    if not chosen:
        raise AestheticError("There are no pictures yet. Upload some, or give a folder on the server.")
    if not name:
        raise AestheticError("Give the new embedding a name.")
    host.library.get(name) if if_exists == "add" else check_name(name)
    if if_exists == "refuse":
        host.library.check_free(name)
    sources = usable(encoders, encoder_folder)
    _stop.clear()
    report(0, 0, "Waiting until the host is free")
    with host.job(f"Create aesthetic embedding {name}"):
        made, file = create_in_library(
            host.library,
            name,
            chosen,
            sources,
            batch_size,
            _counting(report, several=len(sources) > 1),
            against=list(against) or None,
            if_exists=if_exists,
            device=host.image_device(),
            allow_pickle=host.allow_pickle(),
        )
        return made, host.library.get(name), file


def _counting(report: Report, several: bool) -> Callable[[str, int, int], None]:
    """Tells of pictures done, and ends on Interrupt, the tab's or the host's. several: whether encoders are named."""
    clocks: dict[str, Clock] = {}

    def on_progress(who: str, done: int, total: int) -> None:
        if _stop.is_set() or host.interrupted():
            raise Interrupted("Interrupted. Nothing was saved.")
        clock = clocks.setdefault(who, Clock())
        words = f"{done} of {total} pictures{clock.left(done, total)}" if done else "Loading the encoder"
        report(done, total, f"{who}: {words}" if several else words)

    return on_progress


class Clock:
    """Guesses the time that is left from the pace since the first news."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def left(self, done: float, total: float) -> str:
        """ ", about 12 s left", or nothing while there is no pace yet."""
        now = time.monotonic()
        if self._first is None and done:
            self._first = now, done
        start, before = self._first or (now, done)
        if done <= before or total <= done:
            return ""
        seconds = (now - start) / (done - before) * (total - done)
        return f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"


def thumbnails(found: Creation, count: int = 36, size: int = 256) -> list[tuple[Image.Image, str]]:
    """The first pictures, with their similarity to the mean, and their names."""
    shown = []
    for file, similarity in list(zip(found.files, found.similarities.tolist(), strict=True))[:count]:
        with suppress(OSError, AestheticError):  # it could be read a moment ago
            small = thumbnail(Path(file), size)
            shown.append((small, f"{similarity:.2f} {Path(file).name}"))
    return shown


# ---------------------------------------------------------------- managing


def names() -> list[str]:
    """All names in the library, also those that cannot be chosen elsewhere: unreadable files and duplicates."""
    return sorted({entry.name for entry in host.library.entries}, key=str.casefold)


def cards(size: int = 128) -> list[tuple[Image.Image, str]]:
    """A small picture of each of `names()`, and the name: the preview, or a color of its own."""
    return [(_small_preview(name, size) or Image.new("RGB", (size, size), _color(name)), name) for name in names()]


def _small_preview(name: str, size: int) -> Image.Image | None:
    path = host.library.preview(name)
    with suppress(OSError, AestheticError):
        return None if path is None else ImageOps.fit(thumbnail(path, 2 * size), (size, size))
    return None


def _color(name: str) -> str:
    return f"hsl({zlib.crc32(name.encode()) % 360}, 30%, 60%)"


def blend(new: str, recipe: str, overwrite: bool) -> Path:
    """Save the mix that `dusk:0.7 dawn:-0.3` means."""
    if not recipe.strip():
        raise AestheticError("Write what to blend, such as: dusk:0.7 pale sea:-0.3")
    check_name(new)
    return host.library.save(host.library.blend(from_text(recipe, host.library), new), overwrite=overwrite)


def export(name: str) -> Path:
    """A copy of the embedding as safetensors, in a new folder of the system's temporary one."""
    path = Path(tempfile.mkdtemp(), name.split("/")[-1] + SUFFIX)
    return host.library.get(name).save(path)


def set_preview(name: str, picture: Image.Image | None) -> Path:
    """Save a picture, reduced, as the embedding's preview."""
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


def _typed(path: str) -> Path:
    """A path of the server, as people paste it."""
    if not host.paths_are_open():
        raise AestheticError("This host was started with --hide-ui-dir-config, so it takes no paths of the server.")
    return Path(path.strip().strip("\"'")).expanduser()
