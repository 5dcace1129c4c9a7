"""Writes a picture's aesthetic into its infotext and reads it back, with the same keys in every host.

Each value has a key, and defaults are left out, so the keys and the defaults are a file format. Each embedding comes
with the first digits of its content hash, in the order of the mix, so that a renamed file is found.

The old extension wrote eight keys. Some have the same names as ours. "Aesthetic LR", which it always wrote, tells its
infotext apart.
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
OUR_KEYS = (*SIDES.values(), *HASHES.values(), *SETTINGS.values(), HIRES_PASS, SIMILARITY, ERROR, TAGS)

OLD_EXTENSION_KEY = "Aesthetic LR"

_LARGEST = 2**53  # the page's JSON holds no larger whole number

T = TypeVar("T", bool, int, float, str)


# ---------------------------------------------------------------- writing


def clear(params: dict[str, Any]) -> None:
    """Remove what an earlier run of the job wrote. Infotext of the old extension stays."""
    if OLD_EXTENSION_KEY not in params:
        for key in OUR_KEYS:
            params.pop(key, None)


def write(params: dict[str, Any], request: Request, library: Library) -> None:
    """Write the request's embeddings and settings."""
    for side, target in {"embedding": request.positive, "negative": request.negative}.items():
        if side == "embedding" and request.from_pictures and target is not None:
            params[SIDES[side]] = target.embedding.name  # no hash: it is stored nowhere
        elif target is not None:
            text = target.embedding.name
            names = library.resolve(from_text(text, library)).names
            hashes = " ".join(library.get(name).content_hash[:HASH] for name in names)
            params |= {SIDES[side]: _quoted(text), HASHES[side]: hashes}
    write_settings(params, request)


def write_settings(params: dict[str, Any], request: Request) -> None:
    for f in dataclasses.fields(Settings):
        value = getattr(request.settings, f.name)
        if value != f.default:
            params[SETTINGS[f.name]] = _quoted(value) if isinstance(value, str) else str(value)
    if not request.hires:
        params[HIRES_PASS] = "off"


def write_tags(params: dict[str, Any], names: list[str], library: Library) -> None:
    """Write the content hashes of the names in a prompt's tags, in the format that hosts use for LoRAs."""
    mixes = [(name, library.resolve(from_text(name, library))) for name in dict.fromkeys(names)]
    entries = [f"{name}: {library.get(mix.names[0]).content_hash[:HASH]}" for name, mix in mixes]
    params[TAGS] = ", ".join(entries)


def write_similarity(params: dict[str, Any], lines: list[str]) -> None:
    """Write the similarity before and after tuning for each picture of a batch.

    It is for people and never read back. Arrows become ASCII, since some tools drop them.
    """
    texts = [text.replace("→", "->") or None for text in lines]
    params.pop(SIMILARITY, None)
    if len(set(texts)) > 1:
        params[SIMILARITY] = _OfEachPicture(texts)
    elif any(texts):
        params[SIMILARITY] = texts[0]


class _OfEachPicture(list[Any]):
    """Hosts take each picture's own (modules/processing.py, create_infotext), and leave out None.

    Most take a function as well, but Forge Classic makes JSON of what stands here.
    """

    def __getitem__(self, index: Any) -> Any:
        """None behind the end: before hires, hosts count over all batches."""
        return super().__getitem__(index) if index < len(self) else None


def write_errors(params: dict[str, Any], sentences: list[str]) -> None:
    params.pop(ERROR, None)
    if sentences:
        params[ERROR] = " ".join(dict.fromkeys(sentences))


def _quoted(value: str) -> str:
    """The value, quoted where hosts would not read it back as it is.

    Hosts quote a value with a comma, a colon or a newline (modules/infotext_utils.py, quote), and strip quotation marks
    and spaces from all others.
    """
    quoted = any(mark in value for mark in ",:\n")
    return value if quoted or value.strip(' "') == value else json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- reading


@dataclasses.dataclass(frozen=True)
class Pasted:
    """A parsed infotext. values: the accordion's, by name. unreadable: keys whose values could not be parsed."""

    values: dict[str, Any]
    unreadable: tuple[str, ...] = ()


def read(params: Mapping[str, Any], library: Library) -> Pasted:
    """The accordion's values from a picture's parameters, as parsed by the host.

    Without any aesthetic key the accordion is switched off, and its other values stay as they are.
    """
    if not any(_raw(params, key) is not None for key in (OLD_EXTENSION_KEY, *OUR_KEYS)):
        return Pasted({"enabled": False})
    library.refresh()
    if OLD_EXTENSION_KEY in params:
        return _read_old_extension(params)
    values, parameters = dict(DEFAULTS), _Fields(params)
    for f in dataclasses.fields(Settings):
        default: Any = f.default
        values[f.name] = parameters.get(SETTINGS[f.name], default)
    for side in SIDES:
        if text := _raw(params, SIDES[side]):
            values[side] = _current_names(text, _raw(params, HASHES[side]) or "", library)
            values["enabled"] = True
    if is_from_pictures(params):
        values |= {"enabled": False, "embedding": NONE}
    if _raw(params, HIRES_PASS) == "off":
        values["hires"] = HIRES[1]
    return Pasted(values, tuple(parameters.unreadable))


class _Fields:
    """The parameters, converted to the types of their defaults."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self.unreadable: list[str] = []

    def get(self, key: str, default: T) -> T:
        """The value of `key` in the default's type, or the default if it is missing, unreadable or out of all range."""
        raw = _raw(self._params, key)
        if raw is None:
            return default
        try:
            if isinstance(default, bool):
                return {"True": True, "False": False}[str(raw)]
            value = type(default)(raw)
            if isinstance(value, (int, float)) and not abs(value) <= _LARGEST:  # nan, too
                raise ValueError
        except (ValueError, KeyError):
            self.unreadable.append(key)
            return default
        return value


def is_from_pictures(params: Mapping[str, Any]) -> bool:
    """Whether the picture was made with reference pictures, which are not stored."""
    name = re.fullmatch(r"\d+ pictures?", str(params.get(SIDES["embedding"], "")))
    return name is not None and HASHES["embedding"] not in params and OLD_EXTENSION_KEY not in params


# ---------------------------------------------------------------- pasting

#: The last paste: its parameters, our part of them, and the result. Hosts ask for the value of each field in turn.
_last_paste: tuple[Mapping[str, Any], dict[str, Any], Pasted] | None = None


def _pasted(params: Mapping[str, Any]) -> Pasted:
    """`read`, done once for all fields of a paste."""
    global _last_paste
    ours = {key: value for key, value in params.items() if key.startswith("Aesthetic")}
    if _last_paste is None or _last_paste[0] is not params or _last_paste[1] != ours:
        _last_paste = params, ours, read(params, host.library)
    return _last_paste[2]


def paste_fields(parts: Mapping[str, Any]) -> list[tuple[Any, Callable[[Mapping[str, Any]], Any]]]:
    """The components and the functions that return their pasted values, for a script's `infotext_fields`.

    Functions rather than keys, since a value without a key must be set to its default.
    """

    def reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
        def read(params: Mapping[str, Any]) -> Any:
            value = _pasted(params).values.get(name)
            return gr.update(value=value) if host.PASTES_UPDATES and value is not None else value

        return read

    names = [name for name in DEFAULTS if name != "pictures"]
    return [(parts[name], READERS.setdefault(name, reader(name))) for name in names]


def cleared_pictures(params: Mapping[str, Any]) -> Any:
    """An update that clears the accordion's reference pictures, which would override the pasted embedding."""
    return gr.update(value=None) if "embedding" in _pasted(params).values else None


#: Name -> function. The accordions of both tabs share them: "Send to" matches the tabs' fields by their functions.
READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {}


def on_paste(infotext: str, params: dict[str, Any]) -> None:
    """Update the names in tags to those that the files have now, and warn of what is missing.

    Hosts call it before they ask for the fields.
    """
    global _last_paste
    _last_paste = None  # the library may have changed since
    pasted, library = _pasted(params), host.library
    names = {name: library.pinned(name, digest) for name, digest in _tag_hashes(str(params.get(TAGS, ""))).items()}
    for key in ("Prompt", "Negative prompt", "Hires prompt", "Hires negative prompt"):
        if key in params:
            params[key] = tags.rename_in_prompt(params[key], names)
    if pasted.unreadable:
        gr.Warning(f"Aesthetic gradients: unreadable, so the default is used: {', '.join(pasted.unreadable)}.")
    if is_from_pictures(params):
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
    hashes, parts = {}, []
    for part in text.split(", "):
        parts.append(part)
        name, _, digest = part.rpartition(": ")
        if name and _is_hash(digest):
            hashes[", ".join([*parts[:-1], name])] = digest
            parts = []
    return hashes


def _is_hash(text: str) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{{HASH}}}", text) is not None


def _raw(params: Mapping[str, Any], key: str) -> str | None:
    """The text under `key`, or None.

    Hosts split a text such as 512x512 into two keys (modules/infotext_utils.py), and SD.Next makes numbers of digits.
    """
    if f"{key}-1" in params and f"{key}-2" in params:
        return f"{params[f'{key}-1']}x{params[f'{key}-2']}"
    value = params.get(key)
    return None if value is None else str(value)


def _current_names(text: str, hashes: str, library: Library) -> str:
    """The mix with the names that its aesthetics have in this library."""
    digests = [digest.zfill(HASH) for digest in hashes.split()]  # a number has lost its leading zeros
    content_hashes = [digest for digest in digests if _is_hash(digest)]
    try:
        parts = from_text(text, library).parts
    except AestheticError:  # not a mix: the report of the generation says so
        return text
    if len(parts) != len(content_hashes):
        return text
    pairs = zip(parts, content_hashes, strict=True)
    return str(Mix(tuple((library.pinned(name, digest), weight) for (name, weight), digest in pairs)))


# ---------------------------------------------------------------- the old extension's pictures


def _read_old_extension(params: Mapping[str, Any]) -> Pasted:
    """Read the old extension's eight keys. It tuned another encoder, so the picture will not be the same."""
    parameters, text = _Fields(params), str(_raw(params, "Aesthetic text") or "")
    negative = parameters.get("Aesthetic text negative", False)
    angle = parameters.get("Aesthetic slerp angle", 0.1)
    values = {
        "enabled": True,
        "embedding": _raw(params, "Aesthetic embedding") or NONE,
        "steps": parameters.get("Aesthetic steps", 5),
        "epsilon": parameters.get(OLD_EXTENSION_KEY, 1e-4),
        "weight": parameters.get("Aesthetic weight", 0.9),
        "blend": "slerp" if parameters.get("Aesthetic slerp", False) else "lerp",
        "text": text,
        "text_negative": negative,
    }
    if text:
        values["text_strength"] = round(text_strength_of_angle(angle, negative), 2)
    return Pasted(DEFAULTS | values, tuple(parameters.unreadable))


def text_strength_of_angle(angle: float, negative: bool) -> float:
    """The old extension's slerp angle as our `text_strength`, the fraction of the arc from e to the text t.

    The old extension used t as CLIP returns it, with a norm of about n = 10. It turned the unit vector e to
    `sin((1 - a) w) e + sin(a w) n t`, which lies at `atan2(n sin(a w) sin w, sin((1 - a) w) + n sin(a w) cos w)` of the
    arc w: a = 0.1 is 0.6 of the way. With a negative text it went the fraction a of the arc to `e - n t`, which is a
    little shorter than ours, to -t. The arc w is assumed to be that of a picture and a text in CLIP: cos w = 0.2.
    """
    norm, arc = 10.0, math.acos(0.2)
    if negative:
        return angle * math.atan2(norm * math.sin(arc), 1 - norm * math.cos(arc)) / (math.pi - arc)
    along_text, along_e = norm * math.sin(angle * arc), math.sin((1 - angle) * arc)
    return math.atan2(along_text * math.sin(arc), along_e + along_text * math.cos(arc)) / arc
