"""`<aesthetic:NAME:WEIGHT>` in a prompt, any number of them, perhaps with settings: `<aesthetic:dusk:1:steps=5>`.

The tags' aesthetics are added to the accordion's, which counts with weight 1. A tag works without the accordion's box;
what it does not set is set as in the accordion, and of several tags the last has its way. Where all weights together
are less than 1 the result is as much nearer to the plain one: a single tag of 0.5 is half of it, and of 0 nothing.

Hosts take the tags out of the prompt, of a batch only the first prompt's (modules/extra_networks.py), and of the hires
prompt apart. They leave the negative prompt alone, so its tags are taken out here: they are the negative prompt's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..aesthetics.embedding import blend
from ..aesthetics.library import Library
from ..aesthetics.mixes import from_text
from ..errors import AestheticError
from ..settings import Settings
from . import host
from .request import Plan, Target, as_epsilon, known

NAME = "aesthetic"
_TAG = re.compile(rf"<{NAME}:([^>]+)>")  # as modules/extra_networks.py, re_extra_net
_KINDS = {f.name: type(f.default) for f in fields(Settings)}


@dataclass(frozen=True)
class Tag:
    name: str
    weight: float
    settings: Mapping[str, Any]


def parsed(arguments: Sequence[str]) -> Tag:
    """What stands between the colons. Raises AestheticError where it is not as it should be."""
    place = [each for each in arguments if "=" not in each]
    if not 1 <= len(place) <= 2:
        raise AestheticError(f"<{NAME}:{':'.join(arguments)}> should be written like <{NAME}:dusk:0.7:steps=5>.")
    try:
        weight = float(place[1]) if len(place) == 2 else 1.0
    except ValueError:
        raise AestheticError(f"The weight in <{NAME}:{place[0]}:{place[1]}> should be a number.") from None
    settings = {}
    for each in arguments:
        key, given, text = each.partition("=")
        if given:
            name = known(key, _KINDS)
            settings[name] = _value(name, text)
    return Tag(place[0], weight, settings)


def in_text(text: str) -> list[list[str]]:
    """The arguments of each tag in `text`."""
    return [found.split(":") for found in _TAG.findall(text)]


def without_tags(
    prompts: Any, negative: bool, extra_network_data: Mapping[str, Any] | None
) -> tuple[Any, list[list[str]]]:
    """The prompts, for the host to encode, and the arguments of each tag that they had."""
    if not negative:
        return prompts, [params.items for params in (extra_network_data or {}).get(NAME, [])]
    if not any(map(in_text, prompts)):
        return prompts, []
    return host.like(prompts, [_TAG.sub("", prompt) for prompt in prompts]), in_text(prompts[0])


def target(
    plan: Plan, negative: bool, hires: bool, arguments: Iterable[Sequence[str]], library: Library
) -> Target | None:
    """The plan's target, and that of the tags. Raises AestheticError where one of them is wrong."""
    tags = [parsed(each) for each in arguments]
    if not tags or (hires and not plan.hires):
        return plan.target(negative, hires)
    settings = replace(plan.settings, **{name: value for tag in tags for name, value in tag.settings.items()})
    own = plan.negative if negative else plan.positive
    parts = [(own.embedding, 1.0)] if own else []
    parts += [(library.blend(from_text(tag.name, library)), tag.weight) for tag in tags]
    total = min(1.0, sum(abs(weight) for _, weight in parts))
    settings = replace(settings, weight=settings.weight * total)
    if settings.changes_nothing or settings.weight == 0:
        return None
    if len(parts) == 1 and parts[0][1] > 0:  # the same content as from the accordion
        return Target(parts[0][0], settings)
    named = " + ".join([*([own.embedding.name] if own else []), *(f"{tag.name}:{tag.weight:g}" for tag in tags)])
    return Target(blend(parts, named), settings)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A prompt with other names in its tags: old -> new."""

    def now(tag: re.Match[str]) -> str:
        name, colon, rest = tag[1].partition(":")
        return f"<{NAME}:{names.get(name, name)}{colon}{rest}>"

    return _TAG.sub(now, text)


def _value(name: str, text: str) -> Any:
    kind = _KINDS[name]
    try:
        value = {"true": True, "false": False}[text.strip().lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        return text  # Settings says what is wrong with it
    return as_epsilon(value) if name == "epsilon" else value
