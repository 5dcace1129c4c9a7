"""The tag of tags.py, as one of the host's extra networks: the host calls it for each batch, just before encoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import AestheticError
from . import conditioning_hook, host, infotext, tags
from .picture_report import PictureReport
from .request import DEFAULTS, without_embeddings


def register() -> None:
    """To be called when the host builds its page: it has forgotten its extra networks by then."""
    host.extra_networks.register_extra_network(AestheticNetwork())


class AestheticNetwork(host.extra_networks.ExtraNetwork):  # type: ignore[misc]
    """See modules/extra_networks.py, ExtraNetwork."""

    def __init__(self) -> None:
        super().__init__(tags.NAME)

    def activate(self, p: Any, params_list: list[Any]) -> None:
        """Also called where there is no tag: such a job is left alone. Jobs inside of jobs have tags, too."""
        found = list(_tags(p, params_list))
        if not found:
            return
        hook = conditioning_hook.hook_of(p)
        report = PictureReport(p) if hook is None else hook.report
        try:
            if hook is None:
                # whatever is wrong with the accordion's values, no tag reaches the encoder
                hook = conditioning_hook.install(p, None, report)
                values = vars(p).get("aesthetic_values", DEFAULTS)
                if values is not None:  # else the accordion has said what is wrong with them
                    hook.request = without_embeddings(values)
                    infotext.write_settings(p.extra_generation_params, hook.request)
            host.library.refresh()
            infotext.write_tags(p.extra_generation_params, [tags.parse(each).name for each in found], host.library)
        except AestheticError as error:
            report.add_error(str(error))

    def deactivate(self, p: Any) -> None:
        pass


def _tags(p: Any, params_list: list[Any]) -> Iterator[list[str]]:
    """Of the prompts, of the hires pass's, which may be encoded before that is begun, and of the negative prompts."""
    of_hires = vars(p).get("hr_extra_network_data") or {}
    for params in [*params_list, *of_hires.get(tags.NAME, [])]:
        yield params.items
    negative = [*(vars(p).get("negative_prompts") or []), *(vars(p).get("hr_negative_prompts") or [])]
    for prompt in [*host.prompts_with_tags(p, hires=False), *host.prompts_with_tags(p, hires=True), *negative]:
        yield from tags.in_text(prompt)
