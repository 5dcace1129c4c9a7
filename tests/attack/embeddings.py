"""Embedding files: mutated ones, and the worst that we could think of by hand."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Iterator
from functools import cache
from typing import Any

import safetensors.torch
import torch

LIMIT = 16 * 2**20  # bytes, the largest file that is looked at

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_WORDS = (
    b"9" * 1000,
    b"-1",
    b"1e999",
    b"null",
    b"[[[[",
    b'"\\u0000"',
    b"{}",
    b"true",
    b"\xff\xfe",
    b"18446744073709551616",
)


# ---- what is mutated ------------------------------------------------------------------------------------------------


@cache
def originals() -> dict[str, bytes]:
    """Good files, and files of other kinds that people drop in their place."""
    torch.manual_seed(0)
    l14, h14 = torch.randn(768), torch.randn(1024)
    families = {"clip-vit-l-14": l14, "open-clip-vit-h-14": h14, "clip-vit-l-14/against": torch.randn(768)}
    about = {"format": "aesthetic-embedding", "version": "1", "name": "dusk", "images": "12", "notes": "n" * 300}
    lora = {f"lora_te_layer_{i}.weight": torch.randn(4, 8) for i in range(40)}
    return {
        "three": safetensors.torch.save(families, about),
        "one": safetensors.torch.save({"clip-vit-l-14": l14.half()}, about),
        "bare": safetensors.torch.save({"anything": l14[None]}),
        "lora": safetensors.torch.save(lora, {"ss_tag_frequency": "x" * 2000}),
        "pt": saved(l14[None].half()),
        "pt float": saved(l14),
        "pt parameter": saved(torch.nn.Parameter(l14)),
        "pt protocol 4": saved(l14, pickle_protocol=4),
        "pt state": saved({f"layer.{i}.weight": torch.randn(3, 5) for i in range(30)}),
        "pt embedding": saved({"string_to_param": {"*": l14}, "name": "x"}),
    }


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def mutated(seed: int) -> tuple[str, bytes]:
    """The mutant of this number, and what it is called."""
    rng = random.Random(seed)
    name = rng.choice(list(originals()))
    data = originals()[name]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(MUTATIONS)(data, rng)[:LIMIT]
    return f"mutant {seed} of {name}", data


def _bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64)) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _bytes(data: bytes, rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 4, 16, 200))
    return data[:at] + rng.randbytes(size) + data[at + size :]


def _number(data: bytes, rng: random.Random) -> bytes:
    """An interesting number over 1, 2, 4 or 8 bytes, near the start or the end for the most part."""
    size = rng.choice((1, 2, 4, 8))
    number = (rng.choice(_NUMBERS) % 2 ** (8 * size)).to_bytes(size, rng.choice(("little", "big")))
    at = _place(data, rng)
    return data[:at] + number + data[at + size :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)] if rng.random() < 0.5 else data[_place(data, rng) :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 20, 500))
    return data[:at] + data[at : at + size] * rng.choice((2, 30, 300)) + data[at + size :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.choice(_WORDS) + data[at:]


def _splice(data: bytes, rng: random.Random) -> bytes:
    other = originals()[rng.choice(list(originals()))]
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def _in_header(data: bytes, rng: random.Random) -> bytes:
    """A change of safetensors' JSON that leaves its length right."""
    length = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or length > len(data):
        return _number(data, rng)
    head = data[8 : 8 + length]
    at = _place(head, rng)
    head = head[:at] + rng.choice(_WORDS) * rng.choice((1, 1, 50)) + head[at + rng.randrange(12) :]
    return struct.pack("<Q", len(head)) + head + data[8 + length :]


def _in_pickle(data: bytes, rng: random.Random) -> bytes:
    """A change of a .pt's pickle, in an archive whose sums are right."""
    members = _members(data)
    name = next((name for name in members if name.endswith("data.pkl")), None)
    if name is None:
        return _bits(data, rng)
    change = rng.choice((_bits, _bytes, _repeat, _insert_instructions, _cut))
    return zipped(members | {name: change(members[name], rng)})


def _insert_instructions(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    some = (
        b"(",
        b"]",
        b"}",
        b")",
        b"\x85",
        b"\x86",
        b"\x87",
        b"a",
        b"e",
        b"s",
        b"u",
        b"t",
        b"R",
        b"b",
        b"Q",
        b"0",
        b"2",
    )
    numbers = (
        b"K\xff",
        b"M\xff\xff",
        b"J\xff\xff\xff\x7f",
        b"\x8a\xff" + b"\x7f" * 255,
        b"h\x00",
        b"j\xff\xff\xff\x7f",
    )
    return data[:at] + b"".join(rng.choices(some + numbers, k=rng.choice((1, 5, 400)))) + data[at:]


def _zip_field(data: bytes, rng: random.Random) -> bytes:
    """An interesting number in one of the fields of the zip's own records."""
    signature = rng.choice((b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7"))
    at = data.find(signature, rng.randrange(max(1, len(data))))
    if at < 0:
        return _number(data, rng)
    at, size = at + rng.randrange(4, 46), rng.choice((2, 4, 8))
    return data[:at] + (rng.choice(_NUMBERS) % 2 ** (8 * size)).to_bytes(size, "little") + data[at + size :]


def _place(data: bytes, rng: random.Random) -> int:
    size = len(data)
    where = rng.random()
    if where < 0.4:
        return rng.randrange(min(size, 400) + 1)
    return max(0, size - rng.randrange(min(size, 700) + 1)) if where < 0.7 else rng.randrange(size + 1)


def _members(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()[:200]}
    except Exception:
        return {}


def zipped(members: dict[str, bytes], compress: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compress) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


ANY_FORMAT = (_bits, _bytes, _number, _cut, _repeat)
MUTATIONS = (*ANY_FORMAT, _insert, _splice, _in_header, _in_pickle, _zip_field)


# ---- by hand --------------------------------------------------------------------------------------------------------


def worst() -> Iterator[tuple[str, bytes]]:
    """Files that cost much time or memory to whoever does arithmetic on what they say before they check it."""
    long = b"\x8a\xfa" + b"\x7f" * 250
    yield "a shape of 60 numbers of 2000 bits", with_pickle(_tensor(long * 60, b"K\x00" * 60))
    often = long + b"q\x00" + b"h\x00" * 14_999
    yield "a shape of 15,000 numbers of 2000 bits", with_pickle(_tensor(often, b"K\x00" * 15_000))
    yield "a shape of thousands of ones", with_pickle(_tensor(b"K\x01" * 60_000, b"K\x00" * 60_000))
    yield "tuples nested in tuples", with_pickle(b"\x80\x02" + b")" + b"\x85" * 4_000_000 + b".")
    yield "tuples that double", with_pickle(b"\x80\x02)" + b"q\x00h\x00h\x00\x86" * 60 + b".")
    yield "tuples that double as a key", with_pickle(b"\x80\x02})" + b"q\x00h\x00h\x00\x86" * 60 + b"K\x01s.")
    yield "lists nested in lists", with_pickle(b"\x80\x02" + b"]" * 2_000_000 + b"a" * 1_999_999 + b".")
    yield "a pickle of marks", with_pickle(b"\x80\x02" + b"(" * 4_000_000 + b".")
    yield "a pickle of 15 MB", with_pickle(b"\x80\x02" + b"N0" * 7_500_000 + b".")
    yield "a pickle that never ends", with_pickle(b"\x80\x02" + b"K\x01" * 100_000)
    yield (
        "a long text as every key",
        with_pickle(
            b"\x80\x02X"
            + struct.pack("<I", 200_000)
            + b"1" * 200_000
            + b"q\x00"
            + b"(h\x00h\x00h\x00h\x00tQ" * 20_000
            + b"."
        ),
    )
    yield "a memo of 4 GB", with_pickle(b"\x80\x02Nr\xff\xff\xff\xff.")
    huge = b"\x8a\x08" + b"\xff" * 7 + b"\x3f"
    yield "a storage of 2^62 numbers", with_pickle(_tensor(b"K\x01M\x00\x03", b"K\x00K\x01", huge))
    yield "350,000 members", many_members(350_000)
    yield "5,000 members", many_members(5_000)
    yield "a member list of one name of 64 kB, often", many_members(150, b"n" * 65_535)
    yield "a compressed bomb", zipped({"archive/data.pkl": b"\x80\x02" + bytes(60 * 2**20)}, zipfile.ZIP_DEFLATED)
    yield "a comment of 64 kB", zipped({"archive/data.pkl": b"\x80\x02N."})[:-2] + b"\xff\xff" + b"PK\5\6" * 16_383
    yield "zip signatures only", b"PK\3\4" + b"PK\5\6" * 4_000_000
    yield "a header of 15 MB", header(b'{"a":' + b"[" * 15_000_000)
    yield "a header of spaces", header(b"{" + b" " * 15_000_000 + b"}")
    yield "a header nested deep", header(b'{"a":' + b"[" * 250_000 + b"]" * 250_000 + b"}")
    yield "a header of one number", header(b'{"a":' + b"9" * 500_000 + b"}")
    yield "a header of one fraction", header(b'{"a":0.' + b"9" * 500_000 + b"}")
    yield "a header of one exponent", header(b'{"a":1e' + b"9" * 500_000 + b"}")
    yield "a header of empty lists", header(b'{"a":[' + b"[]," * 170_000 + b"[]]}")
    yield "a header of quotation marks that do not end", header(b'{"' + b'\\"' * 250_000)
    yield "a header of short keys", header(b"{" + b",".join(b'"%x":{}' % i for i in range(45_000)) + b"}")
    yield "a header of escapes", header(b'{"' + b"\\u0041" * 85_000 + b'":1}')
    yield "40,000 families", families(40_000, 1)
    yield "4,000 families", families(4_000, 1)
    yield "33 families", families(33, 8)
    yield "32 families", families(32, 8)
    yield "32 families of 16,384 numbers", families(32, 2**14)
    yield "a family of 4 million numbers", families(1, 2**22 - 200)
    yield (
        "a name of 400 kB",
        header(b'{"' + b"n" * 400_000 + b'":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    )
    yield (
        "notes of 500 kB",
        safetensors.torch.save(
            {"clip-vit-l-14": torch.ones(768)},
            {"format": "aesthetic-embedding", "version": "1", "notes": "n" * 500_000, "name": "\x1b[31m" * 1000},
        ),
    )
    yield (
        "a shape of 100,000 ones",
        header(json.dumps({"a": {"dtype": "F32", "shape": [1] * 100_000, "data_offsets": [0, 4]}}).encode(), bytes(4)),
    )
    yield (
        "sizes that overflow",
        header(json.dumps({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}).encode(), bytes(4)),
    )
    yield "16 MB of zeros", bytes(LIMIT)
    yield "16 MB of braces", b"{" * LIMIT
    yield "a bare pickle", b"\x80\x02" + b"(" * LIMIT
    yield "a vector of 4 million numbers", saved(torch.ones(2**22 - 300))
    yield "code", with_pickle(pickle.dumps(_Code(), 2))


class _Code:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code of a file has run')",)


def with_pickle(pickled: bytes) -> bytes:
    """A .pt of one storage with this pickle."""
    return zipped({"archive/data.pkl": pickled, "archive/data/0": bytes(768 * 4), "archive/version": b"3\n"})[:LIMIT]


def _tensor(shape: bytes, stride: bytes, numel: bytes = b"M\x00\x03") -> bytes:
    """The pickle of a tensor; shape and stride: instructions that push their numbers."""
    kind, key, place = (b"X%c\0\0\0%b" % (len(text), text) for text in (b"storage", b"0", b"cpu"))
    storage = b"(%bctorch\nFloatStorage\n%b%b%btQ" % (kind, key, place, numel)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(%bK\x00(%bt(%bt\x89}tR." % (storage, shape, stride)


def header(head: bytes, data: bytes = b"") -> bytes:
    return (struct.pack("<Q", len(head)) + head + data)[:LIMIT]


def families(count: int, dim: int) -> bytes:
    about = {"format": "aesthetic-embedding", "version": "1"}
    return safetensors.torch.save({f"family-{i}": torch.ones(dim) for i in range(count)}, about)[:LIMIT]


def many_members(count: int, name: bytes = b"x") -> bytes:
    """An archive whose list has so many entries, written by hand: zipfile would take minutes."""
    entry = (
        b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    )
    listed = entry * min(count, LIMIT // len(entry) - 1)
    number = min(len(listed) // len(entry), 0xFFFF)
    return listed + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, number, number, len(listed), 0, 0)
