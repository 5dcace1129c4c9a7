"""The accordion's values as axes of the host's X/Y/Z plot (scripts/xyz_grid.py): `[Aesthetic] Steps`, and so on.

An axis of embeddings turns the accordion on in its cells, or off for None. The others count where it is
on, and for the prompt's tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ..aesthetics.mixes import from_text
from ..errors import AestheticError
from ..settings import Settings
from . import accordion, host, tags
from .request import NONE, as_epsilon, has_aesthetic

PREFIX = "[Aesthetic] "
COST = 0.6  # between a sampler's and a VAE's: the plot has the costlier axis outside, so each value is tuned for once
SWITCHES = [f.name for f in fields(Settings) if isinstance(f.default, bool)]
SIDES = {"embedding": "Embedding", "negative": "Negative embedding"}


def register() -> None:
    """To be called when the host builds its page. The plot's module stays, so our axes may be there already."""
    for data in host.scripts.scripts_data:
        if data.script_class.__module__ in ("xyz_grid.py", "scripts.xyz_grid"):
            known = {option.label for option in data.module.axis_options}
            data.module.axis_options += [axis for axis in axes(data.module.AxisOption) if axis.label not in known]


def axes(option: Callable[..., Any]) -> list[Any]:
    """option: the plot's AxisOption."""

    def names() -> list[str]:
        host.library.refresh()
        return accordion.choices(host.library)

    made = [
        option(PREFIX + label, str, _apply(side), confirm=_embeddings, cost=COST, choices=names)
        for side, label in SIDES.items()
    ]
    for f in fields(Settings):
        kind: Any = _epsilon if f.name == "epsilon" else type(f.default)
        choices = f.metadata["choices"]
        if f.name in SWITCHES:
            kind, choices = str, ("False", "True")
        more = {"choices": lambda choices=choices: list(choices)} if choices else {}
        confirm = _settings(f.name)
        made.append(option(PREFIX + f.metadata["label"], kind, _apply(f.name), confirm=confirm, cost=COST, **more))
    return made


def cell_values(p: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The accordion's values, changed by the axes of this cell of a plot."""
    axes: dict[str, Any] = vars(p).get("aesthetic_axes", {})
    changed = {**values, **axes}
    if axes.keys() & SIDES.keys():
        changed |= {"pictures": None} if "embedding" in axes else {}
        changed["enabled"] = has_aesthetic(changed)
    elif axes and not changed["enabled"] and not any(tags.in_text(str(p.prompt) + str(p.negative_prompt))):
        raise AestheticError(f"An {PREFIX}axis changes nothing while no embedding is chosen. Choose one, tick the box.")
    return changed


def _apply(name: str) -> Callable[[Any, Any, Any], None]:
    def apply(p: Any, value: Any, values: Any) -> None:
        p.aesthetic_axes = {**vars(p).get("aesthetic_axes", {}), name: _value(name, value)}  # cells are shallow copies

    return apply


def _value(name: str, value: Any) -> Any:
    if name in SWITCHES:
        return {"True": True, "False": False}.get(value, value)
    return value


def _epsilon(text: str) -> float:
    """Not `float`, of which the plot takes 1e-4 for a range."""
    epsilon: float = as_epsilon(float(text))
    return epsilon


def _embeddings(p: Any, values: list[str]) -> None:
    """Raises AestheticError, which the host shows, before the first cell is made."""
    host.library.refresh()
    for value in values:
        if value != NONE:
            host.library.blend(from_text(value, host.library))


def _settings(name: str) -> Callable[[Any, list[Any]], None]:
    def confirm(p: Any, values: list[Any]) -> None:
        for value in values:
            Settings(**{name: _value(name, value)})

    return confirm
