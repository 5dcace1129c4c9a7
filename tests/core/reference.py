"""The published loop, written plainly: a deep copy, every parameter of the text tower, the full length, torch.optim.

Gallego 2022 (arXiv 2209.12330) and its code: loss -cos(c, e), Adam with torch's defaults. The other two rules are the
paper's equation 2 and the formula of the normalized step, dense.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor


def tune_copy(
    encoder: Any,
    ids: Tensor,
    e: Tensor,
    *,
    update: str = "adam",
    steps: int = 10,
    epsilon: float = 1e-3,
    preservation: float = 0.0,
    last_layers: int = 0,
    legacy_end: bool = False,
    eos: int = 98,
) -> tuple[Any, list[float]]:
    """A tuned deep copy of `encoder.model`, and the similarities before, after each step."""
    model = copy.deepcopy(encoder.model)
    text = getattr(model, "text_model", model)
    named = {n: p for n, p in text.named_parameters() if not n.startswith("text_projection") and n != "cls_emb"}
    if last_layers:
        count = 1 + max(int(part) for n in named for part in n.split(".") if part.isdigit())
        named = {n: p for n, p in named.items() if _tunes(n, count - last_layers)}
    if update == "normalized":
        named = {n: p for n, p in named.items() if p.dim() == 2 and "embed" not in n}
    parameters = [p.requires_grad_() for p in named.values()]
    projection, e = encoder.text_projection().to(e), e / e.norm()
    ends = ids.argmax(-1) if legacy_end else (ids == eos).int().argmax(-1)
    text_chunks = ends > 1
    optimizer = torch.optim.Adam(parameters, lr=epsilon)
    plain = encoder.run(model, ids)[0].detach()
    used = (torch.arange(ids.shape[1]) <= ends[:, None]) & text_chunks[:, None]

    def similarity_and_loss() -> tuple[Tensor, Tensor]:
        hidden = encoder.run(model, ids)[0]
        c = (hidden[torch.arange(len(ids)), ends] @ projection.detach().T)[text_chunks]
        similarity = torch.cosine_similarity(c, e[None]).mean()
        drift = (hidden - plain)[used].square().sum() / plain[used].square().sum()
        return similarity, -similarity + preservation * drift

    similarities = []
    for k in range(steps):
        similarity, loss = similarity_and_loss()
        similarities.append(float(similarity.detach()))
        optimizer.zero_grad()
        loss.backward()
        if update == "adam":
            optimizer.step()
            continue
        with torch.no_grad():
            for n, p in named.items():
                for part, g in zip(_matrices(n, p), _matrices(n, p.grad), strict=True):
                    if update == "gradient":
                        part -= epsilon * g
                    elif g.norm() > 0:
                        part -= epsilon * (1 - k / steps) * g.numel() ** 0.5 * g / g.norm()
    with torch.no_grad():
        similarities.append(float(similarity_and_loss()[0]))
    return model, similarities


def _matrices(name: str, x: Tensor) -> tuple[Tensor, ...]:
    """open_clip's q, k and v are three matrices in one."""
    return x.chunk(3) if name.endswith("in_proj_weight") else (x,)


def _tunes(name: str, first: int) -> bool:
    layer = next((int(part) for part in name.split(".") if part.isdigit()), None)
    return layer >= first if layer is not None else name.startswith(("final_layer_norm", "ln_final"))
