"""A mix of aesthetics, and the two ways to write one.

In a dropdown and in infotext a mix is a name, or `sac_8plus:0.7 gloomcore:-0.3`. Names may have spaces: a name ends at
a colon that is followed by a number and then by a space or the end. On the command line each argument is a name, or
`sac_8plus=0.7`. Text that is the name of an aesthetic is always read as that name.

`dusk@1a2b3c4d5e` means the aesthetic whose content hash starts with these digits, whatever its name is now (see
Library.resolve).
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from ..errors import AestheticError, quoted

HASH = 10  # digits of a content hash in infotext; hosts write as many for a model
LONGEST = 4096  # characters of a mix

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Mix:
    """Names of aesthetics with their weights. A negative weight pushes away. `str()` gives the dropdown's text.

    Raises AestheticError if there is no part, or if a weight is not finite.
    """

    parts: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise AestheticError("A mix needs at least one aesthetic.")
        for name, weight in self.parts:
            if not math.isfinite(weight):
                raise AestheticError(f"The weight of {quoted(name)} should be a finite number, not {weight}.")

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.parts]

    @property
    def is_single(self) -> bool:
        """Whether this is a single aesthetic with weight 1."""
        return len(self.parts) == 1 and self.parts[0][1] == 1

    def __str__(self) -> str:
        return self.names[0] if self.is_single else " ".join(f"{name}:{_written(w)}" for name, w in self.parts)


def from_text(text: str, known: Container[str]) -> Mix:
    """The mix of a dropdown's text. known: the names of aesthetics, such as a Library.

    Text that is neither a known name nor a mix is taken as an unknown name. Raises AestheticError for a mix in which an
    aesthetic has no weight.
    """
    text = _limited(text.strip())
    parts, rest = ([], text) if text in known else _weighted(text)
    if parts and rest:
        rest = quoted(rest)
        raise AestheticError(f"In a mix each aesthetic has a weight, but {rest} has none. Write :1 behind it.")
    return Mix(tuple(parts) or ((text, 1.0),))


def from_arguments(arguments: Sequence[str], known: Container[str]) -> Mix:
    """The mix of command-line arguments: `["a=0.7", "b=-0.3"]`, or `["a"]`. known: as in `from_text`.

    Raises AestheticError if a weight is not a number.
    """
    return Mix(tuple(_assigned(_limited(argument), known) for argument in arguments))


def _weighted(text: str) -> tuple[list[tuple[str, float]], str]:
    """The parts `NAME:WEIGHT` of a text, and the rest after the last part.

    This is one pass: a regular expression that tries every colon as the end of a name takes hours for a megabyte.
    """
    parts: list[tuple[str, float]] = []
    name, *pieces = text.split(":")
    open_name = [name]
    for number, piece in enumerate(pieces, 1):
        word, rest = (*piece.split(None, 1), "", "")[:2]
        ends = bool(rest) or piece[-1:].isspace() or number == len(pieces)
        weight = _weight(word) if ends else None
        if weight is not None and (name := ":".join(open_name).strip()):
            parts.append((name, weight))
            open_name = [rest]
        else:
            open_name.append(piece)
    return parts, ":".join(open_name).strip()


def _assigned(argument: str, known: Container[str]) -> tuple[str, float]:
    name, equals, number = argument.rpartition("=")
    if argument in known or not equals:
        return argument, 1.0
    weight = _weight(number)
    if weight is None:
        example = quoted(f"{name}=0.7")
        raise AestheticError(f"The weight in {quoted(argument)} should be a number, as in {example}.")
    return name, weight


def _limited(text: str) -> str:
    if len(text) > LONGEST:
        raise AestheticError(f"A mix should have at most {LONGEST} characters, not {len(text)}.")
    return text


def _weight(word: str) -> float | None:
    return float(word) if len(word) <= 32 and _NUMBER.fullmatch(word) else None


def _written(weight: float) -> str:
    return f"{weight:g}" if float(f"{weight:g}") == weight else repr(weight)
