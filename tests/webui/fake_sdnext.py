"""A small fake of SD.Next: what the extension touches where SD.Next differs from A1111 (see fake_host.py).

Every behavior was seen in the real one; the comments name its file and function.
"""

from __future__ import annotations

import functools
import re
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import fake_host
from .fake_host import CHUNK, ExtraNetworkParams, clip_text_model, emphasized, schedule, tokenizer

PARTS = ("prompt_embeds", "positive_pooleds", "negative_prompt_embeds", "negative_pooleds")


@functools.cache
def shared_tower(name: str) -> Any:
    return clip_text_model("a1111", {"first": 3, "second": 4}[name]).requires_grad_(False)


class StableDiffusionPipeline:
    """shared.sd_model: a pipeline of diffusers, with some things of the host."""

    def __init__(self, name: str) -> None:
        self.sd_checkpoint_info = types.SimpleNamespace(filename=f"models/Diffusers/{name}")
        self.text_encoder = shared_tower(name)
        self.embedding_db = types.SimpleNamespace(embeddings_used=[])  # modules/textual_inversion.py

    def tower(self) -> Any:
        return self.text_encoder


class Parser(types.ModuleType):
    """modules/prompt_parser_diffusers.py."""

    def __init__(self, host: Host) -> None:
        super().__init__("modules.prompt_parser_diffusers")
        self.cache: OrderedDict[str, Any] = OrderedDict()
        self.last_attention = ""
        self.encoded: list[tuple[str, str]] = []  # ours, for tests: what the host was asked to encode
        parser = self

        class PromptEmbedder:
            """Lists of the batch's prompts, and in them of their stages."""

            def __init__(
                self,
                prompts: list[str],
                negative_prompts: list[str],
                steps: int,
                clip_skip: int,
                p: Any,
                prompt_attention: str = "native",
            ) -> None:
                self.prompts, self.negative_prompts, self.clip_skip, self.steps = (
                    prompts,
                    negative_prompts,
                    clip_skip,
                    steps,
                )
                self.attention, self.scheduled_prompt = prompt_attention, False
                for part in PARTS:
                    setattr(self, part, [[] for _ in prompts])
                if self.checkcache(p):
                    return
                for batchidx, (prompt, negative) in enumerate(zip(prompts, negative_prompts, strict=False)):
                    stages = [text for _, text in schedule(prompt, steps, None)]
                    self.scheduled_prompt = len(stages) > 1
                    for stage in stages:
                        self.encode(host.shared.sd_model, stage, negative, batchidx)
                self.checkcache(p)

            def checkcache(self, p: Any) -> bool:
                if self.scheduled_prompt:
                    parser.cache.clear()
                    return False
                if parser.last_attention != self.attention:  # the key has no parser
                    parser.cache.clear()
                    return False
                en_data = [idx.items for item in p.network_data.values() for idx in item]
                key = str([self.prompts, self.negative_prompts, self.clip_skip, self.steps, en_data])
                if key in parser.cache:
                    vars(self).update(parser.cache[key])
                    return True
                if self.prompt_embeds[0]:
                    parser.cache[key] = {part: getattr(self, part) for part in PARTS}
                return False

            def encode(self, pipe: Any, positive_prompt: str, negative_prompt: str, batchidx: int) -> None:
                parser.last_attention = self.attention
                if self.attention == "xhinker":
                    encoded = parser.get_xhinker_text_embeddings(pipe, positive_prompt, negative_prompt, self.clip_skip)
                else:
                    encoded = parser.get_weighted_text_embeddings(
                        *(pipe, positive_prompt, negative_prompt, self.clip_skip), prompt_mean_norm=None
                    )
                embeds, pooled, _, negative, negative_pooled, _ = encoded
                for part, x in zip(PARTS, (embeds, pooled, negative, negative_pooled), strict=True):
                    if x is not None:
                        getattr(self, part)[batchidx].append(x)

            def __call__(self, key: str) -> list[list[Tensor]]:
                return getattr(self, key)

        self.PromptEmbedder = PromptEmbedder

    def get_weighted_text_embeddings(
        self, pipe: Any, prompt: str, neg_prompt: str, clip_skip: int, prompt_mean_norm: Any = None
    ) -> tuple[Any, ...]:
        """Section after section, the prompt before the negative prompt; the shorter one gets empty chunks."""
        self.encoded.append((prompt, neg_prompt))
        sections = [section.strip() for section in prompt.split("BREAK")]
        embeds = torch.cat([self._section(pipe, section, clip_skip) for section in sections], dim=1)
        negative = self._section(pipe, neg_prompt, clip_skip)  # knows no BREAK
        pipe.embedding_db.embeddings_used = [word for word in ("style",) if word in neg_prompt]  # of the last text
        length = max(embeds.shape[1], negative.shape[1])
        embeds, negative = (self._padded(pipe, x, length) for x in (embeds, negative))
        return embeds, None, None, negative, None, None

    def get_xhinker_text_embeddings(self, pipe: Any, prompt: str, neg_prompt: str, clip_skip: int) -> tuple[Any, ...]:
        """Without padding, of which this cuts off a part."""
        embeds, _, _, negative, _, _ = Parser.get_weighted_text_embeddings(self, pipe, prompt, neg_prompt, clip_skip)
        return embeds[:, :-50], None, None, negative[:, :-50], None, None

    def _section(self, pipe: Any, text: str, clip_skip: int) -> Tensor:
        """compel's get_embeddings_for_weighted_prompt_fragments: all chunks in one call, and for each fragment below 1
        another one, in which that is masked."""
        ids, weights = chunks(text)
        z = self._encode(pipe, ids, clip_skip)
        mean = [z * weights.clamp(min=1)[..., None]]
        for weight in sorted({float(w) for w in weights.flatten() if w < 1}):
            mask = (weights != weight).int()
            mean.append(self._encode(pipe, ids, clip_skip, mask) * weights.clamp(min=1)[..., None])
        return torch.stack(mean).mean(0).flatten(0, 1)[None]

    def _encode(self, pipe: Any, ids: Tensor, clip_skip: int, mask: Tensor | None = None) -> Tensor:
        out = pipe.text_encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        if clip_skip == 1:
            return out.last_hidden_state
        model = getattr(pipe.text_encoder, "text_model", pipe.text_encoder)
        return model.final_layer_norm(out.hidden_states[-clip_skip])

    def _padded(self, pipe: Any, x: Tensor, length: int) -> Tensor:
        """pad_to_same_length."""
        empty = self._section(pipe, "", 1)
        return torch.cat([x, *[empty] * ((length - x.shape[1]) // empty.shape[1])], dim=1)


def chunks(text: str) -> tuple[Tensor, Tensor]:
    """`[chunks, 77]` ids and weights."""
    bos, eos = tokenizer().bos_token_id, tokenizer().eos_token_id
    tokens, weights = [], []
    for part, weight in emphasized(text):
        found = tokenizer()([part], add_special_tokens=False)["input_ids"][0]
        tokens, weights = tokens + found, weights + [weight] * len(found)
    rows = range(0, max(1, len(tokens)), CHUNK)
    cut, cut_weights = [tokens[at : at + CHUNK] for at in rows], [weights[at : at + CHUNK] for at in rows]
    ids = [[bos, *some, *[eos] * (CHUNK + 1 - len(some))] for some in cut]
    return torch.tensor(ids), torch.tensor([[1.0, *some, *[1.0] * (CHUNK + 1 - len(some))] for some in cut_weights])


class Job:
    """modules/processing_class.py: no `get_conds_with_caching`, no `cached_params`."""

    host: Host

    def __init__(self, prompt: Any, negative_prompt: str = "", **more: Any) -> None:
        self.prompt, self.negative_prompt, self.refiner_prompt = prompt, negative_prompt, ""
        self.steps, self.clip_skip, self.n_iter, self.batch_size, self.iteration = 20, 1, 1, 1, 0
        self.enable_hr = self.is_hr_pass = self.disable_extra_networks = False
        self.prompt_attention = "native"
        vars(self).update(more)
        self.scripts, self.script_args = self.host.scripts, []
        self.comments: dict[str, int] = {}
        self.extra_generation_params: dict[str, Any] = {}
        self.all_hr_prompts: list[str] = []  # for A1111's extensions; stays empty
        self.network_data: dict[str, list[ExtraNetworkParams]] = {}
        self.infotexts: list[dict[str, Any]] = []

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def close(self) -> None:
        self.scripts = None


class State(fake_host.State):
    """modules/shared_state.py."""

    def begin(self, title: str = "", task_id: Any = 0, api: Any = None) -> None:
        super().begin(title)


class Host(fake_host.Host):
    def __init__(self, root: Path) -> None:
        super().__init__("sdnext", root)
        self.state = self.shared.state = State()
        self.Job = type("StableDiffusionProcessingTxt2Img", (Job,), {"host": self})
        self.processed: Any = None

    def _modules(self) -> dict[str, types.ModuleType]:
        """Without an editor of metadata; and the hijack has nothing."""
        made = super()._modules()
        del made["modules.ui_extra_networks_user_metadata"], made["modules"].ui_extra_networks_user_metadata
        made["modules.sd_hijack"].model_hijack = lambda: None
        self.parser, self.model_data = Parser(self), types.SimpleNamespace(sd_model=None)
        models = types.ModuleType("modules.sd_models")
        models.model_data = self.model_data
        for name, module in {"prompt_parser_diffusers": self.parser, "sd_models": models}.items():
            made[f"modules.{name}"] = module
            setattr(made["modules"], name, module)
        return made

    def load(self, name: str) -> StableDiffusionPipeline:
        self.shared.sd_model = self.model_data.sd_model = StableDiffusionPipeline(name)
        return self.shared.sd_model

    def process_images(self, p: Any) -> list[fake_host.Picture]:
        """modules/processing.py, process_images_inner, and modules/processing_diffusers.py."""
        texts = p.prompt if isinstance(p.prompt, list) else [p.prompt] * (p.batch_size * p.n_iter)
        p.all_prompts, p.all_negative_prompts = texts, [p.negative_prompt] * len(texts)
        p.scripts.process(p)
        pictures = []
        self.state.begin("Process")
        with torch.inference_mode():  # devices.inference_context
            for n in range(p.n_iter):
                p.iteration, here = n, slice(n * p.batch_size, (n + 1) * p.batch_size)
                p.prompts, p.negative_prompts = p.all_prompts[here], p.all_negative_prompts[here]
                p.prompts, p.network_data = self._parsed(p.prompts)
                self._activate_extra_networks(p)
                picture = self.encode(p, p.prompts)
                if p.enable_hr:
                    p.is_hr_pass = True
                    hires = self.encode(p, p.prompts)
                    picture = picture._replace(hr_c=hires.c, hr_uc=hires.uc)
                    p.is_hr_pass = False
                pictures.append(picture)
                p.infotexts += [
                    {key: x for key, x in p.extra_generation_params.items() if x is not None} for _ in p.prompts
                ]  # create_infotext calls no functions
        self.processed = types.SimpleNamespace(comments="")  # of a job's comments it gets none
        for script in p.scripts.alwayson_scripts:
            script.postprocess(p, self.processed)
        return pictures

    def encode(self, p: Any, prompts: list[str]) -> fake_host.Picture:
        """modules/processing_prompt.py, set_prompt."""
        if p.prompt_attention == "fixed":
            return fake_host.Picture(None, None)  # the pipeline encodes by itself
        self.state.begin("TE Encode")
        embedder = self.parser.PromptEmbedder(
            prompts, p.negative_prompts, p.steps, p.clip_skip, p, prompt_attention=p.prompt_attention
        )
        return fake_host.Picture(*([list(x) for x in embedder(part)] for part in PARTS[::2]))

    def _activate_extra_networks(self, p: Any) -> None:
        """modules/extra_networks.py, activate."""
        for name, network in self.extra_networks.items():
            if name in p.network_data:
                network.activate(p, p.network_data[name], step=0)
            else:
                network.activate(p, [])

    def _parsed(self, prompts: list[str]) -> tuple[list[str], dict[str, list[ExtraNetworkParams]]]:
        """parse_prompts: of a batch the last prompt's count."""
        data: dict[str, list[ExtraNetworkParams]] = {}
        for prompt in prompts:
            data = super()._parsed([prompt])[1] or data
        return [re.sub(r"<(\w+):([^>]+)>", "", prompt) for prompt in prompts], data
