"""Wraps the two methods of a job that make and cache its conditioning, in A1111 and Forge.

A job (the host's `p`) has one method that returns conditioning, through a cache, and one that returns the cache's key.
Both are wrapped on the instance: the host's classes stay as they are, and the wrappers end with the job. The host's key
does not include scripts, so our targets are appended: equal settings hit, others miss, and a plain job never gets
tuned conditioning. Jobs of SD.Next have no such methods: there sdnext.py asks the job's hook for its targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import AestheticError
from . import host, sdnext, tags
from .conditioner import PromptResult, personalized_conditioning
from .picture_report import PictureReport
from .request import Request, Target

METHODS = ("get_conds_with_caching", "cached_params")


@dataclass
class CacheTag:
    """Our part of a cache key. It also keeps the results, which are reported again on a cache hit.

    targets: one for each prompt of a batch, None for a plain one. results: for each prompt, those of its texts.
    """

    targets: tuple[Target | None, ...]
    results: list[list[PromptResult]] = field(default_factory=list, compare=False)


@dataclass
class PersonalizedFunction:
    """A function of the host that turns prompts into conditioning, with each prompt tuned towards its target."""

    function: Callable[..., Any]
    tag: CacheTag

    def __call__(self, model: Any, prompts: Any, *args: Any, **kwargs: Any) -> Any:
        targets = self.tag.targets
        conds, self.tag.results = personalized_conditioning(self.function, model, prompts, targets, *args, **kwargs)
        return conds


def install(p: Any, request: Request | None, report: PictureReport) -> ConditioningHook:
    """Let the job `p` make its conditioning as requested. Replaces the hook of an earlier run.

    report: called with the results of each conditioning.

    Raises AestheticError if the host has neither the two methods nor SD.Next's embedder.
    """
    remove(p)
    missing = [name for name in METHODS if not hasattr(p, name)]
    if missing and not sdnext.install():
        raise AestheticError(
            f"This WebUI makes its conditioning in an unknown way: a job has no {' and no '.join(missing)}. "
            "Pictures stay plain."
        )
    p.aesthetic_hook = hook = ConditioningHook(p, request, report)
    if missing:
        report.expect(sdnext.NOT_ENCODED)
    else:
        for name in METHODS:
            setattr(p, name, getattr(hook, name))
    return hook


def hook_of(p: Any) -> ConditioningHook | None:
    hook: ConditioningHook | None = vars(p).get("aesthetic_hook")
    return hook


def remove(p: Any) -> None:
    """Remove the hook of an earlier run from `p`, or the hook that came along when the job was copied."""
    hook = vars(p).pop("aesthetic_hook", None)
    if hook is None:
        return
    for name in METHODS:
        if vars(p).get(name) == getattr(hook, name):
            delattr(p, name)
        elif hook.p is p:
            hook.request = None  # another extension wraps ours, so it stays and does nothing


class ConditioningHook:
    """The two methods of one job, with the host's signatures (modules/processing.py, StableDiffusionProcessing)."""

    def __init__(self, p: Any, request: Request | None, report: PictureReport) -> None:
        self.p, self.request, self.report = p, request, report  # without a request, everything is plain
        hosts_methods: list[Any] = [getattr(p, name, None) for name in METHODS]
        self._host_get_conds, self._host_get_key = hosts_methods
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
        **kwargs: Any,
    ) -> Any:
        if isinstance(function, PersonalizedFunction):
            # a copy of this job has its own hook, and another extension's wrapper still calls this one
            arguments = (required_prompts, steps, caches, extra_network_data, hires_steps)
            return self._call_with_tag(function, *arguments, **kwargs)
        negative, hires = bool(getattr(required_prompts, "is_negative_prompt", False)), hires_steps is not None
        prompts, tags_of_prompts = tags.split_prompts(self.p, required_prompts, negative, hires, extra_network_data)
        arguments = (prompts, steps, caches, extra_network_data, hires_steps)
        targets = self.targets(negative, hires, tags_of_prompts)
        if not any(targets):
            self.report([], False, negative, hires)
            return self._host_get_conds(function, *arguments, **kwargs)
        tag, self._last_key = CacheTag(targets), ()
        conds = self._call_with_tag(PersonalizedFunction(function, tag), *arguments, **kwargs)
        results = tag.results or self._cached_results(tag, caches)
        if not all(result.tuned for row in results for result in row):
            caches[0][0] = None  # plain after a failure: it must not be reused as tuned
        self.report(results, results is not tag.results, negative, hires)
        return conds

    def _call_with_tag(self, function: PersonalizedFunction, *args: Any, **kwargs: Any) -> Any:
        self._tags = (function.tag,)
        try:
            return self._host_get_conds(function, *args, **kwargs)
        finally:
            self._tags = ()

    def cached_params(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        self._last_key = (*self._host_get_key(*args, **kwargs), *self._tags)
        return self._last_key

    def targets(self, negative: bool, hires: bool, tags_of_prompts: list[list[list[str]]]) -> tuple[Target | None, ...]:
        """The target of each prompt. If one tag is wrong all prompts stay plain, and the report says why."""
        if self.request is None:
            return ()
        if self.p.disable_extra_networks:
            tags_of_prompts = [[] for _ in tags_of_prompts]
        try:
            return tuple(
                tags.combined_target(self.request, negative, hires, prompt_tags, host.library)
                for prompt_tags in tags_of_prompts
            )
        except AestheticError as error:
            self.report.add_error(str(error))
            return ()

    def _cached_results(self, tag: CacheTag, caches: list[Any]) -> list[list[PromptResult]]:
        """The results in the cache under the key of this call. Another extension may have appended to that key."""
        n = len(self._last_key)
        keys = [cache[0] for cache in caches if cache[0] and cache[0][:n] == self._last_key]
        return next((part.results for key in keys for part in key if isinstance(part, CacheTag) and part == tag), [])
