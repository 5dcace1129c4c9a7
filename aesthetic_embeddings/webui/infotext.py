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
from typing import Any

import gradio as gr

from ..aesthetics.library import Library
from ..aesthetics.mixes import HASH, Mix, from_text
from ..errors import AestheticError
from ..settings import Settings
from . import host, tags
from .request import DEFAULTS, HIRES, NONE, Plan

SIDES = {"embedding": "Aesthetic embedding", "negative": "Aesthetic negative"}
HASHES = {"embedding": "Aesthetic hash", "negative": "Aesthetic negative hash"}
SETTINGS = {f.name: f"Aesthetic {f.name.replace('_', ' ')}" for f in dataclasses.fields(Settings)}
HIRES_PASS, SIMILARITY, ERROR = "Aesthetic hires", "Aesthetic similarity", "Aesthetic error"
TAGS = "Aesthetic tag hashes"
OURS = (*SIDES.values(), *HASHES.values(), *SETTINGS.values(), HIRES_PASS, SIMILARITY, ERROR, TAGS)

OLD = "Aesthetic LR"


# ---------------------------------------------------------------- writing


def clear(params: dict[str, Any]) -> None:
    """Take out what an earlier run of the job wrote; a picture that the old extension makes is its own."""
    if OLD not in params:
        for key in OURS:
            params.pop(key, None)


def write(params: dict[str, Any], plan: Plan, library: Library) -> None:
    """Write down what makes this plan."""
    for side, target in {"embedding": plan.positive, "negative": plan.negative}.items():
        if side == "embedding" and plan.from_pictures and target is not None:
            params[SIDES[side]] = target.embedding.name  # without a hash: it cannot be had again
        elif target is not None:
            text = target.embedding.name
            names = library.resolve(from_text(text, library)).names
            hashes = " ".join(library.get(name).content_hash[:HASH] for name in names)
            params |= {SIDES[side]: _text(text), HASHES[side]: hashes}
    write_settings(params, plan)


def write_settings(params: dict[str, Any], plan: Plan) -> None:
    for f in dataclasses.fields(Settings):
        value = getattr(plan.settings, f.name)
        if value != f.default:
            params[SETTINGS[f.name]] = _text(value) if isinstance(value, str) else str(value)
    if not plan.hires:
        params[HIRES_PASS] = "off"


def write_tags(params: dict[str, Any], names: list[str], library: Library) -> None:
    """The contents behind the names in a prompt's tags, as hosts write those of LoRAs."""
    parts = [(name, library.resolve(from_text(name, library))) for name in dict.fromkeys(names)]
    each = [f"{name}: {library.get(mix.names[0]).content_hash[:HASH]}" for name, mix in parts]
    params[TAGS] = ", ".join(each)


def write_similarity(params: dict[str, Any], before_and_after: str) -> None:
    """For people; not read back. Without the arrow, which not every tool reads."""
    params.pop(SIMILARITY, None)
    if before_and_after:
        params[SIMILARITY] = before_and_after.replace("→", "->")


def add_error(params: dict[str, Any], sentence: str) -> None:
    said = params.get(ERROR, "")
    if sentence not in said:
        params[ERROR] = f"{said} {sentence}".strip()


def _text(value: str) -> str:
    """As hosts read it back. They quote what has a comma, a colon or a newline (modules/infotext_utils.py, quote), but
    drop quotation marks and spaces around anything else."""
    quoted = any(mark in value for mark in ",:\n")
    return value if quoted or value.strip(' "') == value else json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- reading


def read(params: Mapping[str, Any], library: Library) -> dict[str, Any]:
    """The accordion's values by name, from a picture's parameters as the host has parsed them.

    Where nothing is said of an aesthetic it is off, and the rest is left as it is.
    """
    if OLD in params:
        return _old(params)
    if not any(_raw(params, key) is not None for key in OURS):
        return {"enabled": False}
    values = dict(DEFAULTS)
    for f in dataclasses.fields(Settings):
        if (raw := _raw(params, SETTINGS[f.name])) is not None:
            values[f.name] = _as(type(f.default), raw)
    for side in SIDES:
        if text := _raw(params, SIDES[side]):
            values[side] = _here(text, _raw(params, HASHES[side]) or "", library)
            values["enabled"] = True
    if made_of_pictures(params):
        values |= {"enabled": False, "embedding": NONE}
    if _raw(params, HIRES_PASS) == "off":
        values["hires"] = HIRES[1]
    return values


def made_of_pictures(params: Mapping[str, Any]) -> bool:
    """Whether the aesthetic is gone with the pictures that it was made of."""
    said = re.fullmatch(r"\d+ pictures?", params.get(SIDES["embedding"], ""))
    return said is not None and HASHES["embedding"] not in params and OLD not in params


def fields(parts: Mapping[str, Any]) -> list[tuple[Any, Callable[[Mapping[str, Any]], Any]]]:
    """What hosts want as a script's `infotext_fields`: components, and functions that know their values.

    Functions, since a default must be set as well, for which there is no key.
    """

    def reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
        return lambda params: read(params, host.library).get(name)

    names = [name for name in DEFAULTS if name != "pictures"]
    return [(parts[name], READERS.setdefault(name, reader(name))) for name in names]


def without_pictures(params: Mapping[str, Any]) -> Any:
    """For the field of the accordion's own pictures: they would go before the pasted embedding."""
    return gr.update(value=None) if "embedding" in read(params, host.library) else None


#: By name. "Send to" finds the other tab's field of the same value by its function, so both tabs have the same ones.
READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {}


def pasted(infotext: str, params: dict[str, Any]) -> None:
    """Give the prompt's tags their names of now, and say what is not here as soon as it is pasted."""
    library = host.library
    contents = dict(re.findall(rf"(\S.*?): ([0-9a-f]{{{HASH}}})(?:, |$)", params.get(TAGS, "")))
    names = {name: library.pinned(name, content) for name, content in contents.items()}
    for key in ("Prompt", "Negative prompt", "Hires prompt", "Hires negative prompt"):
        if key in params:
            params[key] = tags.renamed(params[key], names)
    values = read(params, library)
    if made_of_pictures(params):
        gr.Warning(
            f"Aesthetic gradients: made with {params[SIDES['embedding']]}, which are not kept. Drop them in again."
        )
    for side in SIDES:
        try:
            if values.get(side, NONE) != NONE:
                library.resolve(from_text(values[side], library))
        except AestheticError as error:
            gr.Warning(f"Aesthetic gradients: {error}")


def _raw(params: Mapping[str, Any], key: str) -> str | None:
    """Hosts take a text such as 512x512 apart, under two keys (modules/infotext_utils.py)."""
    if f"{key}-1" in params and f"{key}-2" in params:
        return f"{params[f'{key}-1']}x{params[f'{key}-2']}"
    return params.get(key)


def _as(kind: type, raw: str) -> Any:
    if kind is bool:
        return raw == "True"
    return kind(raw)


def _here(text: str, hashes: str, library: Library) -> str:
    """The same aesthetics by the names that they have here."""
    library.refresh()
    contents = [content for content in hashes.split() if re.fullmatch(rf"[0-9a-f]{{{HASH}}}", content)]
    try:
        parts = from_text(text, library).parts
    except AestheticError:  # a mix that is none: it is said where it is used
        return text
    if len(parts) != len(contents):
        return text
    named = zip(parts, contents, strict=True)
    return str(Mix(tuple((library.pinned(name, content), weight) for (name, weight), content in named)))


# ---------------------------------------------------------------- the old extension's pictures


def _old(params: Mapping[str, Any]) -> dict[str, Any]:
    """Its eight keys. It tuned another encoder, so the picture will not be the same, but the wishes are."""
    text = _raw(params, "Aesthetic text") or ""
    negative = params.get("Aesthetic text negative") == "True"
    angle = float(params.get("Aesthetic slerp angle", 0.1))
    values = {
        "enabled": True,
        "embedding": _raw(params, "Aesthetic embedding") or NONE,
        "steps": int(params.get("Aesthetic steps", 5)),
        "epsilon": float(params[OLD]),
        "weight": float(params.get("Aesthetic weight", 0.9)),
        "blend": "slerp" if params.get("Aesthetic slerp") == "True" else "lerp",
        "text": text,
        "text_negative": negative,
    }
    if text:
        values["text_strength"] = round(old_strength(angle, negative), 2)
    return DEFAULTS | values


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
