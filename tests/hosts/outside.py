"""The conditioning that the core gives outside of any host, from the same checkpoint file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import aesthetic_embeddings as ae
from aesthetic_embeddings.towers import find_tower

PREFIX = "cond_stage_model.transformer.text_model."


class Outside:
    """An SD1 checkpoint's text encoder, and prompts cut into chunks of 75 tokens as hosts cut them."""

    def __init__(self, checkpoint: Path, tokenizer: Path, at: str = PREFIX) -> None:
        with safe_open(checkpoint, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(at)]  # noqa: SIM118  # no mapping
            weights = {name.removeprefix(at): file.get_tensor(name).float() for name in names}
        width = weights["final_layer_norm.weight"].shape[0]
        layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layers."))
        config = CLIPTextConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            intermediate_size=4 * width,
            projection_dim=width,
        )
        self.encoder = CLIPTextModel(config).eval()
        prefix = "text_model." if any(name.startswith("text_model.") for name in self.encoder.state_dict()) else ""
        missing, _ = self.encoder.load_state_dict({prefix + name: x for name, x in weights.items()}, strict=False)
        assert not [name for name in missing if "position_ids" not in name], missing
        self.tokenizer = CLIPTokenizer.from_pretrained(tokenizer)

    def chunks(self, prompt: str) -> Tensor:
        """`[chunks, 77]`; BREAK starts a new one. The prompt has no emphasis and, when long, no comma."""
        rows = []
        for part in prompt.split(" BREAK "):
            ids = self.tokenizer(part, add_special_tokens=False)["input_ids"]
            rows += [ids[at : at + 75] for at in range(0, max(len(ids), 1), 75)]
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return torch.tensor([[begin, *row, *[end] * (76 - len(row))] for row in rows])

    @contextmanager
    def lora(self, file: Path, strength: float) -> Iterator[None]:
        """While the block runs, a LoRA in kohya's format is merged: `W += strength * alpha / rank * up @ down`."""
        before = {name: x.clone() for name, x in self.encoder.state_dict().items()}
        modules = {"lora_te_text_model_" + _kohya(name): m for name, m in self.encoder.named_modules()}
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                if key.startswith("lora_te_") and key.endswith(".lora_down.weight"):
                    name, down = key.split(".")[0], tensors.get_tensor(key).float()
                    up, alpha = (tensors.get_tensor(f"{name}.{part}").float() for part in ("lora_up.weight", "alpha"))
                    modules[name].weight.data += strength * float(alpha) / len(down) * (up @ down)
        try:
            yield
        finally:
            self.encoder.load_state_dict(before)

    @contextmanager
    def inverted(self, prompt: str, file: Path) -> Iterator[Tensor]:
        """While the block runs, a textual inversion stands at the end of `prompt`, whose ids `[1, 77]` it yields."""
        vectors = torch.load(file)["string_to_param"]["*"].float()
        ids, at = self.chunks(prompt), int((self.chunks(prompt) == self.tokenizer.eos_token_id).int().argmax())
        places = slice(at, at + len(vectors))
        ids[0, places] = 0

        def put(_: Any, __: Any, out: Tensor) -> Tensor:
            return torch.cat([out[:, :at], vectors[None], out[:, places.stop :]], 1)

        hook = find_tower(self.encoder).embedding.register_forward_hook(put)
        try:
            yield ids
        finally:
            hook.remove()

    def conditioning(
        self,
        prompt: str | Tensor,
        embedding: ae.AestheticEmbedding | None = None,
        settings: ae.Settings | None = None,
        clip_skip: int = 1,
        multipliers: dict[int, float] | None = None,
    ) -> Tensor:
        """`[77 * chunks, width]`; prompt: text, or its ids; multipliers: position -> emphasis, of the first chunk."""
        ids = self.chunks(prompt) if isinstance(prompt, str) else prompt
        text_ids = self.chunks(settings.text) if settings and settings.text else None

        @torch.no_grad()
        def encode() -> Tensor:
            out: Any = self.encoder(ids, output_hidden_states=True)
            text_model = getattr(self.encoder, "text_model", self.encoder)
            z = text_model.final_layer_norm(out.hidden_states[-clip_skip]) if clip_skip > 1 else out.last_hidden_state
            if multipliers:
                factor = torch.ones(77)
                for position, value in multipliers.items():
                    factor[position] = value
                mean = z[0].mean()
                z[0] *= factor[:, None]
                z[0] *= mean / z[0].mean()
            return z.flatten(0, 1)

        plain = encode()
        if embedding is None:
            return plain
        with ae.personalized(self.encoder, ids, embedding, settings, text_ids=text_ids):
            tuned = encode()
        return ae.blended(plain, tuned, settings)


def _kohya(name: str) -> str:
    return name.removeprefix("text_model.").replace(".", "_")
