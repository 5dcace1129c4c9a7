"""The accordion's values as axes of the host's X/Y/Z plot (scripts/xyz_grid.py): `[Aesthetic] Steps`, and so on.

An axis of embeddings turns the accordion on in its cells, or off for None. The other axes have an effect if the
accordion is on, or if the prompt has tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ..aesthetics.mixes import from_text
from ..errors import AestheticError
from ..settings import Settings
from . import accordion, host, tags
from .request import NONE, has_aesthetic, parse_epsilon

PREFIX = "[Aesthetic] "
COST = 0.6  # between a sampler's and a VAE's: the plot puts costly axes in the outer loop, so each value is tuned once
SWITCHES = [f.name for f in fields(Settings) if isinstance(f.default, bool)]
SIDES = {"embedding": "Embedding", "negative": "Negative embedding"}


def register() -> None:
    """Add our axes. Call it before the host builds its page; the plot's module outlives a reload, and may have them."""
    for data in host.scripts.scripts_data:
        if data.script_class.__module__ in ("xyz_grid.py", "scripts.xyz_grid"):
            known = {option.label for option in data.module.axis_options}
            data.module.axis_options += [axis for axis in axes(data.module.AxisOption) if axis.label not in known]


def axes(axis_option: Callable[..., Any]) -> list[Any]:
    """Our axes. axis_option: the plot's class AxisOption."""

    def embedding_choices() -> list[str]:
        host.library.refresh()
        return accordion.choices(host.library)

    result = [
        axis_option(
            PREFIX + label, str, _set_value(side), confirm=_check_embeddings, cost=COST, choices=embedding_choices
        )
        for side, label in SIDES.items()
    ]
    for f in fields(Settings):
        value_type: Any = _epsilon if f.name == "epsilon" else type(f.default)
        choices = f.metadata["choices"]
        if f.name in SWITCHES:
            value_type, choices = str, ("False", "True")
        kwargs = {"choices": lambda choices=choices: list(choices)} if choices else {}
        confirm = _check_settings(f.name)
        result.append(
            axis_option(
                PREFIX + f.metadata["label"], value_type, _set_value(f.name), confirm=confirm, cost=COST, **kwargs
            )
        )
    return result


def cell_values(p: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The accordion's values with those of this cell's axes."""
    axes: dict[str, Any] = vars(p).get("aesthetic_axes", {})
    cell = {**values, **axes}
    if axes.keys() & SIDES.keys():
        cell |= {"pictures": None} if "embedding" in axes else {}
        cell["enabled"] = has_aesthetic(cell)
    elif axes and not cell["enabled"] and not any(tags.arguments_in(str(p.prompt) + str(p.negative_prompt))):
        raise AestheticError(f"An {PREFIX}axis changes nothing while no embedding is chosen. Choose one, tick the box.")
    return cell


def _set_value(name: str) -> Callable[[Any, Any, Any], None]:
    def apply(p: Any, value: Any, values: Any) -> None:
        p.aesthetic_axes = {
            **vars(p).get("aesthetic_axes", {}),
            name: _value(name, value),
        }  # a new dict: cells are shallow copies

    return apply


def _value(name: str, value: Any) -> Any:
    if name in SWITCHES:
        return {"True": True, "False": False}.get(value, value)
    return value


def _epsilon(text: str) -> float:
    """The type of the epsilon axis. With plain `float` the plot would read 1e-4 as a range."""
    epsilon: float = parse_epsilon(float(text))
    return epsilon


def _check_embeddings(p: Any, values: list[str]) -> None:
    """Check the axis before the first cell is generated. Raises AestheticError, which the host shows."""
    host.library.refresh()
    for value in values:
        if value != NONE:
            host.library.blend(from_text(value, host.library))


def _check_settings(name: str) -> Callable[[Any, list[Any]], None]:
    def confirm(p: Any, values: list[Any]) -> None:
        for value in values:
            Settings(**{name: _value(name, value)})

    return confirm
