"""Where a job's conditioning is made and cached, and how ours gets in, in both hosts.

A job (the host's `p`) has one method that returns conditioning, through a cache, and one that returns the cache's key.
Both are wrapped on the instance: nothing of the host's own is patched, and what is wrapped goes when the job goes. The
key says nothing of scripts, so ours is appended: equal settings hit, others miss, and a plain job never sees ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import AestheticError
from . import host, tags
from .conditioner import PromptResult, personalized_conditioning
from .picture_report import PictureReport
from .request import Request, Target

METHODS = ("get_conds_with_caching", "cached_params")


@dataclass
class CacheTag:
    """Our part of a cache key. The cache keeps it, and with it the results to report when it is hit.

    targets: of each prompt of a batch, None for a plain one. results: of each prompt, those of its parts.
    """

    targets: tuple[Target | None, ...]
    results: list[list[PromptResult]] = field(default_factory=list, compare=False)


@dataclass
class PersonalizedFunction:
    """A host's function that turns prompts into conditioning, with each prompt tuned towards its target."""

    function: Callable[..., Any]
    tag: CacheTag

    def __call__(self, model: Any, prompts: Any, *rest: Any, **more: Any) -> Any:
        targets = self.tag.targets
        conds, self.tag.results = personalized_conditioning(self.function, model, prompts, targets, *rest, **more)
        return conds


def install(p: Any, request: Request | None, report: PictureReport) -> ConditioningHook:
    """Let `p` make its conditioning as requested, in place of what an earlier run of it installed.

    report: told of each conditioning of the job.

    Raises AestheticError where the host has no such methods.
    """
    remove(p)
    if missing := [name for name in METHODS if not hasattr(p, name)]:
        raise AestheticError(
            f"This WebUI makes its conditioning in an unknown way: a job has no {' and no '.join(missing)}. "
            "Pictures stay plain."
        )
    p.aesthetic_hook = hook = ConditioningHook(p, request, report)
    for name in METHODS:
        setattr(p, name, getattr(hook, name))
    return hook


def hook_of(p: Any) -> ConditioningHook | None:
    hook: ConditioningHook | None = vars(p).get("aesthetic_hook")
    return hook


def remove(p: Any) -> None:
    """Take the hook off `p`: that of an earlier run, or one that came along when the job was copied."""
    hook = vars(p).pop("aesthetic_hook", None)
    if hook is None:
        return
    for name in METHODS:
        if vars(p).get(name) == getattr(hook, name):
            delattr(p, name)
        elif hook.p is p:
            hook.request = None  # another extension has wrapped ours, which stays inside and does nothing


class ConditioningHook:
    """The two methods of one job. Called as the host calls them (modules/processing.py, StableDiffusionProcessing)."""

    def __init__(self, p: Any, request: Request | None, report: PictureReport) -> None:
        self.p, self.request, self.report = p, request, report  # without a request, everything is plain
        self._host_conds, self._host_key = (getattr(p, name) for name in METHODS)
        self._tags: tuple[CacheTag, ...] = ()
        self._last_key: tuple[Any, ...] = ()

    def get_conds_with_caching(
        self,
        function: Callable[..., Any],
        required_prompts: Any,
        steps: int,
        caches: list[Any],
        extra_network_data: Any,
        hires_steps: int | None = None,
        **others: Any,
    ) -> Any:
        if isinstance(function, PersonalizedFunction):
            # of the hook of a copy of this job, on which another extension's wrapper still leads to this one
            arguments = (required_prompts, steps, caches, extra_network_data, hires_steps)
            return self._tagged(function, *arguments, **others)
        negative, hires = bool(getattr(required_prompts, "is_negative_prompt", False)), hires_steps is not None
        prompts, found = tags.of_prompts(self.p, required_prompts, negative, hires, extra_network_data)
        arguments = (prompts, steps, caches, extra_network_data, hires_steps)
        targets = self._targets(negative, hires, found)
        if not any(targets):
            self.report([], False, negative, hires)
            return self._host_conds(function, *arguments, **others)
        tag, self._last_key = CacheTag(targets), ()
        conds = self._tagged(PersonalizedFunction(function, tag), *arguments, **others)
        results = tag.results or self._cached(tag, caches)
        if not all(result.tuned for row in results for result in row):
            caches[0][0] = None  # plain where it should have been tuned: it must not pass for tuned the next time
        self.report(results, results is not tag.results, negative, hires)
        return conds

    def _tagged(self, function: PersonalizedFunction, *arguments: Any, **others: Any) -> Any:
        self._tags = (function.tag,)
        try:
            return self._host_conds(function, *arguments, **others)
        finally:
            self._tags = ()

    def cached_params(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        self._last_key = (*self._host_key(*args, **kwargs), *self._tags)
        return self._last_key

    def _targets(self, negative: bool, hires: bool, found: list[list[list[str]]]) -> tuple[Target | None, ...]:
        """Of each prompt. Where one of its tags is wrong, all prompts stay plain, and the report says why."""
        if self.request is None:
            return ()
        if self.p.disable_extra_networks:
            found = [[] for _ in found]
        try:
            return tuple(tags.target(self.request, negative, hires, each, host.library) for each in found)
        except AestheticError as error:
            self.report.add_error(str(error))
            return ()

    def _cached(self, tag: CacheTag, caches: list[Any]) -> list[list[PromptResult]]:
        """The results kept with the key of this call, to which another extension may have added."""
        n = len(self._last_key)
        keys = [cache[0] for cache in caches if cache[0] and cache[0][:n] == self._last_key]
        return next((part.results for key in keys for part in key if isinstance(part, CacheTag) and part == tag), [])
