"""Forward hooks that last for a block, and act only on calls by the thread that set them.

This package changes nothing else in an encoder, except for evaluation mode while it records a prompt. Parameters are
never written to or replaced, so other threads that use the same modules get the stored weights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from torch import Tensor, nn

from ..torch_states import restored

#: Takes a module's input and output, and returns another output, or None to keep it.
Hook: TypeAlias = "Callable[[Tensor, Any], Any]"


@contextmanager
def hooked(hooks: Iterable[tuple[nn.Module, Hook]]) -> Iterator[None]:
    """While the block runs, each hook is called after its module, in the given order, for calls by this thread."""
    bound = [(module, _for_this_thread(hook)) for module, hook in hooks]
    with restored(lambda: _remove(bound)):
        for module, hook in bound:
            module.register_forward_hook(hook, with_kwargs=True)
        yield


def _for_this_thread(hook: Hook) -> Callable[..., Any]:
    thread = threading.get_ident()

    def called(_: nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
        if threading.get_ident() != thread:
            return None  # torch passes no kwargs between its two steps of registering a hook
        kwargs, out = rest
        return hook(args[0] if args else next(iter(kwargs.values())), out)

    return called


def _remove(hooks: list[tuple[nn.Module, Any]]) -> None:
    """Finds hooks by identity, not by handle: an interrupt may come before there is a handle."""
    for module, hook in hooks:
        for key in [key for key, registered in list(module._forward_hooks.items()) if registered is hook]:
            module._forward_hooks.pop(key, None)
            module._forward_hooks_with_kwargs.pop(key, None)
