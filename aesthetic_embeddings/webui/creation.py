"""What the tab does: pictures in, an embedding out, and the encoder that it takes. Without gradio."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from ..aesthetics.creation import Creation, create_with_report, may_be_a_picture, to_rgb
from ..aesthetics.embedding import SUFFIX, AestheticEmbedding, merge
from ..aesthetics.library import check_name
from ..aesthetics.mixes import from_text
from ..errors import AestheticError, FileError, Interrupted, out_of_memory
from ..text_encoder.last_layer import fetch_last_layer, last_layer_is_here
from ..text_encoder.projection import fetch_projection, text_projection
from . import host

#: Told of work under way: how much is done, of how much (0 where that is unknown), and in words.
Report: TypeAlias = Callable[[float, float, str], object]

_stop = threading.Event()  # the tab's own Interrupt: the host's would hit whatever job runs at the time


def interrupt() -> None:
    """Stop what the tab has under way, or has waiting in the host's queue."""
    _stop.set()


# ---------------------------------------------------------------- encoders


@dataclass(frozen=True)
class Encoder:
    """A CLIP that looks at pictures, as it is published on the hub.

    name: of the folder for it, and in what it makes; family: whose vectors it makes (see ../families.py); gigabytes:
    the size of its weights; files: all that is needed of the repository, in one folder, the configuration first.
    """

    label: str
    name: str
    repository: str
    family: str
    gigabytes: float
    files: tuple[str, ...] = ("config.json", "preprocessor_config.json", "model.safetensors")

    @property
    def folder(self) -> Path:
        """Where it is looked for first, and where people without network may put it."""
        return host.encoder_folder() / self.name


ENCODERS = (
    Encoder(
        label="CLIP ViT-L/14",
        name="clip-vit-large-patch14",
        repository="openai/clip-vit-large-patch14",
        family="clip-vit-l-14",
        gigabytes=1.71,
    ),
    Encoder(
        label="OpenCLIP ViT-H/14",
        name="CLIP-ViT-H-14-laion2B-s32B-b79K",
        repository="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        family="open-clip-vit-h-14",
        gigabytes=3.94,
    ),
    Encoder(
        label="OpenCLIP ViT-bigG/14",
        name="CLIP-ViT-bigG-14-laion2B-39B-b160k",
        repository="h94/IP-Adapter",  # its image encoder alone, in half precision: the whole CLIP is 10 GB
        family="open-clip-vit-bigg-14",
        gigabytes=3.69,
        files=("sdxl_models/image_encoder/config.json", "sdxl_models/image_encoder/model.safetensors"),
    ),
)


def located(encoder: Encoder) -> Path | None:
    """The folder that holds it on this machine: that of the host, or one in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    if (encoder.folder / "config.json").is_file():
        return encoder.folder
    found = [try_to_load_from_cache(encoder.repository, name) for name in (encoder.files[0], encoder.files[-1])]
    return Path(found[0]).parent if all(isinstance(path, str) for path in found) else None


def usable(encoders: Sequence[Encoder], folder: str = "") -> dict[str, str]:
    """What `create_with_report` takes for them: folder -> the encoder's name, or "" for the folder's own.

    folder: one that people at the page have typed; it stands for all. Raises AestheticError where an encoder is not
    here.
    """
    if folder.strip():
        return {str(_typed(folder)): ""}
    if not encoders:
        raise AestheticError("Choose an encoder, or several for several models.")
    found = {}
    for encoder in encoders:
        place = located(encoder)
        if place is None:
            raise AestheticError(
                f"{encoder.label} is not on this machine yet. Download it ({encoder.gigabytes:.2f} GB) by the button "
                "above, or type the folder of a CLIP into Encoder folder."
            )
        found[str(place)] = encoder.name
    return found


def download(encoder: Encoder, report: Report) -> None:
    """Fetch the encoder's files into the hub's cache. What is there already is not fetched again, nor half of it.

    By a process of its own, which can be ended at any time; and not in the host's queue: it takes minutes of network,
    and nothing of the host.
    """
    from huggingface_hub import constants

    code = "import sys, huggingface_hub as hub\nfor name in sys.argv[2:]: hub.hf_hub_download(sys.argv[1], name)"
    arriving = Path(constants.HF_HUB_CACHE, "models--" + encoder.repository.replace("/", "--"), "blobs")
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}  # xet's parts would not be counted below
    _stop.clear()
    clock, size = Clock(), encoder.gigabytes
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-c", code, encoder.repository, *encoder.files]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=os.environ | quiet) as process:
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
                f"{encoder.label} could not be downloaded: {said[-1]} Check the network and try again, or put "
                f"{', '.join(encoder.files)} of https://huggingface.co/{encoder.repository} into {encoder.folder}."
            )


# ---------------------------------------------------------------- what checkpoints lack


@dataclass(frozen=True)
class Piece:
    """A part of a CLIP that some models come without, and that is needed to generate with them."""

    name: str
    needed: str
    size: str
    is_here: Callable[[], bool]
    fetch: Callable[[Callable[[int, int], object]], Path]

    def download(self, report: Report) -> Path:
        _stop.clear()

        def on_progress(done: int, total: int) -> None:
            if _stop.is_set():
                raise Interrupted("Interrupted. Nothing was saved.")
            report(done, total, f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")

        return self.fetch(on_progress)


def _projection_is_here() -> bool:
    try:
        text_projection(768)
    except AestheticError:
        return False
    return True


PIECES = [
    Piece("text projection", "which SD1, SDXL and Flux need", "2.4 MB", _projection_is_here, fetch_projection),
]
if host.LEAVES_LAST_LAYER_OUT:
    needed = "which SD2 needs where its checkpoint does not hold it"
    PIECES.append(Piece("last layer of OpenCLIP ViT-H/14", needed, "55 MB", last_layer_is_here, fetch_last_layer))


# ---------------------------------------------------------------- creating

#: What to do where the name is taken. Adding is for the same pictures, seen by the CLIP of another model.
TAKEN = (REFUSE, REPLACE, ADD) = ("refuse", "replace", "add to it")


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
    encoders: Sequence[Encoder],
    encoder_folder: str,
    batch_size: int,
    taken: str,
    report: Report,
) -> tuple[list[Creation], AestheticEmbedding, Path]:
    """Make an embedding of some pictures and save it, in the host's queue; returns what each encoder saw as well.

    taken: what to do where there is one of that name, of TAKEN. encoder_folder: see `usable`. Nothing is begun where
    the name is no good or taken, or something is missing.
    """
    if not chosen:
        raise AestheticError("There are no pictures yet. Upload some, or give a folder on the server.")
    if not name:
        raise AestheticError("Give the new embedding a name.")
    known = [host.library.get(name)] if taken == ADD else []
    host.library.check_free(name) if taken == REFUSE else check_name(name)
    sources = usable(encoders, encoder_folder)
    _stop.clear()
    report(0, 0, "Waiting until the host is free")
    seen = []
    with host.job(f"Create aesthetic embedding {name}"):
        for folder, called in sources.items():
            found = gathered(chosen, folder, name, batch_size, _counting(report, called if len(sources) > 1 else ""))
            seen.append(replace(found, embedding=replace(found.embedding, encoder=called or found.embedding.encoder)))
        parts = [*known, *(found.embedding for found in seen)]
        embedding = merge(parts, name) if len(parts) > 1 else parts[0]
        return seen, embedding, host.library.save(embedding, overwrite=taken != REFUSE)


def gathered(
    chosen: Sequence[Path | Image.Image],
    encoder: str,
    name: str,
    batch_size: int,
    on_progress: Callable[[int, int], None],
) -> Creation:
    """Where the host would look at pictures; where memory is short there even for one of them, on the CPU."""
    device = host.image_device()
    try:
        return create_with_report(list(chosen), encoder, name, batch_size, on_progress, device=device)
    except Exception as error:
        if str(device) == "cpu" or not any(out_of_memory(e) for e in (error, error.__cause__) if e):
            raise
    host.free_memory()  # outside of `except`, whose traceback would hold on to it
    return create_with_report(list(chosen), encoder, name, batch_size, on_progress)


def _counting(report: Report, who: str = "") -> Callable[[int, int], None]:
    """Tells of pictures done, and ends on Interrupt, the tab's or the host's. who: the encoder, where several look."""
    clock, prefix = Clock(), f"{who}: " if who else ""

    def on_progress(done: int, total: int) -> None:
        if _stop.is_set() or host.interrupted():
            raise Interrupted("Interrupted. Nothing was saved.")
        words = f"{done} of {total} pictures{clock.left(done, total)}" if done else "Loading the encoder"
        report(done, total, prefix + words)

    on_progress(0, 0)
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
        with suppress(OSError), Image.open(file) as image:  # it could be read a moment ago
            small = to_rgb(image)
            small.thumbnail((size, size))
            shown.append((small, f"{similarity:.2f} {Path(file).name}"))
    return shown


# ---------------------------------------------------------------- managing


def names() -> list[str]:
    """All that is in the library, with what cannot be chosen elsewhere: files that are no good, or there twice."""
    return sorted({entry.name for entry in host.library.entries}, key=str.casefold)


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
        if path is not None:
            with Image.open(path) as image:
                return to_rgb(image)
    return None


def _typed(path: str) -> Path:
    """A path of the server, as people paste it."""
    if not host.paths_are_open():
        raise AestheticError("This host was started with --hide-ui-dir-config, so it takes no paths of the server.")
    return Path(path.strip().strip("\"'")).expanduser()
