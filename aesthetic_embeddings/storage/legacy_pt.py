"""Reads tensors from `.pt` and `.bin` files without `torch.load`, and without running anything they contain.

Such a file is a zip archive. `data.pkl` is a pickle, a program for a small stack machine, and `data/0`, `data/1`, ...
are the bytes of the tensors' storages. `torch.load` is not used, since its `weights_only=True` could be bypassed up to
torch 2.5.1, and hosts pin older ones. `pickle` is not used either: a file can make it call anything, or take 64 GB of
memory with the five bytes of a LONG_BINPUT. `_run` below knows only the few instructions that torch writes. It builds
descriptions of tensors, and a storage is read only when a caller asks for its tensor.

The limits below bound the time and the memory that any file of a given size can take.
"""

from __future__ import annotations

import math
import os
import pickletools
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard

import torch
from torch import Tensor

from ..errors import FileError
from .paths import open_regular

_DIRECTORY_LIMIT = 2**19  # bytes of the zip's directory; that of 2500 tensors has 0.3 MB
_DIMENSIONS_LIMIT = 8
_INTEGER_LIMIT = 2**63
_TEXT_LIMIT = 1024  # characters of a string in a pickle, such as a tensor's name


@dataclass(frozen=True)
class _Limits:
    """Limits of a pickle: bytes, and instructions. A tensor of a state dict takes about 150 and 30."""

    size: int
    instructions: int


_VECTOR_LIMITS = _Limits(2**18, 40_000)  # enough to tell a small LoRA from a vector
_MODEL_LIMITS = _Limits(2**21, 400_000)


def read_vector(file: BinaryIO, path: Path) -> Tensor:
    """Read the one tensor of a legacy aesthetic embedding as stored: `[dim]` or `[1, dim]`, in its own dtype.

    path: the name of `file` in errors. Raises FileError, which says what the file holds instead.
    """
    with _archive(file, path, _VECTOR_LIMITS) as archive:
        if not isinstance(archive.content, _TensorDescription):
            raise FileError(f"{path} {_describe_content(archive.content)}")
        return archive.tensor(archive.content)


def read_named(path: Path, choose: Callable[[list[str]], str]) -> Tensor:
    """Read one tensor of a state dict. choose: returns a name, given all names.

    Only that tensor's bytes are read. Raises FileError, and what `choose` raises.
    """
    with open_regular(path) as file, _archive(file, path, _MODEL_LIMITS) as archive:
        tensors = _by_name(archive.content)
        return archive.tensor(tensors[choose(list(tensors))])


def read_all(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a small state dict, by name. Raises FileError."""
    with open_regular(path) as file, _archive(file, path, _MODEL_LIMITS) as archive:
        tensors = _by_name(archive.content)
        if sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in tensors.values()) > archive.size:
            raise ValueError("its tensors share storages, and are larger than the file in all")
        return {name: archive.tensor(tensor) for name, tensor in tensors.items()}


class _Storage(NamedTuple):
    dtype: torch.dtype
    key: str
    numel: int


class _TensorDescription(NamedTuple):
    """A tensor that is not read yet: its storage, and the layout of its numbers in it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass
class _Archive:
    zip: zipfile.ZipFile
    size: int  # of the file
    root: str  # the first folder of all members; torch names it after the file
    content: object

    def tensor(self, description: _TensorDescription) -> Tensor:
        dtype, key, numel = description.storage
        raw = bytearray(_read(self.zip, f"{self.root}data/{key}", min(self.size, numel * dtype.itemsize)))
        last = description.offset + sum(
            (n - 1) * stride for n, stride in zip(description.shape, description.stride, strict=True)
        )
        inside = min(description.offset, last, *description.shape, *description.stride) >= 0 and last < numel
        # a stride of 0 could expand a small storage to any size; legitimate files have none
        if len(raw) != numel * dtype.itemsize or not inside or math.prod(description.shape) > numel:
            raise ValueError("the sizes of a tensor and of its storage do not agree")
        numbers = torch.frombuffer(raw, dtype=torch.uint8).view(-1, dtype.itemsize)
        if self._byteorder() != sys.byteorder:
            numbers = numbers.flip(1)
        return (
            numbers.flatten().view(dtype).as_strided(description.shape, description.stride, description.offset).clone()
        )

    def _byteorder(self) -> str:
        name = f"{self.root}byteorder"  # absent from files older than torch 2.1, which were little-endian in practice
        order = _read(self.zip, name, 8) if name in self.zip.namelist() else b"little"
        return {b"little": "little", b"big": "big"}[order]


class _Bounded:
    """A file that refuses to read more than `limit` bytes at once, which bounds zipfile's work on its directory."""

    def __init__(self, file: BinaryIO, limit: int | None) -> None:
        self.file, self.limit = file, limit
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.limit is None:
            return self.file.read(size)
        data = self.file.read(self.limit + 1 if size < 0 else min(size, self.limit + 1))
        if len(data) > self.limit:
            raise ValueError("the list of its members is larger than it should be")
        return data


@contextmanager
def _archive(file: BinaryIO, path: Path, limits: _Limits) -> Iterator[_Archive]:
    size = file.seek(0, os.SEEK_END)
    try:
        bounded = _Bounded(file, _DIRECTORY_LIMIT)
        with zipfile.ZipFile(bounded) as archive:  # it needs only these methods
            bounded.limit = None
            pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(pickles) != 1:
                raise FileError(f"{path} is a zip archive, but not one that torch.save wrote. Unpack it first.")
            pickled = _read(archive, pickles[0], min(size, limits.size))
            if b"string_to_param" in pickled:  # checked before it is run: old ones need classes that are refused
                raise FileError(f"{path} is a textual-inversion file. Move it to the folder embeddings/.")
            yield _Archive(archive, size, pickles[0].removesuffix("data.pkl"), _run(pickled, limits.instructions))
    except FileError:
        raise
    except _Refused as reason:
        raise FileError(f"{path} was refused: {reason} It holds more than numbers; nothing of it was run.") from reason
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # zipfile, pickletools and bad sizes raise many kinds of errors
        raise FileError(f"{path} is damaged or cut short. Copy or download it again.") from error


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A member's bytes. Compressed members are refused: torch never writes them, and they could be zip bombs."""
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > limit:
        raise ValueError(f"{name} is larger than it should be, or compressed")
    return archive.read(member)


def _by_name(content: object) -> Mapping[str, _TensorDescription]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    entries = content if isinstance(content, dict) else {}
    return {
        name: value
        for name, value in entries.items()
        if isinstance(name, str) and isinstance(value, _TensorDescription)
    }


def _describe_content(content: object) -> str:
    names = _by_name(content)
    if any("lora" in name.lower() for name in names):
        return "is a LoRA, not an aesthetic embedding. Move it to the folder models/Lora."
    if isinstance(content, (dict, list, tuple)) and content:
        return "holds several things, so it is a model of some kind; an aesthetic embedding is one vector."
    return "holds no vector, so it is not an aesthetic embedding."


# ---- the pickle's stack machine -------------------------------------------------------------------------------------


class _Refused(Exception):
    pass


def _tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> _TensorDescription:
    if not isinstance(storage, _Storage) or not isinstance(offset, int) or not _ints(shape) or not _ints(stride):
        raise ValueError("a tensor is described wrongly")
    return _TensorDescription(storage, offset, shape, stride)


def _parameter(data: object, *_: object) -> object:
    return data


def _ordered_dict() -> dict[object, object]:
    return {}


#: The only names that a pickle may use. They map to functions and values of ours, so nothing of torch runs.
_GLOBALS: Mapping[str, Any] = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "collections OrderedDict": _ordered_dict,
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,  # this one and the next occur in state dicts, beside the tensors we want
    "torch IntStorage": torch.int32,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}


def _run(pickled: bytes, limit: int) -> object:
    """Run a pickle. Returns numbers, strings, containers, and a `_TensorDescription` for each tensor.

    limit: on the number of instructions.

    Raises _Refused for a name or an instruction that a saved tensor or state dict does not need, and any exception for
    a program that makes no sense.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, object] = {}
    arg: Any

    def pop(n: int) -> list[Any]:
        if n > len(stack) - (marks[-1] if marks else 0):
            raise ValueError("the pickle pops more than it has pushed")
        popped = stack[len(stack) - n :]
        del stack[len(stack) - n :]
        return popped

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        popped = stack[start:]
        del stack[start:]
        return popped

    for number, (op, arg, _) in enumerate(pickletools.genops(pickled)):
        if number == limit:
            raise ValueError("the pickle has more instructions than it should")
        if (isinstance(arg, int) and abs(arg) >= _INTEGER_LIMIT) or (isinstance(arg, str) and len(arg) > _TEXT_LIMIT):
            raise ValueError("the pickle has a number or a text larger than it should be")
        match op.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(arg)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[op.name])
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(pop(0 if op.name == "EMPTY_TUPLE" else int(op.name[-1]))))
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "APPEND" | "APPENDS":
                items = pop(1) if op.name == "APPEND" else pop_to_mark()
                _top(stack, list).extend(items)
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM" | "SETITEMS":
                items = pop(2) if op.name == "SETITEM" else pop_to_mark()
                keys, values = items[::2], items[1::2]
                if not all(isinstance(key, (str, int)) for key in keys):  # hashing deep tuples can take forever
                    raise ValueError("a dictionary has a key that is neither text nor a number")
                _top(stack, dict).update(zip(keys, values, strict=True))
            case "GLOBAL":
                stack.append(_global(arg))
            case "STACK_GLOBAL":
                stack.append(_global(" ".join(pop(2))))
            case "REDUCE":
                function, arguments = pop(2)
                stack.append(function(*arguments))  # only _GLOBALS can put a callable on the stack
            case "BUILD":
                pop(1)  # the state of an OrderedDict: a state dict's version numbers
            case "BINPERSID":
                stack.append(_storage(*pop(1)))
            case _:
                raise _Refused(f"its pickle uses {op.name}.")
    raise ValueError("the pickle does not end")


def _global(name: str) -> object:
    if name not in _GLOBALS:
        raise _Refused(f"it asks for {name.replace(' ', '.')!r:.80}.")
    return _GLOBALS[name]


def _storage(description: object) -> _Storage:
    match description:
        case ("storage", torch.dtype() as dtype, str(key), str(), int(numel)) if key.isdecimal() and numel >= 0:
            return _Storage(dtype, key, numel)  # the device that it was saved from does not matter
        case _:
            raise ValueError("a storage is described wrongly")


def _top(stack: list[Any], kind: type) -> Any:
    if not isinstance(stack[-1], kind):
        raise ValueError("the pickle fills something that is no container")
    return stack[-1]


def _ints(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= _DIMENSIONS_LIMIT and all(isinstance(n, int) for n in value)
