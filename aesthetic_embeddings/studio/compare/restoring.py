"""The request that a saved picture came from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from ...aesthetics.library import Library
from ...aesthetics.mixes import Mix, from_arguments, from_text
from ...diffusion.png_metadata import read_about
from ...errors import AestheticError, quoted
from ...settings import Settings
from ...ui import text_fields, widgets
from ..state import Studio
from .request import GRID, LAYOUTS, MAX_ROWS, PAIRS, STRIP, number

MAX_PIXELS = 64_000_000
_OLD_LAYOUTS = {"A strip over steps": STRIP, "A grid of aesthetics": GRID}  # as version 0.1 wrote them


def restored(studio: Studio, path: Path) -> tuple[dict[str, Any], str]:
    """The form's values, by name, and a sentence on what was restored.

    Raises AestheticError where the file is no picture with settings, or one that is too large.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise AestheticError(f"{path} is too large: {image.width} × {image.height} pixels.")
        about = read_about(path)
        values = _values(about)
        name, content_hash = str(about["aesthetic"]), str(about["aesthetic_hash"])
    except AestheticError as error:
        raise AestheticError(str(error).replace(str(path), path.name)) from error
    except (KeyError, TypeError, ValueError, IndexError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise AestheticError(f"{path.name} is not a picture with settings that this version knows.") from error

    sentences = [f"Settings restored from {path.name}."]
    if about.get("model") != studio.engine.model:
        sentences.append(
            f"The picture was made with {str(about.get('model'))[:80]}; this studio runs {studio.engine.model}."
        )
    if here := _name_here(studio, name, content_hash):
        values["aesthetic"] = here
    else:
        sentences.append(f"Its aesthetic {quoted(name)} is not here: import the file in the tab Library.")
    if isinstance(about.get("aesthetics"), list):
        values["grid"] = [name for name in studio.aesthetics() if name in about["aesthetics"]][:MAX_ROWS]
    return values, " ".join(sentences)


def _values(about: dict[str, Any]) -> dict[str, Any]:
    seeds = about.get("seeds") or [about.get("seed", -1)]
    layout = about.get("sheet", PAIRS)
    layout = _OLD_LAYOUTS.get(layout, layout)
    settings = Settings(**about["settings"])
    return {
        "prompt": str(about["prompt"])[: text_fields.PROMPT],
        "negative_prompt": str(about.get("negative_prompt", ""))[: text_fields.PROMPT],
        "layout": layout if layout in LAYOUTS.values() else PAIRS,
        "seed": number("seed", seeds[0]),
        "count": number("count", len(seeds)),
        "sampler_steps": number("sampler_steps", about["sampler_steps"]),
        "cfg": number("cfg", about["cfg"]),
        **{name: getattr(settings, name) for name in widgets.FIELDS},
    }


def _name_here(studio: Studio, name: str, content_hash: str) -> str:
    """What names the aesthetic with this content here: a name or a mix; empty where it is not in the library."""
    if found := studio.library.find(content_hash):
        return found.name
    library = studio.library
    for read in (from_text, _from_old_text):
        with suppress(AestheticError):
            e = library.blend(read(name, library))
            if e.content_hash == content_hash:
                return e.name
    return ""


def _from_old_text(text: str, library: Library) -> Mix:
    """The mix that pictures of version 0.1 name as a=0.7 b=0.3."""
    return from_arguments(text.split(), library)
