"""A mix, as people write it in a dropdown and on the command line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from aesthetic_embeddings.aesthetics.embedding import AestheticEmbedding
from aesthetic_embeddings.aesthetics.library import Library
from aesthetic_embeddings.aesthetics.mixes import LONGEST, Mix, from_arguments, from_text
from aesthetic_embeddings.errors import AestheticError

L = "clip-vit-l-14"
NAMES = ["dusk", "dawn", "pale sea", "a:1", "moods/dark", "a=2", "a=b"]


def embedding(name: str) -> AestheticEmbedding:
    return AestheticEmbedding({L: torch.randn(768, generator=torch.Generator().manual_seed(NAMES.index(name)))}, name)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("library")
    for name in NAMES:
        embedding(name).save(Path(folder, f"{name}.safetensors"))
    return Library([folder])


def direction(library: Library, weights: dict[str, float]) -> torch.Tensor:
    vectors = {name: library.get(name).vectors[L] for name in weights}
    return sum((w * vectors[name] / vectors[name].norm() for name, w in weights.items()), torch.zeros(768))


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("dusk", {"dusk": 1}),
        ("dusk:0.7 dawn:-0.3", {"dusk": 0.7, "dawn": -0.3}),
        ("  dusk: .7   dawn:-3e-1 ", {"dusk": 0.7, "dawn": -0.3}),
        ("dusk:-1", {"dusk": -1}),
        ("dusk:1", {"dusk": 1}),
        ("pale sea:2 dusk:1", {"pale sea": 2, "dusk": 1}),
        ("a:1", {"a:1": 1}),
        ("a:1:0.5 dusk:+1", {"a:1": 0.5, "dusk": 1}),
        ("moods/dark:1 dusk:0", {"moods/dark": 1, "dusk": 0}),
        ("a=2:0.5\tdusk:1.", {"a=2": 0.5, "dusk": 1}),
    ],
)
def test_what_a_text_means(library: Library, text: str, weights: dict[str, float]):
    mix = from_text(text, library)
    assert mix == Mix(tuple(weights.items()))
    found = library.blend(mix)
    assert torch.cosine_similarity(found.vectors[L], direction(library, weights), 0) > 0.999999
    again = library.blend(from_text(found.name, library))  # its name is what to write
    assert (again.name, again.content_hash) == (found.name, found.content_hash)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["dusk"], [("dusk", 1)]),
        (["dusk=0.7", "dawn=-.3"], [("dusk", 0.7), ("dawn", -0.3)]),
        (["a=2"], [("a=2", 1)]),
        (["a=b"], [("a=b", 1)]),
        (["a=2=0.5", "a=b=-1"], [("a=2", 0.5), ("a=b", -1)]),
        (["a:1", "pale sea=1e-1"], [("a:1", 1), ("pale sea", 0.1)]),
    ],
)
def test_what_arguments_mean(library: Library, arguments: list[str], parts: list[tuple[str, float]]):
    mix = from_arguments(arguments, library)
    assert mix == Mix(tuple(parts))
    assert library.blend(mix, "new").name == "new"


def test_a_name_that_looks_like_a_weight_is_that_aesthetic_itself(library: Library):
    for name in ("a=2", "a=b"):
        assert library.blend(from_arguments([name], library)).content_hash == embedding(name).content_hash


def test_one_aesthetic_alone_is_itself(library: Library):
    assert library.blend(Mix((("dusk", 1),))).notes == library.get("dusk").notes
    assert library.blend(Mix((("dusk", 1),))).content_hash == library.get("dusk").content_hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dusk:0.7 dawn", "'dawn' has none"),
        ("dusk:0.7 down:0.3", "Did you mean dawn"),
        ("dusk dawn", "no aesthetic called 'dusk dawn'"),
        ("dusk:1 dusk:-1", "cancels"),
        ("dusk:much", "no aesthetic called"),
        ("dusk:1e400 dawn:1", "finite"),
        ("dusk:nan", "no aesthetic called"),
        ("dusk:1_0", "no aesthetic called"),
        ("", "no aesthetic called"),
        (":1", "no aesthetic called"),
        (":" * 50, "no aesthetic called"),
    ],
)
def test_a_text_that_means_nothing(library: Library, text: str, said: str):
    with pytest.raises(AestheticError, match=said):
        library.blend(from_text(text, library))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dusk=much"], "should be a number, as in 'dusk=0.7'"),
        (["dusk=nan"], "should be a number"),
        (["dusk=inf"], "should be a number"),
        (["down=1"], "Did you mean dawn"),
        (["dusk=1", "dusk=-1"], "cancels"),
        ([], "at least one"),
    ],
)
def test_arguments_that_mean_nothing(library: Library, arguments: list[str], said: str):
    with pytest.raises(AestheticError, match=said):
        library.blend(from_arguments(arguments, library))


def test_a_pinned_name_follows_the_content(library: Library):
    content = library.get("dusk").content_hash[:10]
    assert library.resolve(from_text(f"once called@{content}:0.5 dawn:1", library)).names == ["dusk", "dawn"]
    assert library.pinned("dusk", content) == "dusk"
    assert library.pinned("dawn", "0" * 10) == "dawn@0000000000"
    with pytest.raises(AestheticError, match=r"is not here.*another: choose it"):
        library.resolve(from_text("dawn@0000000000", library))
    with pytest.raises(AestheticError, match=r"is not here\. Copy its file"):
        library.resolve(from_text("gone@0000000000", library))


@pytest.mark.parametrize("size", [LONGEST, 2**20])
@pytest.mark.parametrize("unit", ["1", ":", " ", "a:1", "a:1 ", "a: ", ":1 ", "a:1111", "=", "@", "1e", "\t", "."])
def test_any_megabyte_is_read_or_refused_at_once(library: Library, unit: str, size: int):
    body = unit * (size // len(unit))
    for text in (body, f"a:{body}"[:size], f"a:{body}x"[-size:], f"{body}:1"[-size:], f"{body}@0123456789"[-size:]):
        started = time.process_time()
        said = ""
        for read in (lambda text=text: from_text(text, library), lambda text=text: from_arguments([text], library)):
            try:
                library.resolve(read())
            except AestheticError as error:
                said = str(error)
        assert time.process_time() - started < 0.5
        assert len(said) < 1000
