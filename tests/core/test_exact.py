"""Tuning equals the published loop: a deep copy, all parameters, the full length, torch.optim (see `reference.py`).

The bar is the error relative to what tuning changed, ||ours - reference|| / ||reference - plain||, of the last and the
penultimate hidden states, and the difference of every similarity.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from aesthetic_embeddings import Settings, personalized

from .encoders import BOS, DIM, EOS, KINDS, LENGTH, WIDTH, Encoder, encoder, prompt, put_vectors_in
from .reference import tune_copy

BAR = {torch.float64: 1e-9, torch.float32: 2e-4}
STEP_SIZE = {"adam": 1e-3, "gradient": 1.0, "normalized": 1e-3}
PROMPTS = {"1": (1,), "8": (8,), "75": (75,), "3 chunks": (20, 75, 3), "an empty chunk": (20, 0, 75)}


def aesthetic(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).to(dtype)


def errors(
    enc: Encoder, ids: Tensor, update: str, *, eos: int = EOS, legacy_end: bool = False, **options: float
) -> tuple[float, float]:
    """(of the hidden states, of the similarities)"""
    e = aesthetic(next(enc.model.parameters()).dtype)
    copy, expected = tune_copy(
        enc, ids, e, update=update, epsilon=STEP_SIZE[update], eos=eos, legacy_end=legacy_end, **options
    )
    settings = Settings(epsilon=STEP_SIZE[update], update=update, **options)

    def run(ids: Tensor) -> tuple[Tensor, Tensor]:
        return enc.run(enc.model, ids)

    with torch.no_grad():
        plain, reference = run(ids), enc.run(copy, ids)
        with personalized(enc.model, ids, e, settings, enc.projection, encode=run) as done:
            ours = run(ids)
    hidden = max(_relative(*states) for states in zip(ours, reference, plain, strict=True))
    return hidden, max(abs(a - b) for a, b in zip(done.similarities, expected, strict=True))


def _relative(ours: Tensor, reference: Tensor, plain: Tensor) -> float:
    if torch.equal(reference, plain):  # the penultimate state, where only the last layer moves
        return float((ours - plain).norm())
    return float((ours - reference).norm() / (reference - plain).norm())


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("update", STEP_SIZE)
@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_on_every_kind_of_tower(kind, update, dtype, record_property):
    enc = encoder(kind, dtype)
    found = [errors(enc, prompt(*lengths), update) for lengths in PROMPTS.values()]
    worst = max(itertools.chain(*found))
    record_property("largest error", worst)
    assert worst <= BAR[dtype], dict(zip(PROMPTS, found, strict=True))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("kind", ["text", "open_clip"])
@pytest.mark.parametrize("pad", [0, EOS])
def test_activations_and_padding(kind, activation, pad):
    enc = encoder(kind, activation=activation)
    for update in STEP_SIZE:
        assert max(errors(enc, prompt(8, 75, pad=pad), update)) <= BAR[torch.float64]


@pytest.mark.parametrize("eos", [EOS, 2, 50])
def test_where_the_text_ends(eos):
    """transformers pools the first `eos_token_id`, but the highest id where that is 2, and always did before 4.31.

    So the encoder's own pooled output says which position is the right one.
    """
    enc = encoder("projection", eos=eos)
    ids = prompt(8, 20)
    if eos == 50:
        ids = torch.where(ids == EOS, eos, torch.where(ids == eos, 51, ids))
    ids[0, 3] = 2  # an ordinary token
    with torch.no_grad():
        out = enc.text(ids)
    highest = torch.equal(out.pooler_output, out.last_hidden_state[torch.arange(len(ids)), ids.argmax(-1)])
    for update in STEP_SIZE:
        assert max(errors(enc, ids, update, legacy_end=highest, eos=eos)) <= BAR[torch.float64]


@pytest.mark.parametrize("update", STEP_SIZE)
@pytest.mark.parametrize("kind", ["text", "open_clip"])
def test_textual_inversion_vectors_are_constants(kind, update):
    """Vectors that stand in for a row do not move, and neither does the row for their sake."""
    enc, ids = encoder(kind), prompt(8, 20)
    ids[0, 2] = ids[1, 5]  # the other chunk moves the row under the vector
    where = torch.zeros_like(ids, dtype=torch.bool)
    where[0, 2:4] = True
    put_vectors_in(enc, where, torch.randn(*ids.shape, WIDTH, dtype=torch.float64))
    assert max(errors(enc, ids, update)) <= BAR[torch.float64]


def test_recorded_input_embeddings_in_place_of_ids():
    ids, e, settings = prompt(8), aesthetic(), Settings(epsilon=1e-3)
    where = torch.zeros_like(ids, dtype=torch.bool)
    where[0, 2:4] = True
    vectors = torch.randn(*ids.shape, WIDTH, dtype=torch.float64)
    plain, with_vectors = encoder("projection"), encoder("projection")
    table = plain.text.embeddings.token_embedding.weight
    put_vectors_in(with_vectors, where, vectors)
    with personalized(with_vectors.model, ids, e, settings) as expected:
        pass
    inputs = torch.where(where[..., None], vectors, table[ids])
    with personalized(plain.model, ids, e, settings, input_embeddings=inputs) as run:
        pass
    assert run.similarities == pytest.approx(expected.similarities, abs=1e-12)


@pytest.mark.parametrize("options", [{"preservation": 0.5}, {"last_layers": 1}, {"last_layers": 3}, {"steps": 1}])
@pytest.mark.parametrize("update", STEP_SIZE)
@pytest.mark.parametrize("kind", ["text", "open_clip"])
def test_options(kind, update, options):
    found = [errors(encoder(kind), prompt(*lengths), update, **options) for lengths in ((8,), (20, 0, 75))]
    assert max(itertools.chain(*found)) <= BAR[torch.float64]


def test_a_factored_update_that_outgrows_its_matrix_goes_dense():
    """75 tokens, 10 steps: 750 columns of factors for matrices of 32 by 32."""
    assert max(errors(encoder("text"), prompt(75), "gradient")) <= BAR[torch.float64]


def test_the_prompt_helper_is_what_the_names_say():
    ids = prompt(3, 0, pad=0)
    assert ids.shape == (2, LENGTH)
    assert ids[0, :5].tolist() == [BOS, ids[0, 1], ids[0, 2], ids[0, 1], EOS]
    assert ids[1, :3].tolist() == [BOS, EOS, 0]


@pytest.mark.parametrize("update", STEP_SIZE)
@pytest.mark.parametrize("text", [{}, {"preservation": 0.5}, {"text": "a text"}])
def test_a_host_that_leaves_the_last_layer_out(update, text):
    """As SD2's: its conditioning is the penultimate layer's, normed, while the objective is the whole tower's."""
    enc, ids, e = encoder("open_clip"), prompt(8, 20, pad=0), aesthetic()
    words = prompt(3, pad=0, seed=9)
    settings = Settings(epsilon=STEP_SIZE[update], update=update, **text)

    def early(ids: Tensor) -> Tensor:
        return enc.model.ln_final(enc.run(enc.model, ids)[1])

    def whole(ids: Tensor) -> Tensor:
        return enc.run(enc.model, ids)[0]

    found = []
    for host in (whole, early):
        with (
            torch.no_grad(),
            personalized(enc.model, ids, e, settings, enc.projection, encode=host, text_ids=words) as done,
        ):
            found.append((early(ids), done.similarities))
    (reference, expected), (ours, similarities) = found
    assert torch.equal(ours, reference)
    assert similarities == expected


@pytest.mark.parametrize(("kind", "cut"), [("text", True), ("projection", True), ("clip", True), ("open_clip", False)])
def test_a_prompt_is_recorded_at_its_own_length(kind, cut):
    """Where the encoder takes that: what it then computes is the same."""
    enc, ids, lengths = encoder(kind), prompt(8, 3), []
    settings = Settings(steps=2, epsilon=1e-3)
    table = next(m for m in enc.model.modules() if isinstance(m, nn.Embedding) and m.num_embeddings == 99)
    hook = table.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    with personalized(enc.model, ids, aesthetic(), settings, enc.projection) as run:
        hook.remove()
    with personalized(
        enc.model, ids, aesthetic(), settings, enc.projection, encode=lambda x: enc.run(enc.model, x)
    ) as whole:
        pass
    assert lengths == [10 if cut else 77]
    assert run.similarities == pytest.approx(whole.similarities, abs=1e-12)
