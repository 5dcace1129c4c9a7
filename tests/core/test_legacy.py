import collections
import io
import os
import pickle
import pickletools
import struct
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aesthetic_embeddings.aesthetics.embedding import load
from aesthetic_embeddings.errors import AestheticError, FileError
from aesthetic_embeddings.storage import legacy_pt

L = "clip-vit-l-14"


def vector(dim=768):
    return torch.randn(dim, generator=torch.Generator().manual_seed(0)) * 0.4


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def repacked(data, compress=zipfile.ZIP_STORED, **members):
    """The zip archive with members replaced or added (named without their folder), `None` to drop one."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", compress) as new:
        kept = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
        for name, content in (kept | members).items():
            if content is not None:
                new.writestr(f"archive/{name}", content)
    return file.getvalue()


def member(data, name):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(f"archive/{name}")


@pytest.fixture
def file(tmp_path):
    def write(data):
        path = tmp_path / "old.pt"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(768,), (1, 768)])
@pytest.mark.parametrize("protocol", [2, 4])
def test_vectors_of_the_old_extension_are_read(file, dtype, shape, protocol):
    v = vector().to(dtype).view(shape)
    e = load(file(saved(v, pickle_protocol=protocol)))
    assert torch.equal(e.vectors[L], v.flatten().float())
    assert (e.name, e.images) == ("old", 0)


@pytest.mark.parametrize(("dim", "family"), [(1024, "open-clip-vit-h-14"), (1280, "open-clip-vit-bigg-14")])
def test_the_dimension_says_whose_vector_it_is(file, dim, family):
    assert list(load(file(saved(vector(dim)))).vectors) == [family]


def test_ways_in_which_people_saved_one_vector(file):
    v = vector()
    for value in (
        torch.nn.Parameter(v),
        v.clone().requires_grad_(),
        torch.stack([v * 0, v])[1],
        torch.stack([v, v])[:1],
    ):
        assert torch.equal(load(file(saved(value))).vectors[L], v)


def test_a_vector_saved_from_another_device(file):
    data = saved(vector())
    pickled = member(data, "data.pkl").replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:3")
    assert b"cuda:3" in pickled
    assert torch.equal(load(file(repacked(data, **{"data.pkl": pickled}))).vectors[L], vector())


def test_a_big_endian_file(file):
    numbers = struct.pack(">768f", *vector().tolist())
    data = repacked(saved(vector()), **{"byteorder": b"big", "data/0": numbers})
    assert torch.equal(load(file(data)).vectors[L], vector())
    with pytest.raises(FileError, match="damaged"):
        load(file(repacked(data, byteorder=b"middle")))


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_no_code_runs(file, tmp_path):
    trace = tmp_path / "ran"
    for evil in (
        Runs(os.mkdir, str(trace)),
        Runs(eval, f"open({str(trace)!r}, 'w')"),
        {"a": Runs(os.mkdir, str(trace))},
    ):
        with pytest.raises(FileError, match=r"old\.pt was refused.*(mkdir|eval)"):
            load(file(repacked(saved(vector()), **{"data.pkl": pickle.dumps(evil, 2)})))
        assert not trace.exists()


lora = {"lora_unet_down.lora_up.weight": vector(), "lora_unet_down.alpha": torch.tensor(4.0)}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (saved({"string_to_token": {"*": 265}, "string_to_param": {"*": vector()[None]}}), "folder embeddings/"),
        (
            saved({"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(vector()[None])})}),
            "folder embeddings/",
        ),
        (saved(lora), "models/Lora"),
        (saved(torch.nn.Linear(3, 3).state_dict()), "a model of some kind"),
        (saved(collections.OrderedDict(state_dict={"a": vector()})), "a model of some kind"),
        (saved([vector(), vector()]), "holds several things"),
        (saved("text"), "holds no vector"),
        (saved({}), "holds no vector"),
        (saved(vector(512)), "wrong dimensions: 512"),
        (saved(vector(768 * 2).view(2, 768)), "wrong dimensions: 2 × 768"),
        (saved(vector()[:, None]), "wrong dimensions: 768 × 1"),
        (saved(torch.tensor(3.0)), "wrong dimensions"),
        (saved(torch.zeros(768)), "is zero"),
        (saved(torch.full((768,), float("inf"))), "not finite"),
        (saved(vector(), _use_new_zipfile_serialization=False), "before version 1.6"),
        (saved(torch.ones(1).expand(768)), "damaged"),
        (saved(torch.ones(768, dtype=torch.int8)), "CharStorage"),
        (saved(vector())[:-30], "cut short"),
        (saved(vector())[:100], "cut short"),
        (repacked(saved(vector()), zipfile.ZIP_DEFLATED), "damaged"),
        (repacked(saved(vector()), **{"data/0": b"\0" * 100}), "damaged"),
        (repacked(saved(vector()), **{"data/0": None}), "damaged"),
        (repacked(saved(vector()), **{"data.pkl": None}), "not one that torch.save wrote"),
        (repacked(saved(vector()), **{"data.pkl": b"\x80\x02" + b"(" * 5 * 2**20}), "damaged"),
        # PUT at a memo index that makes pickle's own machine take 64 GB
        (repacked(saved(vector()), **{"data.pkl": b"\x80\x02Nr\xff\xff\xff\x7f."}), "holds no vector"),
    ],
)
def test_every_wrong_file_is_named_with_its_own_fault(file, data, says):
    with pytest.raises(FileError, match=rf"(?i)old\.pt.*{says}"):
        load(file(data))


def test_sizes_that_reach_outside_the_storage_are_refused(file):
    data = saved(vector())
    plain = member(data, "data.pkl")
    size, stride = b"M\x00\x03\x85", b"K\x01\x85"
    assert plain.count(size) == 1
    assert plain.count(stride) == 1
    longer = plain.replace(size, b"M\x01\x03\x85")
    wider = plain.replace(stride, b"K\x02\x85")
    later = plain.replace(b"QK\x00", b"QK\x01")
    before = plain.replace(b"QK\x00", b"QJ\xff\xff\xff\xff")
    huge = plain.replace(size, b"J\xff\xff\xff\x7f\x85").replace(stride, b"K\x00\x85")
    ragged = plain.replace(size, b"M\x00\x03K\x01\x86")
    for pickled in (longer, wider, later, before, huge, ragged):
        assert pickled != plain
        with pytest.raises(FileError, match="damaged"):
            load(file(repacked(data, **{"data.pkl": pickled})))


def test_a_nested_key_cannot_hang_the_reader(file):
    # t = (t, t) sixty times over, then used as a key: hashing it would take 2^60 steps
    pickled = b"\x80\x02}" + b")" + b"q\x00h\x00\x86" * 60 + b"Ns."
    with pytest.raises(FileError, match="damaged"):
        load(file(repacked(saved(vector()), **{"data.pkl": pickled})))


def test_one_tensor_of_a_state_dict_is_read_by_its_name(file):
    weights = {f"layer.{i}.weight": torch.full((4, 4), float(i)) for i in range(3)}
    read = legacy_pt.read_named(file(saved(weights)), lambda names: names[1])
    assert torch.equal(read, weights["layer.1.weight"])


good = saved(vector(4))


@given(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_raise_only_file_errors(tmp_path_factory, changes):
    data = bytearray(good)
    for at, value in changes:
        data[at] = value
    loads_or_says_why(tmp_path_factory.getbasetemp() / "fuzz.pt", bytes(data))


words = st.sampled_from([op.code.encode("latin1") for op in pickletools.opcodes])
pieces = st.sampled_from(
    [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"X\x01\0\0\x000", b"K\x04"]
)


@given(st.lists(words | pieces | st.binary(max_size=4), max_size=30).map(b"".join))
def test_any_pickle_raises_only_file_errors(tmp_path_factory, program):
    data = repacked(good, **{"data.pkl": b"\x80\x02" + program + b"."})
    loads_or_says_why(tmp_path_factory.getbasetemp() / "fuzz.pt", data)


def loads_or_says_why(path, data):
    path.write_bytes(data)
    try:
        load(path)
    except AestheticError as error:
        assert str(path) in str(error)  # noqa: PT017 (it need not raise)
