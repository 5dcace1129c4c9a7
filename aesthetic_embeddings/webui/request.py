"""Checks the accordion's values and turns them into the request for one job."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..aesthetics.embedding import AestheticEmbedding, with_neutral
from ..aesthetics.library import Library
from ..aesthetics.mixes import from_text
from ..errors import AestheticError
from ..settings import Settings

NONE = "None"  # the dropdowns' choice for no aesthetic
HIRES = ("same", "off")
MAX_MIX_LENGTH = 1000  # characters of a name or a mix

#: The accordion's values in the order in which hosts and their API pass them. It is released: add new ones at the end.
ARGUMENTS = (
    "enabled",
    "embedding",
    "steps",
    "epsilon",
    "update",
    "weight",
    "blend",
    "text",
    "text_strength",
    "text_negative",
    "preservation",
    "last_layers",
    "negative",
    "hires",
    "strength_clip_l",
    "strength_clip_g",
    "pictures",
    "contrast",
    "any_clip",
)
DEFAULTS: dict[str, Any] = {
    "enabled": False,
    "embedding": NONE,
    **{f.name: f.default for f in dataclasses.fields(Settings)},
    "negative": NONE,
    "hires": HIRES[0],
    "pictures": None,
}


ALIASES = {"step_size": "epsilon"}  # epsilon's name before 0.2


@dataclass(frozen=True)
class Target:
    """The aesthetic that the prompts, or the negative prompts, are tuned towards, and the settings for it.

    Equal targets give equal conditioning: targets compare by the aesthetic's content, not by its file's name.
    """

    embedding: AestheticEmbedding = dataclasses.field(compare=False)
    settings: Settings
    content: str = dataclasses.field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", self.embedding.tuning_hash)


@dataclass(frozen=True)
class Request:
    """The targets of a job's prompts and of its negative prompts. Without a target they stay plain.

    settings: the accordion's, even if it has no aesthetic.
    from_pictures: whether the positive target was made from reference pictures, which are not stored.
    """

    positive: Target | None = None
    negative: Target | None = None
    hires: bool = True
    settings: Settings = dataclasses.field(default_factory=Settings)
    from_pictures: bool = False

    def target(self, negative: bool, hires: bool) -> Target | None:
        target = self.negative if negative else self.positive
        if target is None or (hires and not self.hires):
            return None
        return None if target.settings.changes_nothing or target.settings.weight == 0 else target


def values_by_name(arguments: Sequence[Any]) -> dict[str, Any]:
    """The accordion's values by name, from the arguments that hosts pass: in the order of ARGUMENTS, perhaps fewer.

    API users may pass a dict as the first argument, with any of the values. Missing ones have the page's defaults, and
    `enabled` defaults to whether there is an aesthetic. Raises AestheticError for an unknown name.
    """
    values = DEFAULTS | dict(zip(ARGUMENTS, arguments, strict=False))
    if isinstance(values["enabled"], Mapping):
        chosen = {setting_name(str(name), ARGUMENTS): value for name, value in values["enabled"].items()}
        values |= {"enabled": True} | chosen
        if "enabled" not in chosen:
            values["enabled"] = has_aesthetic(values)
    return values


def parse_epsilon(value: Any) -> Any:
    """Epsilon itself. A negative number is a power of ten, as on the page of version 0.1: -4 means 1e-4."""
    if not isinstance(value, (int, float)) or not -1000 < value < 0:
        return value  # Settings rejects anything invalid
    digits = 2 if round(value, 2) == value else 12  # -3.3 meant 5e-4: the slider rounded it
    return float(f"{10.0**value:.{digits - 1}e}")


def has_aesthetic(values: Mapping[str, Any]) -> bool:
    return bool(values["pictures"]) or any((values[side] or NONE) != NONE for side in ("embedding", "negative"))


def setting_name(name: str, names: Collection[str]) -> str:
    """The current name of a setting. Raises AestheticError with a suggestion if it is not one of `names`."""
    name = ALIASES.get(name, name)
    if name in names:
        return name
    close = difflib.get_close_matches(name.lower(), [*names, *ALIASES], n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(names)}."
    raise AestheticError(f"There is no setting called {name[:MAX_MIX_LENGTH]!r}. {hint}")


def read_request(values: Mapping[str, Any], library: Library) -> Request | None:
    """The request that the accordion's values make; None if its box is not ticked.

    Raises AestheticError if a value is wrong, or an aesthetic is not in the library.
    """
    if not isinstance(values["enabled"], bool):
        raise AestheticError(f"The first argument should be true or false, or a dict, not {values['enabled']!r:.80}.")
    if not values["enabled"]:
        return None
    request = request_without_embeddings(values)
    if not has_aesthetic(values):
        raise AestheticError("No embedding is chosen, so the picture is plain. Choose one, or untick the box.")
    library.refresh()

    def target(side: str) -> Target | None:
        if side == "embedding" and values["pictures"]:
            from . import (
                reference_pictures,
            )  # not at the top: it imports the host, and tests of the page run without one

            return Target(
                with_neutral(reference_pictures.embedding(values["pictures"]), library.neutral), request.settings
            )
        text = str(values[side] or NONE)
        if len(text) > MAX_MIX_LENGTH:
            raise AestheticError(f"An embedding or a mix may have {MAX_MIX_LENGTH} characters, not {len(text)}.")
        if text == NONE:
            return None
        return Target(library.blend(from_text(text, library)), request.settings)

    return dataclasses.replace(
        request, positive=target("embedding"), negative=target("negative"), from_pictures=bool(values["pictures"])
    )


def request_without_embeddings(values: Mapping[str, Any]) -> Request:
    """A request with the accordion's settings and no aesthetics, to which the prompt's tags add theirs."""
    settings = Settings(
        **{f.name: values[f.name] for f in dataclasses.fields(Settings) if f.name != "epsilon"},
        epsilon=parse_epsilon(values["epsilon"]),
    )
    if values["hires"] not in HIRES:
        raise AestheticError(f"hires should be one of {', '.join(HIRES)}, not {values['hires']!r:.80}.")
    return Request(hires=values["hires"] == HIRES[0], settings=settings)
