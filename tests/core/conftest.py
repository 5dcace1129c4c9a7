import contextlib
import threading

import pytest
import torch
import transformers

from .hub import Hub


@pytest.fixture(autouse=True)
def _masks_in_fp64(monkeypatch):
    """transformers 4.46, which Forge pins, makes causal masks in the default dtype, where fp64's lowest overflows."""
    if not transformers.__version__.startswith("4.46."):
        return
    from transformers.modeling_attn_mask_utils import AttentionMaskConverter

    make = AttentionMaskConverter._make_causal_mask

    def made(shape, dtype, *rest, **more):
        return make(shape, torch.float32 if dtype == torch.float64 else dtype, *rest, **more).to(dtype)

    monkeypatch.setattr(AttentionMaskConverter, "_make_causal_mask", staticmethod(made))


@pytest.fixture
def hub_of(monkeypatch):
    """A function that starts a hub which serves these bytes; see hub.py."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with contextlib.ExitStack() as running:

        def start(data):
            server = running.enter_context(Hub(data))
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            running.callback(server.shutdown)
            return server

        yield start
