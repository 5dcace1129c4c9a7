"""Reads tensors from `.pt` and `.bin` files without `torch.load`, and without running anything they contain.

Such a file is a zip archive: `data.pkl` is a pickle, a program for a small stack machine, and `data/0`, `data/1`, ...
are the bytes of the storages it speaks of. `torch.load` is not used, since its `weights_only=True` could be bypassed up
to torch 2.5.1 and hosts pin older ones. Neither is `pickle`, whose machine can be made to call anything, or, with the
five bytes of a LONG_BINPUT, to take 64 GB of memory. `_run` below knows the few instructions that torch writes and no
other, and what it builds are descriptions of tensors: a storage is read when a caller asks for that one tensor.

How long that takes, and how much memory, is bounded by the limits below, whatever a file of that size holds.
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

_DIRECTORY_LIMIT = 2**19  # bytes of the zip's list of members; that of 2500 tensors takes 0.3 MB
_DIMENSIONS_LIMIT = 8
_INTEGER_LIMIT = 2**63
_TEXT_LIMIT = 1024  # characters of a text in a pickle: names of tensors


@dataclass(frozen=True)
class _Limits:
    """Of a pickle: bytes, and instructions. A tensor of a state dict takes about 150 and 30."""

    size: int
    instructions: int


_OF_VECTOR = _Limits(2**18, 40_000)  # enough to tell a small LoRA from a vector
_OF_MODEL = _Limits(2**21, 400_000)


def read_vector(file: BinaryIO, path: Path) -> Tensor:
    """The one tensor of a legacy aesthetic embedding, as stored: `[dim]` or `[1, dim]`, of its own dtype, on the CPU.

    path: what `file` is called in errors. Raises FileError, which names the file and says what is in it instead.
    """
    with _archive(file, path, _OF_VECTOR) as archive:
        if not isinstance(archive.content, _Description):
            raise FileError(f"{path} {_instead(archive.content)}")
        return archive.tensor(archive.content)


def read_named(path: Path, choose: Callable[[list[str]], str]) -> Tensor:
    """One tensor of a file that holds several by name (a state dict); `choose` picks among the names.

    Only that tensor's bytes are read. Raises FileError, and what `choose` raises.
    """
    with open_regular(path) as file, _archive(file, path, _OF_MODEL) as archive:
        tensors = _by_name(archive.content)
        return archive.tensor(tensors[choose(list(tensors))])


def read_all(path: Path) -> dict[str, Tensor]:
    """Every tensor of a small state dict, by name. Raises FileError."""
    with open_regular(path) as file, _archive(file, path, _OF_MODEL) as archive:
        tensors = _by_name(archive.content)
        if sum(math.prod(each.shape) * each.storage.dtype.itemsize for each in tensors.values()) > archive.size:
            raise ValueError("its tensors share storages, and are larger than the file in all")
        return {name: archive.tensor(tensor) for name, tensor in tensors.items()}


class _Storage(NamedTuple):
    dtype: torch.dtype
    key: str
    numel: int


class _Description(NamedTuple):
    """A tensor that has not been read: where its numbers lie in which storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass
class _Archive:
    zip: zipfile.ZipFile
    size: int  # of the file
    root: str  # every member's first folder; torch names it after the file it wrote
    content: object

    def tensor(self, wanted: _Description) -> Tensor:
        dtype, key, numel = wanted.storage
        raw = bytearray(_read(self.zip, f"{self.root}data/{key}", min(self.size, numel * dtype.itemsize)))
        last = wanted.offset + sum((n - 1) * s for n, s in zip(wanted.shape, wanted.stride, strict=True))
        inside = min(wanted.offset, last, *wanted.shape, *wanted.stride) >= 0 and last < numel
        # a stride of 0 can blow a small storage up to any size; no file that we mean to read has one
        if len(raw) != numel * dtype.itemsize or not inside or math.prod(wanted.shape) > numel:
            raise ValueError("the sizes of a tensor and of its storage do not agree")
        numbers = torch.frombuffer(raw, dtype=torch.uint8).view(-1, dtype.itemsize)
        if self._byteorder() != sys.byteorder:
            numbers = numbers.flip(1)
        return numbers.flatten().view(dtype).as_strided(wanted.shape, wanted.stride, wanted.offset).clone()

    def _byteorder(self) -> str:
        name = f"{self.root}byteorder"  # absent from files older than torch 2.1, which were little-endian in practice
        order = _read(self.zip, name, 8) if name in self.zip.namelist() else b"little"
        return {b"little": "little", b"big": "big"}[order]


class _Bounded:
    """A file of which no more than `limit` bytes are read in one go, which bounds what zipfile does with its list."""

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
        with zipfile.ZipFile(bounded) as archive:  # it asks no more of a file
            bounded.limit = None
            pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(pickles) != 1:
                raise FileError(f"{path} is a zip archive, but not one that torch.save wrote. Unpack it first.")
            pickled = _read(archive, pickles[0], min(size, limits.size))
            if b"string_to_param" in pickled:  # said before any of it is run: old ones need classes that we refuse
                raise FileError(f"{path} is a textual-inversion file. Move it to the folder embeddings/.")
            yield _Archive(archive, size, pickles[0].removesuffix("data.pkl"), _run(pickled, limits.instructions))
    except FileError:
        raise
    except _Refused as why:
        raise FileError(f"{path} was refused: {why} It holds more than numbers; nothing of it was run.") from why
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # zipfile, pickletools and bad sizes raise a dozen kinds; the file chooses which
        raise FileError(f"{path} is damaged or cut short. Copy or download it again.") from error


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A member's bytes. torch never compresses, so one that is compressed, hence perhaps a bomb, is refused."""
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > limit:
        raise ValueError(f"{name} is larger than it should be, or compressed")
    return archive.read(member)


def _by_name(content: object) -> Mapping[str, _Description]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    named = content if isinstance(content, dict) else {}
    return {name: value for name, value in named.items() if isinstance(name, str) and isinstance(value, _Description)}


def _instead(content: object) -> str:
    names = _by_name(content)
    if any("lora" in name.lower() for name in names):
        return "is a LoRA, not an aesthetic embedding. Move it to the folder models/Lora."
    if isinstance(content, (dict, list, tuple)) and content:
        return "holds several things, so it is a model of some kind; an aesthetic embedding is one vector."
    return "holds no vector, so it is not an aesthetic embedding."


# ---- the pickle's stack machine -------------------------------------------------------------------------------------


class _Refused(Exception):
    pass


def _tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> _Description:
    if not isinstance(storage, _Storage) or not isinstance(offset, int) or not _ints(shape) or not _ints(stride):
        raise ValueError("a tensor is described wrongly")
    return _Description(storage, offset, shape, stride)


def _parameter(data: object, *_: object) -> object:
    return data


def _ordered_dict() -> dict[object, object]:
    return {}


#: All the names a pickle may use. They stand for functions and values of ours: nothing of torch runs.
_GLOBALS: Mapping[str, Any] = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "collections OrderedDict": _ordered_dict,
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,  # this one and the following stand in state dicts, beside what we want
    "torch IntStorage": torch.int32,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}


def _run(pickled: bytes, limit: int) -> object:
    """What the pickle builds: numbers, strings, containers, and `_Description`s in place of tensors.

    limit: of instructions.

    Raises _Refused on a name or an instruction that a saved tensor or state dict does not need, and whatever Python
    raises on a program that makes no sense.
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
                if not all(isinstance(key, (str, int)) for key in keys):  # hashing deep tuples can take for ever
                    raise ValueError("a dictionary has a key that is neither text nor a number")
                _top(stack, dict).update(zip(keys, values, strict=True))
            case "GLOBAL":
                stack.append(_global(arg))
            case "STACK_GLOBAL":
                stack.append(_global(" ".join(pop(2))))
            case "REDUCE":
                function, arguments = pop(2)
                stack.append(function(*arguments))  # only _GLOBALS puts something that can be called on the stack
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
            return _Storage(dtype, key, numel)  # the device it was saved from does not matter
        case _:
            raise ValueError("a storage is described wrongly")


def _top(stack: list[Any], kind: type) -> Any:
    if not isinstance(stack[-1], kind):
        raise ValueError("the pickle fills something that is no container")
    return stack[-1]


def _ints(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= _DIMENSIONS_LIMIT and all(isinstance(n, int) for n in value)
