"""The tag of tags.py, as one of the host's extra networks: it tells of it for each batch, just before encoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import AestheticError
from . import conditioning_hook, host, infotext, tags
from .picture_report import Report, say
from .request import DEFAULTS, unticked


def register() -> None:
    """To be called when the host builds its page: it has forgotten its extra networks by then."""
    host.extra_networks.register_extra_network(Network())


class Network(host.extra_networks.ExtraNetwork):
    """See modules/extra_networks.py, ExtraNetwork."""

    def __init__(self) -> None:
        super().__init__(tags.NAME)

    def activate(self, p: Any, params_list: list[Any]) -> None:
        """Also called where there is no tag: such a job is left alone. Jobs inside of jobs have tags, too."""
        found = list(_tags(p, params_list))
        if not found:
            return
        try:
            own = conditioning_hook.of(p)
            if own is None:
                own = conditioning_hook.install(
                    p, None, Report(p)
                )  # whatever is wrong with the plan, no tag reaches the encoder
                given = vars(p).get("aesthetic_given", DEFAULTS)
                if given is not None:  # else the accordion has said what is wrong with it
                    own.plan = unticked(given)
                    infotext.write_settings(p.extra_generation_params, own.plan)
            host.library.refresh()
            infotext.write_tags(p.extra_generation_params, [tags.parsed(each).name for each in found], host.library)
        except AestheticError as error:
            say(p, str(error))

    def deactivate(self, p: Any) -> None:
        pass


def _tags(p: Any, params_list: list[Any]) -> Iterator[list[str]]:
    """Of the prompt, of the hires pass's, which may be encoded before that is begun, and of the negative prompts."""
    of_hires = vars(p).get("hr_extra_network_data") or {}
    for params in [*params_list, *of_hires.get(tags.NAME, [])]:
        yield params.items
    for name in ("negative_prompts", "hr_negative_prompts"):
        for prompt in vars(p).get(name) or []:
            yield from tags.in_text(prompt)
