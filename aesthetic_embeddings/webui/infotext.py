"""What is written into a picture about its aesthetic, and read back: the same keys in every host.

One key for each value, and none for a default, so these names and the defaults are a file format. Embeddings come with
the first digits of their content hash, in the order of a mix, by which a renamed file is found.

The old extension wrote eight keys, some of them called as ours, and always "Aesthetic LR", which is not ours.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import gradio as gr

from ..aesthetics.library import Library
from ..aesthetics.mixes import HASH, Mix, from_text
from ..errors import AestheticError
from ..settings import Settings
from . import host, tags
from .request import DEFAULTS, HIRES, NONE, Request

SIDES = {"embedding": "Aesthetic embedding", "negative": "Aesthetic negative"}
HASHES = {"embedding": "Aesthetic hash", "negative": "Aesthetic negative hash"}
SETTINGS = {f.name: f"Aesthetic {f.name.replace('_', ' ')}" for f in dataclasses.fields(Settings)}
HIRES_PASS, SIMILARITY, ERROR = "Aesthetic hires", "Aesthetic similarity", "Aesthetic error"
TAGS = "Aesthetic tag hashes"
OURS = (*SIDES.values(), *HASHES.values(), *SETTINGS.values(), HIRES_PASS, SIMILARITY, ERROR, TAGS)

OLD = "Aesthetic LR"

T = TypeVar("T", bool, int, float, str)


# ---------------------------------------------------------------- writing


def clear(params: dict[str, Any]) -> None:
    """Take out what an earlier run of the job wrote; a picture that the old extension makes is its own."""
    if OLD not in params:
        for key in OURS:
            params.pop(key, None)


def write(params: dict[str, Any], request: Request, library: Library) -> None:
    """Write down what is requested."""
    for side, target in {"embedding": request.positive, "negative": request.negative}.items():
        if side == "embedding" and request.from_pictures and target is not None:
            params[SIDES[side]] = target.embedding.name  # without a hash: nobody else has it
        elif target is not None:
            text = target.embedding.name
            names = library.resolve(from_text(text, library)).names
            hashes = " ".join(library.get(name).content_hash[:HASH] for name in names)
            params |= {SIDES[side]: _text(text), HASHES[side]: hashes}
    write_settings(params, request)


def write_settings(params: dict[str, Any], request: Request) -> None:
    for f in dataclasses.fields(Settings):
        value = getattr(request.settings, f.name)
        if value != f.default:
            params[SETTINGS[f.name]] = _text(value) if isinstance(value, str) else str(value)
    if not request.hires:
        params[HIRES_PASS] = "off"


def write_tags(params: dict[str, Any], names: list[str], library: Library) -> None:
    """The contents behind the names in a prompt's tags, as hosts write those of LoRAs."""
    parts = [(name, library.resolve(from_text(name, library))) for name in dict.fromkeys(names)]
    each = [f"{name}: {library.get(mix.names[0]).content_hash[:HASH]}" for name, mix in parts]
    params[TAGS] = ", ".join(each)


def write_similarity(params: dict[str, Any], each: list[str]) -> None:
    """Before and after, of each picture of a batch. For people, not read back; some tools drop arrows."""
    texts = [text.replace("→", "->") or None for text in each]
    params.pop(SIMILARITY, None)
    if len(set(texts)) > 1:
        # hosts call it for each picture (modules/processing.py, create_infotext), and leave out what is None
        params[SIMILARITY] = lambda index=0, **_: texts[index] if index < len(texts) else None
    elif any(texts):
        params[SIMILARITY] = texts[0]


def write_errors(params: dict[str, Any], sentences: list[str]) -> None:
    params.pop(ERROR, None)
    if sentences:
        params[ERROR] = " ".join(dict.fromkeys(sentences))


def _text(value: str) -> str:
    """As hosts read it back. They quote what has a comma, a colon or a newline (modules/infotext_utils.py, quote), but
    drop quotation marks and spaces around anything else."""
    quoted = any(mark in value for mark in ",:\n")
    return value if quoted or value.strip(' "') == value else json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- reading


@dataclasses.dataclass(frozen=True)
class Pasted:
    """What an infotext means. values: the accordion's, by name. unreadable: keys whose value was not understood."""

    values: dict[str, Any]
    unreadable: tuple[str, ...] = ()


def read(params: Mapping[str, Any], library: Library) -> Pasted:
    """The accordion's values from a picture's parameters, as the host has parsed them.

    Where they mention no aesthetic it is off, and the rest is left as it is.
    """
    if not any(_raw(params, key) is not None for key in (OLD, *OURS)):
        return Pasted({"enabled": False})
    library.refresh()
    if OLD in params:
        return _read_old(params)
    values, fields = dict(DEFAULTS), _Fields(params)
    for f in dataclasses.fields(Settings):
        default: Any = f.default
        values[f.name] = fields.get(SETTINGS[f.name], default)
    for side in SIDES:
        if text := _raw(params, SIDES[side]):
            values[side] = _current_names(text, _raw(params, HASHES[side]) or "", library)
            values["enabled"] = True
    if made_of_pictures(params):
        values |= {"enabled": False, "embedding": NONE}
    if _raw(params, HIRES_PASS) == "off":
        values["hires"] = HIRES[1]
    return Pasted(values, tuple(fields.unreadable))


class _Fields:
    """Values by key, of their default's type."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self.unreadable: list[str] = []

    def get(self, key: str, default: T) -> T:
        """The default where there is none, or none that is finite and of the default's type."""
        raw = _raw(self._params, key)
        if raw is None:
            return default
        try:
            if isinstance(default, bool):
                return {"True": True, "False": False}[str(raw)]
            value = type(default)(raw)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError
        except (ValueError, KeyError):
            self.unreadable.append(key)
            return default
        return value


def made_of_pictures(params: Mapping[str, Any]) -> bool:
    """Whether it was made with reference pictures, which nobody else has."""
    name = re.fullmatch(r"\d+ pictures?", str(params.get(SIDES["embedding"], "")))
    return name is not None and HASHES["embedding"] not in params and OLD not in params


# ---------------------------------------------------------------- pasting

#: The last paste: hosts ask for each field's value by itself, with the same parameters.
_last: tuple[Mapping[str, Any], dict[str, Any], Pasted] | None = None


def _pasted(params: Mapping[str, Any]) -> Pasted:
    """What these parameters mean, read once for all fields of one paste."""
    global _last
    ours = {key: value for key, value in params.items() if key.startswith("Aesthetic")}
    if _last is None or _last[0] is not params or _last[1] != ours:
        _last = params, ours, read(params, host.library)
    return _last[2]


def fields(parts: Mapping[str, Any]) -> list[tuple[Any, Callable[[Mapping[str, Any]], Any]]]:
    """What hosts want as a script's `infotext_fields`: components, and functions that return their values.

    Functions, since a default must be set as well, for which there is no key.
    """

    def reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
        return lambda params: _pasted(params).values.get(name)

    names = [name for name in DEFAULTS if name != "pictures"]
    return [(parts[name], READERS.setdefault(name, reader(name))) for name in names]


def without_pictures(params: Mapping[str, Any]) -> Any:
    """For the field of the accordion's own pictures: they would take the place of the pasted embedding."""
    return gr.update(value=None) if "embedding" in _pasted(params).values else None


#: By name. "Send to" finds the other tab's field of the same value by its function, so both tabs have the same ones.
READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {}


def on_paste(infotext: str, params: dict[str, Any]) -> None:
    """Called before the fields are asked for. Gives tags the names that files have now; warns of what is missing."""
    global _last
    _last = None  # the files may be others by now
    pasted, library = _pasted(params), host.library
    names = {name: library.pinned(name, content) for name, content in _tag_hashes(str(params.get(TAGS, ""))).items()}
    for key in ("Prompt", "Negative prompt", "Hires prompt", "Hires negative prompt"):
        if key in params:
            params[key] = tags.renamed(params[key], names)
    if pasted.unreadable:
        gr.Warning(f"Aesthetic gradients: unreadable, so the default is used: {', '.join(pasted.unreadable)}.")
    if made_of_pictures(params):
        gr.Warning(
            f"Aesthetic gradients: made with {params[SIDES['embedding']]}, which are not stored. Drop them in again."
        )
    for side in SIDES:
        try:
            if pasted.values.get(side, NONE) != NONE:
                library.resolve(from_text(pasted.values[side], library))
        except AestheticError as error:
            gr.Warning(f"Aesthetic gradients: {error}")


def _tag_hashes(text: str) -> dict[str, str]:
    """Name -> content hash, from "dusk: 1a2b3c4d5e, pale, sea: 0123456789". In linear time."""
    found, parts = {}, []
    for part in text.split(", "):
        parts.append(part)
        name, _, content = part.rpartition(": ")
        if name and _is_hash(content):
            found[", ".join([*parts[:-1], name])] = content
            parts = []
    return found


def _is_hash(text: str) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{{HASH}}}", text) is not None


def _raw(params: Mapping[str, Any], key: str) -> Any:
    """Hosts take a text such as 512x512 apart, under two keys (modules/infotext_utils.py)."""
    if f"{key}-1" in params and f"{key}-2" in params:
        return f"{params[f'{key}-1']}x{params[f'{key}-2']}"
    return params.get(key)


def _current_names(text: str, hashes: str, library: Library) -> str:
    """The same aesthetics by the names that they have here."""
    contents = [content for content in hashes.split() if _is_hash(content)]
    try:
        parts = from_text(text, library).parts
    except AestheticError:  # not a mix: the generation's report says so
        return text
    if len(parts) != len(contents):
        return text
    each = zip(parts, contents, strict=True)
    return str(Mix(tuple((library.pinned(name, content), weight) for (name, weight), content in each)))


# ---------------------------------------------------------------- the old extension's pictures


def _read_old(params: Mapping[str, Any]) -> Pasted:
    """Its eight keys. It tuned another encoder, so the picture will not be the same, but what was asked for is."""
    fields, text = _Fields(params), str(_raw(params, "Aesthetic text") or "")
    negative = fields.get("Aesthetic text negative", False)
    angle = fields.get("Aesthetic slerp angle", 0.1)
    values = {
        "enabled": True,
        "embedding": _raw(params, "Aesthetic embedding") or NONE,
        "steps": fields.get("Aesthetic steps", 5),
        "epsilon": fields.get(OLD, 1e-4),
        "weight": fields.get("Aesthetic weight", 0.9),
        "blend": "slerp" if fields.get("Aesthetic slerp", False) else "lerp",
        "text": text,
        "text_negative": negative,
    }
    if text:
        values["text_strength"] = round(old_strength(angle, negative), 2)
    return Pasted(DEFAULTS | values, tuple(fields.unreadable))


def old_strength(angle: float, negative: bool) -> float:
    """The old extension's slerp angle as our `text_strength`, the fraction of the arc from e to the text t.

    It turned the unit vector e towards t as it came from CLIP, n = 10 long: to `sin((1 - a) w) e + sin(a w) n t`, which
    lies at `atan2(n sin(a w) sin w, sin((1 - a) w) + n sin(a w) cos w)` of the arc w: a = 0.1 is 0.6 of the way. Away
    from the text it went a of the arc to `e - n t`, which is a little short of ours, to -t. w is taken for that of a
    picture and a text in CLIP, cos w = 0.2.
    """
    n, w = 10.0, math.acos(0.2)
    if negative:
        return angle * math.atan2(n * math.sin(w), 1 - n * math.cos(w)) / (math.pi - w)
    far, near = n * math.sin(angle * w), math.sin((1 - angle) * w)
    return math.atan2(far * math.sin(w), near + far * math.cos(w)) / w
