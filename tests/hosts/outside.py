"""The conditioning that the core gives outside of any host, from the same checkpoint file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import aesthetic_embeddings as ae

PREFIX = "cond_stage_model.transformer.text_model."


class Prompts:
    """Prompts cut into chunks of 75 tokens as hosts cut them. words: textual inversions, each with ids of its own."""

    def __init__(self, tokenizer: Path) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(tokenizer)
        self.words: dict[str, list[int]] = {}

    def chunks(self, prompt: str) -> Tensor:
        """`[chunks, 77]`; BREAK starts a new one. The prompt has no emphasis and, when long, no comma."""
        rows: list[list[int]] = []
        for part in prompt.split(" BREAK "):
            rows.append([])
            for piece in re.split(f"({'|'.join(self.words) or '$^'})", part):
                if piece in self.words:
                    units = [self.words[piece]]
                else:
                    units = [[token] for token in self.tokenizer(piece, add_special_tokens=False)["input_ids"]]
                for unit in units:  # an inversion is not cut in two
                    if len(rows[-1]) + len(unit) > 75:
                        rows.append([])
                    rows[-1] += unit
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return torch.tensor([[begin, *row, *[end] * (76 - len(row))] for row in rows])


class Outside:
    """An SD1 checkpoint's text encoder."""

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
        self.prompts = Prompts(tokenizer)

    def conditioning(
        self,
        prompt: str | Tensor,
        embedding: ae.AestheticEmbedding | None = None,
        settings: ae.Settings | None = None,
        clip_skip: int = 1,
        multipliers: dict[int, float] | None = None,
    ) -> Tensor:
        """`[77 * chunks, width]`; prompt: text, or its ids; multipliers: position -> emphasis, of the first chunk."""
        ids = self.prompts.chunks(prompt) if isinstance(prompt, str) else prompt
        text_ids = self.prompts.chunks(settings.text) if settings and settings.text else None

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
