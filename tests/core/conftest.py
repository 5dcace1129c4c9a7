import pytest
import torch
import transformers


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
