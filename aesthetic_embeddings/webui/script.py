"""Our script and our callbacks, as the host calls them."""

from __future__ import annotations

import importlib
import sys
import traceback
from types import ModuleType
from typing import Any

from ..errors import AestheticError
from . import accordion, api, conditioner, conditioning_hook, host, infotext, options, presets, tab, xyz
from .picture_report import PictureReport
from .request import ARGUMENTS, read_request, values_by_name

OLD_EXTENSION_INSTALLED = (
    "The old aesthetic gradients extension is installed too. Disable it under Extensions; this one replaces it."
)


#: Modules with subclasses of the host's classes -> the feature that is missing if the host lacks those.
OPTIONAL_PARTS = {"extra_network": "tags in the prompt", "cards": "cards"}


def register() -> None:
    """Register all callbacks. Call it each time the host loads its scripts: "Reload UI" clears its callbacks."""
    host.script_callbacks.on_before_ui(forget_page)
    for name, feature in OPTIONAL_PARTS.items():
        if part := _import_part(name, feature):
            host.script_callbacks.on_before_ui(part.register)
    host.script_callbacks.on_before_ui(xyz.register)
    host.script_callbacks.on_infotext_pasted(infotext.on_paste)
    host.script_callbacks.on_ui_settings(options.register)
    host.script_callbacks.on_app_started(api.add_routes)
    host.script_callbacks.on_ui_tabs(_tabs)


def _tabs() -> list[tuple[Any, str, str]]:
    host.make_folder_for_pictures()
    return [(tab.build(), "Create aesthetic embedding", "aesthetic_gradients_tab")]


def _import_part(name: str, feature: str) -> ModuleType | None:
    try:
        return importlib.import_module(f".{name}", __package__)
    except (ImportError, AttributeError) as error:
        print(f"Aesthetic gradients: no {feature} in this WebUI ({error}). All else works.", file=sys.stderr)
        return None


def forget_page() -> None:
    """Clear the lists of the page's components. Called before the host builds its page.

    The host also builds components for its API later. Those are on no page, so this is not called for them.
    """
    host.dropdowns.clear()
    host.hints.clear()
    host.txt2img_widgets.clear()


class AestheticGradients(host.scripts.Script):  # type: ignore[misc]
    """The script; one instance for each tab. Its title is its key in the API's `alwayson_scripts`, in lower case."""

    def title(self) -> str:
        return "Aesthetic gradients"

    def show(self, is_img2img: bool) -> Any:
        return host.scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        warning = OLD_EXTENSION_INSTALLED if host.old_extension_is_loaded() else ""
        parts = accordion.build(
            self.elem_id,
            host.library,
            host.InputAccordion,
            host.ToolButton,
            is_img2img,
            warning,
            build_presets=lambda parts: presets.build(parts, self.elem_id),
            families=conditioner.loaded_families,
        )
        host.dropdowns.extend([parts["embedding"], parts["negative"]])
        host.hints.append(parts["hint"])
        if not is_img2img:
            host.txt2img_widgets[:] = [parts["enabled"], parts["embedding"]]
        self.infotext_fields = infotext.paste_fields(parts)
        self.paste_field_names = [reader for _, reader in self.infotext_fields]
        self.infotext_fields.append((parts["pictures"], infotext.cleared_pictures))
        return [parts[name] for name in ARGUMENTS]

    def process(self, p: Any, *arguments: Any) -> None:
        """Prepare a job. Called once for each, before its first batch.

        Extensions also call it for copies of a job (ADetailer, after each picture). A copy shares its infotext with the
        original, which must keep what it has: so the copy gets a dict of its own.
        """
        p.extra_generation_params = dict(p.extra_generation_params)
        conditioning_hook.remove(p)
        infotext.clear(p.extra_generation_params)
        p.aesthetic_values = None
        report = PictureReport(p)
        try:
            values = xyz.cell_values(p, values_by_name(arguments))
            request = read_request(values, host.library)
            p.aesthetic_values = values  # for the prompt's tags (extra_network.py); None while a value is wrong
            if request is None:
                return
            infotext.write(p.extra_generation_params, request, host.library)
            conditioning_hook.install(p, request, report)
        except AestheticError as error:
            report.add_error(str(error))
        except Exception as error:  # a fault of ours must not stop the picture
            traceback.print_exc(file=sys.stderr)
            report.add_error(f"something unexpected went wrong: {error!r}. The console has more.")

    def postprocess(self, p: Any, processed: Any, *arguments: Any) -> None:
        host.show_comments(p, processed)
