"""Mixes, as people write them."""

from __future__ import annotations

import pytest
import torch

import aesthetic_embeddings as ae
from aesthetic_embeddings.aesthetics import mixes

from .conftest import embedding
from .fake_host import FAMILY, Host
from .outside import cond

pytestmark = pytest.mark.parametrize("flavour", ["a1111"])  # alike in both

FOLDER = "models/aesthetic_embeddings"


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("dusk", {"dusk": 1}),
        ("dusk:0.7 dawn:-0.3", {"dusk": 0.7, "dawn": -0.3}),
        ("  dusk: .7   dawn:-3e-1 ", {"dusk": 0.7, "dawn": -0.3}),
        ("dusk:-1", {"dusk": -1}),
        ("pale sea:2 dusk:1", {"pale sea": 2, "dusk": 1}),
        ("a:1", {"a:1": 1}),
        ("a:1:0.5 dusk:+1", {"a:1": 0.5, "dusk": 1}),
        ("moods/dark:1 dusk:0", {"moods/dark": 1, "dusk": 0}),
    ],
)
def test_what_is_meant(host: Host, text: str, weights: dict[str, float]):
    each = {"dusk": embedding("dusk", 1), "dawn": embedding("dawn", 2)}
    for i, name in enumerate(["pale sea", "a:1", "moods/dark"]):
        each[name] = embedding(name, 3 + i)
        each[name].save(host.root / FOLDER / f"{name}.safetensors")
    library = host.webui("host").library
    library.refresh()
    found = mixes.chosen(text, library)
    expected = sum(w * each[name].vectors[FAMILY] / each[name].vectors[FAMILY].norm() for name, w in weights.items())
    assert torch.cosine_similarity(found.vectors[FAMILY], expected, 0) > 0.999999
    again = mixes.chosen(found.name, library)  # its name is what to write
    assert (again.name, again.content_hash) == (found.name, found.content_hash)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dusk:0.7 dawn", "'dawn' has none: write dawn:1"),
        ("dusk:0.7 down:0.3", "Did you mean dawn"),
        ("dusk dawn", "no aesthetic called 'dusk dawn'"),
        ("dusk:1 dusk:-1", "cancels"),
        ("dusk:much", "no aesthetic called"),
        ("", "no aesthetic called"),
    ],
)
def test_what_means_nothing(host: Host, text: str, said: str):
    with pytest.raises(ae.AestheticError, match=said):
        mixes.chosen(text, host.webui("host").library)


def test_a_mix_tunes_towards_the_blend(host: Host):
    library = host.webui("host").library
    library.save(ae.blend([(library.get("dusk"), 0.7), (library.get("dawn"), -0.3)], "ready"))
    (mixed,) = host.generate(host.job("a castle", embedding="dusk:0.7 dawn:-0.3", steps=2))
    (ready,) = host.generate(host.job("a castle", embedding="ready", steps=2))
    assert torch.equal(cond(mixed), cond(ready))
