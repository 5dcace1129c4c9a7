"""Restores the form's values from a saved picture."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from ...aesthetics.library import Library
from ...aesthetics.mixes import LONGEST, Mix, from_arguments, from_text
from ...diffusion.png_metadata import read_metadata
from ...errors import AestheticError, quoted
from ...settings import Settings
from ...ui import text_fields, widgets
from ..state import Studio
from .request import GRID, LAYOUTS, MAX_ROWS, PAIRS, STRIP, number

MAX_PIXELS = 64_000_000
_OLD_LAYOUTS = {"A strip over steps": STRIP, "A grid of aesthetics": GRID}  # as version 0.1 wrote them


def restore_settings(studio: Studio, path: Path) -> tuple[dict[str, Any], str]:
    """The form's values, by name, and sentences about what was restored.

    Raises AestheticError if the file is not a picture with settings, or too large.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise AestheticError(f"{path} is too large: {image.width} × {image.height} pixels.")
        metadata = read_metadata(path)
        values = _values(metadata)
        name, content_hash = str(metadata["aesthetic"]), str(metadata["aesthetic_hash"])
    except AestheticError as error:
        raise AestheticError(str(error).replace(str(path), path.name)) from error
    except (KeyError, TypeError, ValueError, IndexError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise AestheticError(f"{path.name} is not a picture with settings that this version knows.") from error

    sentences = [f"Settings restored from {path.name}."]
    if metadata.get("model") != studio.engine.model:
        sentences.append(
            f"The picture was made with {str(metadata.get('model'))[:80]}; this studio runs {studio.engine.model}."
        )
    if current_name := _name_in_library(studio, name, content_hash):
        values["aesthetic"] = current_name
    else:
        sentences.append(f"Its aesthetic {quoted(name)} is not here: import the file in the tab Library.")
    if isinstance(metadata.get("aesthetics"), list):
        values["grid"] = [name for name in studio.supported_names() if name in metadata["aesthetics"]][:MAX_ROWS]
    return values, " ".join(sentences)


def _values(metadata: dict[str, Any]) -> dict[str, Any]:
    seeds = metadata.get("seeds") or [metadata.get("seed", -1)]
    layout = metadata.get("sheet", PAIRS)
    layout = _OLD_LAYOUTS.get(layout, layout)
    settings = Settings(**metadata["settings"])
    return {
        "prompt": str(metadata["prompt"])[: text_fields.PROMPT],
        "negative_prompt": str(metadata.get("negative_prompt", ""))[: text_fields.PROMPT],
        "layout": layout if layout in LAYOUTS.values() else PAIRS,
        "seed": number("seed", seeds[0]),
        "count": number("count", len(seeds)),
        "sampler_steps": number("sampler_steps", metadata["sampler_steps"]),
        "cfg": number("cfg", metadata["cfg"]),
        **{name: getattr(settings, name) for name in widgets.FIELDS},
    }


def _name_in_library(studio: Studio, name: str, content_hash: str) -> str:
    """The aesthetic with this content hash as a name or a mix of this library. Empty if it is not there."""
    if entry := studio.library.find(content_hash):
        return entry.name
    library = studio.library
    for parse in (from_text, _parse_old_mix) if len(name) <= LONGEST else ():
        with suppress(AestheticError):
            e = library.blend(parse(name, library))
            if e.content_hash == content_hash:
                return e.name
    return ""


def _parse_old_mix(text: str, library: Library) -> Mix:
    """Parse a mix in the format of version 0.1: a=0.7 b=0.3."""
    return from_arguments(text.split(), library)
