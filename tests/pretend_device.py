"""An accelerator that is none: it computes on the CPU, and is as strict and as countable as a real one.

torch lets a backend be written in Python, in current releases. Its tensors hold a CPU tensor each. Within the mode
`Device`, every operation on one is counted, and one that mixes devices is refused, as a graphics card would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "pretend"
AVAILABLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
if AVAILABLE:
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]  # autocast asks for it
    backend_registration._setup_privateuseone_for_python_backend(NAME, module)

#: What gives another view of the same memory, and is no work for the device.
VIEWS = [
    "_reshape_alias",
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "diagonal",
    "expand",
    "lift_fresh",
    "permute",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unsqueeze",
    "view",
]
#: What makes the host wait for a number, or for a size that depends on numbers.
READS = ("_local_scalar_dense", "nonzero", "_unique2", "equal")


class PretendTensor(Tensor):
    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, device: torch.device) -> PretendTensor:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a pretend device, outside of its mode.")


class Device(TorchDispatchMode):
    """launches: by operation; reads: what the host waited for; sent: copies from the CPU.

    before_launch: called before each operation, for tests that let one fail.
    cpu_too: count what is done on the CPU as well, where attention is one operation, as on a graphics card. (A device
        that is written in Python is asked for its parts one by one.)
    """

    def __init__(self, before_launch: Callable[[], None] = lambda: None, cpu_too: bool = False) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.reads = self.sent = 0
        self.before_launch, self.cpu_too = before_launch, cpu_too

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        ours = [x for x in tensors if isinstance(x, PretendTensor)]
        asked = kwargs.get("device")
        target = torch.device(asked) if asked is not None else ours[0].device if ours else torch.device("cpu")
        if not ours and target.type != NAME:
            if self.cpu_too:
                self._count(func.overloadpacket.__name__, tensors, ours, target)
            return func(*args, **kwargs)
        self._count(func.overloadpacket.__name__, tensors, ours, target)
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        out = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if target.type != NAME:
            return out
        wrappers = {id(x.held): x for x in ours}  # an operation in place returns what it was given

        def wrapped(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            return wrappers[id(x)] if id(x) in wrappers else PretendTensor(x, target)

        return tree_map(wrapped, out)

    def _count(self, name: str, tensors: list[Tensor], ours: list[PretendTensor], target: torch.device) -> None:
        copies = name in ("_to_copy", "copy_")
        devices = {x.device for x in tensors if x.dim() or isinstance(x, PretendTensor)}  # CPU scalars may be mixed in
        if len(devices) > 1 and not copies:
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got {devices}.")
        masks = name.startswith("index") and any(x.dtype == torch.bool for x in tensors)
        if name in READS or masks or (copies and ours and target.type != NAME):
            self.reads += 1
        elif copies and len(devices | {target}) > 1:
            self.sent += 1
        elif name not in VIEWS:
            self.before_launch()
            self.launches[name] += 1

    @property
    def total(self) -> int:
        return sum(self.launches.values())


def _held(x: Any) -> Any:
    return x.held if isinstance(x, PretendTensor) else x
