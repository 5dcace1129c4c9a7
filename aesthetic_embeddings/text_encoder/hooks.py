"""Forward hooks for the length of a block, which hear the thread that set them and no other.

They are all that this package ever changes in an encoder, besides its mode while a prompt is recorded. Parameters are
never written to or replaced, so whoever else computes with the same modules at the same time gets what they store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from torch import Tensor, nn

from ..torch_states import restored

#: Given a module's input and its output, a hook returns another output, or None to leave it.
Hook: TypeAlias = "Callable[[Tensor, Any], Any]"


@contextmanager
def hooked(hooks: Iterable[tuple[nn.Module, Hook]]) -> Iterator[None]:
    """While the block runs, each hook is called after its module, in the order given, for calls by this thread."""
    bound = [(module, _for_this_thread(hook)) for module, hook in hooks]
    with restored(lambda: _remove(bound)):
        for module, hook in bound:
            module.register_forward_hook(hook, with_kwargs=True)
        yield


def _for_this_thread(hook: Hook) -> Callable[..., Any]:
    thread = threading.get_ident()

    def called(_: nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
        if threading.get_ident() != thread:
            return None  # torch may give it no kwargs, in the moment between its two steps of registering
        kwargs, out = rest
        return hook(args[0] if args else next(iter(kwargs.values())), out)

    return called


def _remove(hooks: list[tuple[nn.Module, Any]]) -> None:
    """By what is registered, not by handles: an interrupt may have come before there was a handle."""
    for module, hook in hooks:
        for key in [key for key, registered in list(module._forward_hooks.items()) if registered is hook]:
            module._forward_hooks.pop(key, None)
            module._forward_hooks_with_kwargs.pop(key, None)
