"""Registers the tag of tags.py as an extra network. The host calls it for each batch, just before encoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import AestheticError
from . import conditioning_hook, host, infotext, tags
from .picture_report import PictureReport
from .request import DEFAULTS, request_without_embeddings


def register() -> None:
    """Register it. Call it before the host builds its page, since a reload clears the host's extra networks."""
    host.extra_networks.register_extra_network(AestheticNetwork())


class AestheticNetwork(host.extra_networks.ExtraNetwork):  # type: ignore[misc]
    """The tag's handler (modules/extra_networks.py, ExtraNetwork)."""

    def __init__(self) -> None:
        super().__init__(tags.NAME)

    def activate(self, p: Any, params_list: list[Any], **others: Any) -> None:
        """Prepare a job whose prompts have tags. Hosts also call it without tags, and for jobs that a job starts.

        others: what SD.Next passes besides.
        """
        tag_arguments = list(_arguments_of_tags(p, params_list))
        if not tag_arguments:
            return
        hook = conditioning_hook.hook_of(p)
        report = PictureReport(p) if hook is None else hook.report
        try:
            if hook is None:
                # installed first: no tag may reach the encoder, even if the accordion's values are wrong
                hook = conditioning_hook.install(p, None, report)
                values = vars(p).get("aesthetic_values", DEFAULTS)
                if values is not None:  # None: the accordion has reported what is wrong
                    hook.request = request_without_embeddings(values)
                    infotext.write_settings(p.extra_generation_params, hook.request)
            host.library.refresh()
            infotext.write_tags(
                p.extra_generation_params, [tags.parse(arguments).name for arguments in tag_arguments], host.library
            )
        except AestheticError as error:
            report.add_error(str(error))

    def deactivate(self, p: Any, **others: Any) -> None:
        pass


def _arguments_of_tags(p: Any, params_list: list[Any]) -> Iterator[list[str]]:
    """The arguments of all tags: of the prompts, the negative prompts, and both of the hires pass.

    Hosts may encode the prompts of the hires pass before it starts.
    """
    hires_data = vars(p).get("hr_extra_network_data") or {}
    for params in [*params_list, *hires_data.get(tags.NAME, [])]:
        yield params.items
    negative = [*(vars(p).get("negative_prompts") or []), *(vars(p).get("hr_negative_prompts") or [])]
    for prompt in [*host.prompts_with_tags(p, hires=False), *host.prompts_with_tags(p, hires=True), *negative]:
        yield from tags.arguments_in(prompt)
