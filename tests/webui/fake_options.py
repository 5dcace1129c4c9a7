"""A small fake of the hosts' modules/options.py, which is the same in both."""

from __future__ import annotations

import traceback
from typing import Any


class OptionInfo:
    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Any = None,
        section: Any = None,
    ) -> None:
        self.default, self.label, self.component, self.section = default, label, component, section
        self.component_args, self.onchange, self.comment_after = component_args, onchange, ""

    def info(self, info: str) -> OptionInfo:
        self.comment_after += f"<span class='info'>({info})</span>"
        return self


class Options:
    """Its own options are attributes, as those of the host."""

    def __init__(self, **data: Any) -> None:
        vars(self).update(data=data, data_labels={})

    def __getattr__(self, key: str) -> Any:
        if key in vars(self)["data"]:
            return vars(self)["data"][key]
        if key in vars(self)["data_labels"]:
            return vars(self)["data_labels"][key].default
        raise AttributeError(key)

    def __setattr__(self, key: str, value: Any) -> None:
        info = self.data_labels.get(key)
        if info and (info.component_args or {}).get("visible", True) is False:
            raise RuntimeError(f"not possible to set '{key}' because it is restricted")
        self.data[key] = value

    def set(self, key: str, value: Any) -> bool:
        before = self.data.get(key)
        if before == value:
            return False
        try:
            setattr(self, key, value)
        except RuntimeError:
            return False
        if onchange := self.data_labels[key].onchange:
            try:
                onchange()
            except Exception:
                traceback.print_exc()  # errors.display
                setattr(self, key, before)
                return False
        return True

    def onchange(self, key: str, func: Any, call: bool = True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)
