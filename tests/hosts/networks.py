"""Networks that change a text encoder's weights, LoRA and LyCORIS's kinds: as files, and merged outside of any host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aesthetic_embeddings.text_encoder.towers import Affine, Norm, Tower, find_tower

Parts = dict[str, Tensor]
RANK, BLOCKS = 4, 8


@dataclass(frozen=True)
class Kind:
    """make: the tensors for one weight, random; change: what they add to it at strength 1, of `[out, in]` or `[n]`.

    norms: whether it is for them, and not for matrices.
    """

    make: Callable[[torch.Generator, Tensor], Parts]
    change: Callable[[Tensor, Parts], Tensor]
    norms: bool = False


def write(kind: str, towers: Mapping[str, nn.Module], file: Path, layers: slice, seed: int = 5) -> None:
    """A network of this kind for these layers of towers, which are named by kohya's prefixes.

    OpenCLIP's q, k and v get no bias and its norms nothing: hosts have no name for them.
    """
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for prefix, model in towers.items():
        tower = find_tower(model)
        for name, place in _places(tower, layers).items():
            fused = tower.layers[0].q.weight.rows is not None
            if isinstance(place, Norm) != KINDS[kind].norms or (KINDS[kind].norms and fused):
                continue
            for part, x in KINDS[kind].make(random, place.weight.read()).items():
                if part != "diff_b" or place.weight.rows is None:
                    tensors[f"{prefix}_text_model_{name}.{part}"] = x.contiguous()
    save_file(tensors, file)


@contextmanager
def merged(kind: str, towers: Mapping[str, nn.Module], file: Path, strength: float) -> Iterator[None]:
    """While the block runs, the network is merged into the towers, which are then as they were."""
    network = load_file(file)
    before = {prefix: {name: x.clone() for name, x in model.state_dict().items()} for prefix, model in towers.items()}
    for prefix, model in towers.items():
        for name, place in _places(find_tower(model)).items():
            root = f"{prefix}_text_model_{name}."
            parts = {key.removeprefix(root): x.float() for key, x in network.items() if key.startswith(root)}
            if parts:
                weight = place.weight.read()
                weight += strength * KINDS[kind].change(weight, parts)
            if place.bias is not None and {"diff_b", "b_norm"} & set(parts):
                bias = place.bias.read()
                bias += strength * parts["b_norm" if KINDS[kind].norms else "diff_b"]
    try:
        yield
    finally:
        for prefix, model in towers.items():
            model.load_state_dict(before[prefix])


def _places(tower: Tower, layers: slice = slice(None)) -> dict[str, Affine | Norm]:
    """By kohya's name, which is transformers' with underscores, for OpenCLIP too."""
    return {
        f"encoder_layers_{i}_{name}": place
        for i, layer in enumerate(tower.layers[layers])
        for name, place in {
            "self_attn_q_proj": layer.q,
            "self_attn_k_proj": layer.k,
            "self_attn_v_proj": layer.v,
            "self_attn_out_proj": layer.out,
            "mlp_fc1": layer.fc1,
            "mlp_fc2": layer.fc2,
            "layer_norm1": layer.norm1,
            "layer_norm2": layer.norm2,
        }.items()
    }


# ---------------------------------------------------------------- the kinds


def _factors(random: torch.Generator, height: int, width: int, size: float = 1.0) -> tuple[Tensor, Tensor]:
    """Two whose product has singular values of about `size`."""
    up = torch.randn(height, RANK, generator=random) * size * height**-0.5
    return up, torch.randn(RANK, width, generator=random) * width**-0.5


def _lora(random: torch.Generator, w: Tensor) -> Parts:
    up, down = _factors(random, *w.shape, size=4.0)
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(RANK / 2)}


def _lora_change(w: Tensor, p: Parts) -> Tensor:
    return p["alpha"] / len(p["lora_down.weight"]) * (p["lora_up.weight"] @ p["lora_down.weight"])


def _dora(random: torch.Generator, w: Tensor) -> Parts:
    scale = w.norm(dim=0, keepdim=True) * (1 + 0.2 * torch.randn(1, w.shape[1], generator=random))
    return _lora(random, w) | {"dora_scale": scale}


def _dora_change(w: Tensor, p: Parts) -> Tensor:
    moved = w + _lora_change(w, p)
    return moved * p["dora_scale"] / moved.norm(dim=0, keepdim=True) - w


def _loha(random: torch.Generator, w: Tensor) -> Parts:
    (a1, b1), (a2, b2) = (_factors(random, *w.shape, size=w.numel() ** 0.25 * 1.5) for _ in range(2))
    alpha = torch.tensor(RANK / 2)
    return {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": alpha}


def _loha_change(w: Tensor, p: Parts) -> Tensor:
    product = (p["hada_w1_a"] @ p["hada_w1_b"]) * (p["hada_w2_a"] @ p["hada_w2_b"])
    return p["alpha"] / len(p["hada_w1_b"]) * product


def _lokr(random: torch.Generator, w: Tensor) -> Parts:
    a, b = _factors(random, w.shape[0] // BLOCKS, w.shape[1] // BLOCKS)
    whole = torch.randn(BLOCKS, BLOCKS, generator=random) * BLOCKS**-0.5
    return {"lokr_w1": whole, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(RANK / 2)}


def _lokr_change(w: Tensor, p: Parts) -> Tensor:
    return p["alpha"] / len(p["lokr_w2_b"]) * torch.kron(p["lokr_w1"], p["lokr_w2_a"] @ p["lokr_w2_b"])


def _full(random: torch.Generator, w: Tensor) -> Parts:
    diff = torch.randn(w.shape, generator=random) * 0.3 * w.shape[1] ** -0.5
    return {"diff": diff, "diff_b": torch.randn(w.shape[0], generator=random) * 0.02}


def _norm(random: torch.Generator, w: Tensor) -> Parts:
    return {name: torch.randn(w.shape, generator=random) * 0.1 for name in ("w_norm", "b_norm")}


def _ia3(random: torch.Generator, w: Tensor) -> Parts:
    on_input = w.shape[1] > w.shape[0]  # of the second layer of the MLP
    scale = torch.randn(w.shape[1] if on_input else w.shape[0], generator=random) * 0.3
    return {"weight": scale, "on_input": torch.tensor(on_input)}


def _ia3_change(w: Tensor, p: Parts) -> Tensor:
    return w * (p["weight"] if p["on_input"] else p["weight"][:, None])


def _glora(random: torch.Generator, w: Tensor) -> Parts:
    (a2, a1), (b2, b1) = _factors(random, w.shape[1], w.shape[1]), _factors(random, *w.shape)
    return {"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2, "alpha": torch.tensor(float(RANK))}


def _glora_change(w: Tensor, p: Parts) -> Tensor:
    return p["b2.weight"] @ p["b1.weight"] + w @ p["a2.weight"] @ p["a1.weight"]


def _oft(random: torch.Generator, w: Tensor) -> Parts:
    size = w.shape[0] // BLOCKS
    blocks = torch.randn(BLOCKS, size, size, generator=random) * 0.1 * size**-0.5
    return {"oft_blocks": blocks, "alpha": torch.tensor(100.0)}  # alpha bounds the blocks; these are far within


def _oft_change(w: Tensor, p: Parts) -> Tensor:
    q = p["oft_blocks"] - p["oft_blocks"].mT
    one = torch.eye(q.shape[-1])
    rotation = (one + q) @ torch.linalg.inv(one - q)
    return (rotation.mT @ w.unflatten(0, (BLOCKS, -1))).flatten(0, 1) - w


KINDS = {
    "LoRA": Kind(_lora, _lora_change),
    "DoRA": Kind(_dora, _dora_change),
    "LoHa": Kind(_loha, _loha_change),
    "LoKr": Kind(_lokr, _lokr_change),
    "full": Kind(_full, lambda w, p: p["diff"]),
    "norm": Kind(_norm, lambda w, p: p["w_norm"], norms=True),
    "IA3": Kind(_ia3, _ia3_change),
    "GLoRA": Kind(_glora, _glora_change),
    "OFT": Kind(_oft, _oft_change),
}
