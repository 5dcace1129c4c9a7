"""Where a job's conditioning is made and cached, and how ours gets in, in both hosts.

A job (the host's `p`) has one method that returns conditioning, through a cache, and one that returns the cache's key.
Both are wrapped on the instance: nothing of the host's own is patched, and what is wrapped goes when the job goes. The
key says nothing of scripts, so ours is appended: equal settings hit, others miss, and a plain job never sees ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..errors import AestheticError
from . import host, tags
from .conditioner import Conditioner, Outcome
from .picture_report import say
from .request import Plan, Target

#: Takes outcomes, cached, negative, hires.
Reporter: TypeAlias = Callable[[list[Outcome], bool, bool, bool], None]
METHODS = ("get_conds_with_caching", "cached_params")


@dataclass
class Stamp:
    """Our part of a cache key. The cache keeps it, and with it what is to be said when it is hit."""

    target: Target
    outcomes: list[Outcome] = field(default_factory=list, compare=False)


def install(p: Any, plan: Plan | None, report: Reporter) -> Seam:
    """Let `p` make its conditioning by `plan`, in place of what an earlier run of it installed.

    report: told of each conditioning of the job: its outcomes, whether the host's cache had it, and whether it is
        of the negative prompt, and of the hires pass.

    Raises AestheticError where the host has no such methods.
    """
    remove(p)
    if missing := [name for name in METHODS if not hasattr(p, name)]:
        raise AestheticError(
            f"This WebUI makes its conditioning in an unknown way: a job has no {' and no '.join(missing)}. "
            "Pictures stay plain."
        )
    p.aesthetic_seam = seam = Seam(p, plan, report)
    for name in METHODS:
        setattr(p, name, getattr(seam, name))
    return seam


def of(p: Any) -> Seam | None:
    return vars(p).get("aesthetic_seam")


def remove(p: Any) -> None:
    """Take the seam off `p`: that of an earlier run, or one that came along when the host copied another job."""
    seam = vars(p).pop("aesthetic_seam", None)
    if seam is None:
        return
    for name in METHODS:
        if vars(p).get(name) == getattr(seam, name):
            delattr(p, name)
        else:
            seam.plan = None  # another extension has wrapped ours, which stays inside, and does nothing


class Seam:
    """The two methods of one job. Called as the host calls them (modules/processing.py, StableDiffusionProcessing)."""

    def __init__(self, p: Any, plan: Plan | None, report: Reporter) -> None:
        self.plan, self.report = plan, report  # without a plan, everything is plain
        self._p = p
        self._conds, self._key = (getattr(p, name) for name in METHODS)
        self._stamps: tuple[Stamp, ...] = ()
        self._made: tuple[Any, ...] = ()

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
        negative, hires = bool(getattr(required_prompts, "is_negative_prompt", False)), hires_steps is not None
        prompts, found = tags.without_tags(required_prompts, negative, extra_network_data)
        arguments = (prompts, steps, caches, extra_network_data, hires_steps)
        target = self._target(negative, hires, [] if self._p.disable_extra_networks else found)
        if target is None:
            self.report([], False, negative, hires)
            return self._conds(function, *arguments, **others)
        stamp = Stamp(target)

        def personal(model: Any, *rest: Any, **more: Any) -> Any:
            return function(Conditioner(model, target, stamp.outcomes), *rest, **more)

        self._stamps = (stamp,)
        try:
            conds = self._conds(personal, *arguments, **others)
        finally:
            self._stamps = ()
        kept = stamp.outcomes or self._hit(caches)
        if not all(outcome.tuned for outcome in kept):
            caches[0][0] = None  # plain where it should have been tuned: it must not pass for tuned the next time
        self.report(kept, kept is not stamp.outcomes, negative, hires)
        return conds

    def cached_params(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        self._made = (*self._key(*args, **kwargs), *self._stamps)
        return self._made

    def _target(self, negative: bool, hires: bool, found: list[list[str]]) -> Target | None:
        if self.plan is None:
            return None
        try:
            return tags.target(self.plan, negative, hires, found, host.library)
        except AestheticError as error:
            say(self._p, str(error))
            return None

    def _hit(self, caches: list[Any]) -> list[Outcome]:
        """What is kept in the cache that has the key made here, to which another extension may have added."""
        n = len(self._made)
        return next((cache[0][n - 1].outcomes for cache in caches if cache[0] and cache[0][:n] == self._made), [])
