"""`<aesthetic:NAME:WEIGHT>` in a prompt, any number of them, perhaps with settings: `<aesthetic:dusk:1:steps=5>`.

The tags' aesthetics are added to the accordion's, which has weight 1. A tag works even if the accordion's box is not
ticked. Settings come from the accordion unless a tag sets them, and the last tag wins. If all weights add up to less
than 1, the blend with the plain conditioning shrinks in proportion: a single tag of 0.5 has half the effect, and one of
0 has none. Each prompt of a batch has its own tags.

Hosts remove the tags from the prompts, but parse only those of a batch's first prompt (modules/extra_networks.py). They
leave negative prompts as they are, so this module removes the tags there.
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
from .request import Request, Target, parse_epsilon, setting_name

NAME = "aesthetic"
START, END = f"<{NAME}:", ">"  # as modules/extra_networks.py, re_extra_net
MAX_TAG_LENGTH = 1000  # characters between START and END
_TYPES: dict[str, type] = {f.name: type(f.default) for f in fields(Settings)}


@dataclass(frozen=True)
class Tag:
    name: str
    weight: float
    settings: Mapping[str, Any]


def parse(arguments: Sequence[str]) -> Tag:
    """Parse a tag's arguments, the texts between its colons. Raises AestheticError if they are wrong."""
    if sum(map(len, arguments)) > MAX_TAG_LENGTH:
        raise AestheticError(
            f"A tag may have {MAX_TAG_LENGTH} characters, and one here has more: {arguments[0][:50]}..."
        )
    by_position = [argument for argument in arguments if "=" not in argument]
    if not 1 <= len(by_position) <= 2:
        raise AestheticError(f"<{NAME}:{':'.join(arguments)}> should be written like <{NAME}:dusk:0.7:steps=5>.")
    try:
        weight = float(by_position[1]) if len(by_position) == 2 else 1.0
    except ValueError:
        raise AestheticError(f"The weight in <{NAME}:{':'.join(by_position)}> should be a number.") from None
    settings = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if equals:
            name = setting_name(key, _TYPES)
            settings[name] = _value(name, text)
    return Tag(by_position[0], weight, settings)


def arguments_in(text: str) -> list[list[str]]:
    """The arguments of each tag in `text`."""
    return [text[start + len(START) : end].split(":") for start, end in _spans(text)]


def split_prompts(
    p: Any, prompts: Any, negative: bool, hires: bool, extra_network_data: Mapping[str, Any] | None
) -> tuple[Any, list[list[list[str]]]]:
    """The prompts for the host to encode, without tags, and for each prompt the arguments of its tags."""
    if negative:
        by_prompt = [arguments_in(prompt) for prompt in prompts]
        if not any(by_prompt):
            return prompts, by_prompt
        without_tags = [_replace_tags(prompt, lambda arguments: "") for prompt in prompts]
        return host.copy_with_texts(prompts, without_tags), by_prompt
    of_first = [list(params.items) for params in (extra_network_data or {}).get(NAME, [])]
    by_prompt = [arguments_in(prompt) for prompt in host.prompts_with_tags(p, hires)]
    if len(by_prompt) == len(prompts) and by_prompt[:1] == [of_first]:
        return prompts, by_prompt
    return prompts, [of_first for _ in prompts]  # another extension has replaced the prompts


def combined_target(
    request: Request, negative: bool, hires: bool, arguments: Iterable[Sequence[str]], library: Library
) -> Target | None:
    """The request's target with the tags' aesthetics and settings added. Raises AestheticError if a tag is wrong."""
    tags = [parse(tag_arguments) for tag_arguments in arguments]
    if not tags or (hires and not request.hires):
        return request.target(negative, hires)
    settings = replace(request.settings, **{name: value for tag in tags for name, value in tag.settings.items()})
    base = request.negative if negative else request.positive
    parts = [(base.embedding, 1.0)] if base else []
    parts += [(library.blend(from_text(tag.name, library)), tag.weight) for tag in tags]
    total = min(1.0, sum(abs(weight) for _, weight in parts))
    settings = replace(settings, weight=settings.weight * total)
    if settings.changes_nothing or settings.weight == 0:
        return None
    if len(parts) == 1 and parts[0][1] > 0:  # the same content hash as from the accordion
        return Target(parts[0][0], settings)
    name = " + ".join([*([base.embedding.name] if base else []), *(f"{tag.name}:{tag.weight:g}" for tag in tags)])
    return Target(blend(parts, name), settings)


def rename_in_prompt(text: str, names: Mapping[str, str]) -> str:
    """The prompt with the names in its tags replaced. names: old -> new."""

    def with_new_name(arguments: list[str]) -> str:
        return START + ":".join([names.get(arguments[0], arguments[0]), *arguments[1:]]) + END

    return _replace_tags(text, with_new_name)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """The positions of each tag's START and END. It takes linear time even if a tag never ends."""
    position = 0
    while (start := text.find(START, position)) >= 0 and (end := text.find(END, start)) >= 0:
        position = end + len(END)
        if end > start + len(START):
            yield start, end


def _replace_tags(text: str, replacement: Callable[[list[str]], str]) -> str:
    """The text with each tag replaced. replacement: returns the new text, given the tag's arguments."""
    parts, position = [], 0
    for start, end in _spans(text):
        parts += [text[position:start], replacement(text[start + len(START) : end].split(":"))]
        position = end + len(END)
    return "".join([*parts, text[position:]])


def _value(name: str, text: str) -> Any:
    value_type = _TYPES[name]
    try:
        value = {"true": True, "false": False}[text.strip().lower()] if value_type is bool else value_type(text)
    except (ValueError, KeyError):
        return text  # Settings reports what is wrong
    return parse_epsilon(value) if name == "epsilon" else value
