"""The host's callbacks: what it calls, and when."""

from __future__ import annotations

import importlib
import sys
import traceback
from types import ModuleType
from typing import Any

from ..errors import AestheticError
from . import accordion, api, conditioner, conditioning_hook, host, infotext, options, presets, tab, xyz
from .picture_report import PictureReport
from .request import ARGUMENTS, by_name, read_request

OLD_IS_THERE = (
    "The old aesthetic gradients extension is installed too. Disable it under Extensions; this one replaces it."
)


#: Modules that derive from classes of the host's, and what is missing where it has none of these.
BUILT_ON_HOSTS_CLASSES = {"extra_network": "tags in the prompt", "cards": "cards"}


def register() -> None:
    """Register the host's callbacks. To be called each time it loads its scripts: it forgets them on "Reload UI"."""
    host.script_callbacks.on_before_ui(forget_page)
    for name, what in BUILT_ON_HOSTS_CLASSES.items():
        if part := _part(name, what):
            host.script_callbacks.on_before_ui(part.register)
    host.script_callbacks.on_before_ui(xyz.register)
    host.script_callbacks.on_infotext_pasted(infotext.on_paste)
    host.script_callbacks.on_ui_settings(options.register)
    host.script_callbacks.on_app_started(api.add_routes)
    host.script_callbacks.on_ui_tabs(_tabs)


def _tabs() -> list[tuple[Any, str, str]]:
    host.make_folder_for_pictures()
    return [(tab.build(), "Create aesthetic embedding", "aesthetic_gradients_tab")]


def _part(name: str, what: str) -> ModuleType | None:
    try:
        return importlib.import_module(f".{name}", __package__)
    except (ImportError, AttributeError) as error:
        print(f"Aesthetic gradients: no {what} in this WebUI ({error}). All else works.", file=sys.stderr)
        return None


def forget_page() -> None:
    """Called before the host builds its page. (It builds components for the API later, which are on no page.)"""
    host.dropdowns.clear()
    host.hints.clear()
    host.txt2img.clear()


class AestheticGradients(host.scripts.Script):  # type: ignore[misc]
    """One per tab. Hosts know it by its title, in the API too: `alwayson_scripts: {"aesthetic gradients": ...}`."""

    def title(self) -> str:
        return "Aesthetic gradients"

    def show(self, is_img2img: bool) -> Any:
        return host.scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        warning = OLD_IS_THERE if host.old_extension() else ""
        widgets = host.InputAccordion, host.ToolButton
        parts = accordion.build(
            self.elem_id,
            host.library,
            *widgets,
            is_img2img,
            warning,
            below=lambda parts: presets.build(parts, self.elem_id),
            families=conditioner.loaded_families,
        )
        host.dropdowns.extend([parts["embedding"], parts["negative"]])
        host.hints.append(parts["hint"])
        if not is_img2img:
            host.txt2img[:] = [parts["enabled"], parts["embedding"]]
        self.infotext_fields = infotext.fields(parts)
        self.paste_field_names = [reader for _, reader in self.infotext_fields]
        self.infotext_fields.append((parts["pictures"], infotext.without_pictures))
        return [parts[name] for name in ARGUMENTS]

    def process(self, p: Any, *arguments: Any) -> None:
        """Once for each job, before its batches. A job that some extension starts inside has its own call, or none.

        Extensions call it for copies of a job, too (ADetailer, after each picture). A copy shares the job's infotext,
        which goes on to tell what happened to the picture: so this job gets its own first.
        """
        p.extra_generation_params = dict(p.extra_generation_params)
        conditioning_hook.remove(p)
        infotext.clear(p.extra_generation_params)
        p.aesthetic_values = None
        report = PictureReport(p)
        try:
            values = xyz.cell_values(p, by_name(arguments))
            request = read_request(values, host.library)
            p.aesthetic_values = values  # also for a tag in the prompt (extra_network.py), unless one of them is wrong
            if request is None:
                return
            infotext.write(p.extra_generation_params, request, host.library)
            conditioning_hook.install(p, request, report)
        except AestheticError as error:
            report.add_error(str(error))
        except Exception as error:  # never in the way of a picture
            traceback.print_exc(file=sys.stderr)
            report.add_error(f"something unexpected went wrong: {error!r}. The console has more.")
