"""What people write into the embeddings' dropdowns: a name, or a mix such as `sac_8plus:0.7 gloomcore:-0.3`.

What is a name is taken as one. In a mix every aesthetic carries its weight, so that names may have spaces: one ends
where a colon, a number and a space follow, or the end. `dusk@1a2b3c4d5e` is the aesthetic with that content, whatever
its name is by now: so comes what is pasted from a picture and is not here (see infotext.py).
"""

from __future__ import annotations

import re

from ..errors import AestheticError
from .embedding import AestheticEmbedding
from .library import Library

HASH = 10  # digits of a content hash that are written down; hosts write as many of a model's

_PART = re.compile(r"\s*(\S.*?):\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?=\s|$)")
_PINNED = re.compile(rf"(.+)@([0-9a-f]{{{HASH}}})")


def chosen(text: str, library: Library) -> AestheticEmbedding:
    """The embedding that `text` means; its name is what to write to mean it again.

    Raises AestheticError where it is neither a name nor a mix, or names what is not here.
    """
    parts = recipe(text, library)
    if len(parts) == 1 and parts[0][1] is None:
        return library.get(parts[0][0])
    return library.mix([f"{name}={weight!r}" for name, weight in parts], written(parts))


def recipe(text: str, library: Library) -> list[tuple[str, float | None]]:
    """The names, as they are here, and the weights that `text` means; no weight for a name alone."""
    return [(_name(name, library), weight) for name, weight in split(text.strip(), library)]


def split(text: str, library: Library) -> list[tuple[str, float | None]]:
    """The names and weights of a mix, as they are written; of anything else the whole, without a weight."""
    parts: list[tuple[str, float | None]] = []
    at = len(text) if _get(text, library) else 0
    while found := _PART.match(text, at):
        parts.append((found[1], float(found[2])))
        at = found.end()
    if not parts:
        return [(text, None)]
    if rest := text[at:].strip():
        raise AestheticError(f"In a mix each aesthetic has a weight, but {rest!r} has none: write {rest}:1 instead.")
    return parts


def written(parts: list[tuple[str, float | None]]) -> str:
    return " ".join(name if weight is None else f"{name}:{_number(weight)}" for name, weight in parts)


def pinned(name: str, content: str, library: Library) -> str:
    """What to write to mean the aesthetic whose content hash begins so, once called `name`, and no other."""
    found = library.find(content)
    for now in (name, found.name if found else ""):
        known = _get(now, library)
        if known and known.content_hash.startswith(content):
            return now
    return f"{name}@{content}"


def _name(text: str, library: Library) -> str:
    found = _PINNED.fullmatch(text)
    if found is None or _get(text, library):
        return library.get(text).name
    name = pinned(found[1], found[2], library)
    if name == text:
        other = "; the one called so now is another: choose it to take it instead." if _get(found[1], library) else ""
        raise AestheticError(
            f"The aesthetic called {found[1]!r} of the pasted picture is not here{other or ': copy its file.'}"
        )
    return name


def _get(name: str, library: Library) -> AestheticEmbedding | None:
    try:
        return library.get(name)
    except AestheticError:
        return None


def _number(weight: float) -> str:
    return f"{weight:g}" if float(f"{weight:g}") == weight else repr(weight)
