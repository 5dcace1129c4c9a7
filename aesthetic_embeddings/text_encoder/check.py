"""Checks that our forward computes what the host's tower computed. This makes everything else safe."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..errors import EncoderError
from ..torch_states import gradients, no_autocast_or_inference
from .forward import Weights, first_layer_input, hidden_states
from .record import TOLERANCE, Recording
from .towers import Tower, working_dtype


def check(tower: Tower, record: Recording) -> Recording:
    """Raise EncoderError unless our forward, on the recorded inputs, gives the recorded hidden states.

    A LoRA applied at call time, a patched layer, another kind of attention: tuning would lose any change that the
    weights do not show. So it is found here, before anything is tuned.

    Returns the recording with the hidden states of the whole tower, up to the last end-of-text token. They differ from
    the recorded ones if the host leaves out the last layer, as SD2 does: the objective needs it, the conditioning does
    not.
    """
    end = int(tower.end_of_text(record.ids).max()) + 1  # causal: the padding does not matter
    inputs, hidden = record.inputs[:, :end], record.hidden[:, :end]
    with no_autocast_or_inference(inputs.device.type), gradients(False):
        x = first_layer_input(tower, inputs.to(working_dtype(tower)))
        weights, last = Weights(x), len(tower.layers) - 1
        x = hidden_states(tower, x, weights, 0, last)
        whole = hidden_states(tower, x, weights, last)
        without_last = weights.norm(tower.final_norm, x)
        error = min(float((h - hidden.to(h)).norm() / hidden.to(h).norm()) for h in (whole, without_last))
    tolerance = TOLERANCE.get(record.precision, 0.0)
    if inputs.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32:
        tolerance = max(tolerance, TOLERANCE[torch.float16])  # TF32 has fp16's mantissa
    if not error <= tolerance:
        raise EncoderError(
            f"The text encoder does not compute what its weights say (it is off by {error:.1%}): something patches it, "
            "such as a LoRA applied on the fly or an adapter. Merge or unload that, then try again."
        )
    return replace(record, inputs=inputs, ids=record.ids[:, :end], hidden=whole)
