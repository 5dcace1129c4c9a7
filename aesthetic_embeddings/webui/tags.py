"""`<aesthetic:NAME:WEIGHT>` in a prompt, any number of them, perhaps with settings: `<aesthetic:dusk:1:steps=5>`.

The tags' aesthetics are added to the accordion's, which counts with weight 1. A tag works without the accordion's box;
what it does not set is set as in the accordion, and where several tags set the same, the last one counts. Where all
weights together are less than 1 the result is as much nearer to the plain one: a single tag of 0.5 is half of it, and
of 0 nothing. Each prompt of a batch has its own tags.

Hosts take the tags out of the prompts, but parse only the first prompt's of a batch (modules/extra_networks.py). They
leave the negative prompts alone, so their tags are taken out here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..aesthetics.embedding import blend
from ..aesthetics.library import Library
from ..aesthetics.mixes import from_text
from ..errors import AestheticError
from ..settings import Settings
from . import host
from .request import Request, Target, as_epsilon, setting_name

NAME = "aesthetic"
START, END = f"<{NAME}:", ">"  # as modules/extra_networks.py, re_extra_net
LONGEST = 1000  # characters between START and END
_TYPES: dict[str, type] = {f.name: type(f.default) for f in fields(Settings)}


@dataclass(frozen=True)
class Tag:
    name: str
    weight: float
    settings: Mapping[str, Any]


def parse(arguments: Sequence[str]) -> Tag:
    """What stands between the colons. Raises AestheticError where it is not as it should be."""
    if sum(map(len, arguments)) > LONGEST:
        raise AestheticError(f"A tag may have {LONGEST} characters, and one here has more: {arguments[0][:50]}...")
    by_position = [each for each in arguments if "=" not in each]
    if not 1 <= len(by_position) <= 2:
        raise AestheticError(f"<{NAME}:{':'.join(arguments)}> should be written like <{NAME}:dusk:0.7:steps=5>.")
    try:
        weight = float(by_position[1]) if len(by_position) == 2 else 1.0
    except ValueError:
        raise AestheticError(f"The weight in <{NAME}:{':'.join(by_position)}> should be a number.") from None
    settings = {}
    for each in arguments:
        key, equals, text = each.partition("=")
        if equals:
            name = setting_name(key, _TYPES)
            settings[name] = _value(name, text)
    return Tag(by_position[0], weight, settings)


def in_text(text: str) -> list[list[str]]:
    """The arguments of each tag in `text`."""
    return [text[start + len(START) : end].split(":") for start, end in _places(text)]


def of_prompts(
    p: Any, prompts: Any, negative: bool, hires: bool, extra_network_data: Mapping[str, Any] | None
) -> tuple[Any, list[list[list[str]]]]:
    """The prompts, for the host to encode, and the arguments of each one's tags."""
    if negative:
        each = [in_text(prompt) for prompt in prompts]
        if not any(each):
            return prompts, each
        return host.like(prompts, [_substituted(prompt, lambda arguments: "") for prompt in prompts]), each
    first = [list(params.items) for params in (extra_network_data or {}).get(NAME, [])]
    own = [in_text(prompt) for prompt in host.prompts_with_tags(p, hires)]
    if len(own) == len(prompts) and own[:1] == [first]:
        return prompts, own
    return prompts, [first for _ in prompts]  # another extension has put its own prompts in their place


def target(
    request: Request, negative: bool, hires: bool, arguments: Iterable[Sequence[str]], library: Library
) -> Target | None:
    """The request's target together with that of the tags. Raises AestheticError where one of them is wrong."""
    tags = [parse(each) for each in arguments]
    if not tags or (hires and not request.hires):
        return request.target(negative, hires)
    settings = replace(request.settings, **{name: value for tag in tags for name, value in tag.settings.items()})
    chosen = request.negative if negative else request.positive
    parts = [(chosen.embedding, 1.0)] if chosen else []
    parts += [(library.blend(from_text(tag.name, library)), tag.weight) for tag in tags]
    total = min(1.0, sum(abs(weight) for _, weight in parts))
    settings = replace(settings, weight=settings.weight * total)
    if settings.changes_nothing or settings.weight == 0:
        return None
    if len(parts) == 1 and parts[0][1] > 0:  # the same content as from the accordion
        return Target(parts[0][0], settings)
    name = " + ".join([*([chosen.embedding.name] if chosen else []), *(f"{tag.name}:{tag.weight:g}" for tag in tags)])
    return Target(blend(parts, name), settings)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A prompt with other names in its tags: old -> new."""

    def tag(arguments: list[str]) -> str:
        return START + ":".join([names.get(arguments[0], arguments[0]), *arguments[1:]]) + END

    return _substituted(text, tag)


def _places(text: str) -> Iterator[tuple[int, int]]:
    """Where tags start, and where their END is. In linear time, also where a tag never ends."""
    at = 0
    while (start := text.find(START, at)) >= 0 and (end := text.find(END, start)) >= 0:
        at = end + len(END)
        if end > start + len(START):
            yield start, end


def _substituted(text: str, tag: Callable[[list[str]], str]) -> str:
    parts, at = [], 0
    for start, end in _places(text):
        parts += [text[at:start], tag(text[start + len(START) : end].split(":"))]
        at = end + len(END)
    return "".join([*parts, text[at:]])


def _value(name: str, text: str) -> Any:
    kind = _TYPES[name]
    try:
        value = {"true": True, "false": False}[text.strip().lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        return text  # Settings says what is wrong with it
    return as_epsilon(value) if name == "epsilon" else value
