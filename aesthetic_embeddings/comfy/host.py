"""Everything the nodes use of ComfyUI. This is the only module that imports its modules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import comfy.model_management as model_management
import comfy.utils
import folder_paths
from safetensors import SafetensorError, safe_open

from ..aesthetics.library import Library

FOLDER = "aesthetic_embeddings"
PACKAGE = Path(__file__).resolve().parent.parent


def _folders() -> list[Path]:
    """The folders of aesthetics. New ones go to the first.

    They are `models/aesthetic_embeddings`, those under that name in `extra_model_paths.yaml`, ComfyUI's own folder, and
    our own package, since it has the name of the old WebUI extension's folder of files.
    """
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    return [*map(Path, folder_paths.get_folder_paths(FOLDER)), Path(folder_paths.base_path) / FOLDER, PACKAGE]


library = Library(_folders())


def projection_file() -> Path | None:
    """A file with CLIP ViT-L/14 and its text projection, such as Flux's `clip_l.safetensors`."""
    names = [name for name in folder_paths.get_filename_list("text_encoders") if "clip_l" in name.lower()]
    paths = [Path(folder_paths.get_full_path("text_encoders", name)) for name in names]
    return next((path for path in paths if path.suffix == ".safetensors" and _holds_projection(path)), None)


def _holds_projection(path: Path) -> bool:
    with contextlib.suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
        return "text_projection.weight" in file.keys()  # noqa: SIM118  # not a mapping
    return False


def progress(total: int) -> Callable[[], None]:
    """A callback for each of `total` steps. It moves the node's progress bar, and raises if the user cancels."""
    bar = comfy.utils.ProgressBar(total)

    def advance() -> None:
        model_management.throw_exception_if_processing_interrupted()
        bar.update(1)

    return advance


def free_memory() -> None:
    model_management.soft_empty_cache()


def text_encoders(model: Any) -> Iterable[Any]:
    """The CLIP text encoders of a `cond_stage_model` (comfy/sd1_clip.py, SDClipModel), without T5 and others."""
    encoders = (getattr(model, name, None) for name in ("clip_l", "clip_h", "clip_g"))
    return [encoder for encoder in encoders if encoder is not None]
