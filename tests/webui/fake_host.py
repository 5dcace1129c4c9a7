"""A small fake of AUTOMATIC1111 v1.10.1 ("a1111") and of Forge ("forge"): what the extension touches, and no more.

Every behavior was seen in the real hosts; the comments name their file and function, A1111's where both do alike. The
text encoder is a real CLIPTextModel, small and random, and the tokenizer a real one: the pocket model's.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import aesthetic_embeddings

from . import fake_networks, fake_options

FLAVOURS = ("a1111", "forge")
EXTENSION = "aesthetic_embeddings.webui"
TOKENIZER = Path(aesthetic_embeddings.__file__).parent / "pocket/model/tokenizer"
WIDTH, LAYERS, CHUNK = 768, 2, 75
FAMILY = "clip-768x2-768"


# ---------------------------------------------------------------- text encoders


@functools.cache
def tokenizer() -> Any:
    return CLIPTokenizer.from_pretrained(TOKENIZER)


def clip_text_model(flavor: str, seed: int = 1) -> CLIPTextModel:
    """A new CLIPTextModel as this host holds it; equal seeds make equal ones."""
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer()),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=12,
        eos_token_id=2,  # as in CLIP ViT-L/14's config: pooled is the highest id
    )
    model = CLIPTextModel(config)
    with torch.no_grad():  # an untrained norm's output has mean 0, by which hosts divide for emphasis
        model.text_model.final_layer_norm.bias.copy_(torch.randn(WIDTH) * 0.1 - 0.1)
    if flavor == "a1111":
        return model.eval()
    with torch.inference_mode():  # modules/sd_models.py, forge_model_reload: the model is loaded in it
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, name, CastingLinear(child))
                elif isinstance(child, nn.LayerNorm):
                    setattr(module, name, CastingNorm(child))
                elif isinstance(child, nn.Embedding):
                    child.weight = half(child.weight)
        # backend/nn/clip.py, IntegratedCLIP: always there, and without weight where the checkpoint has none
        model.text_projection = CastingLinear(None)
    return model.train()  # left in training mode; there is no dropout


def half(weight: Tensor) -> nn.Parameter:
    """fp16 on the CPU too: backend/memory_management.py, text_encoder_dtype."""
    return nn.Parameter(weight.half())


class CastingLinear(nn.Module):
    """backend/operations.py, ForgeOperations.Linear: no nn.Linear, and cast to the input's dtype at each call."""

    def __init__(self, linear: nn.Linear | None) -> None:
        super().__init__()
        self.weight = None if linear is None else half(linear.weight)
        self.bias = None if linear is None else half(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x), self.bias.to(x))


class CastingNorm(nn.LayerNorm):
    """backend/operations.py, ForgeOperations.LayerNorm."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__(norm.normalized_shape, norm.eps)
        self.weight, self.bias = half(norm.weight), half(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x), self.bias.to(x), self.eps)


class TextualInversion(nn.Module):
    """modules/sd_hijack.py, EmbeddingsWithFixes: puts `fixes` in, once: they are gone after the next forward."""

    def __init__(self, wrapped: nn.Embedding, forge: bool) -> None:
        super().__init__()
        self.wrapped = wrapped
        if forge:  # backend/text_processing/classic_engine.py, CLIPEmbeddingForTextualInversion
            self.weight = wrapped.weight
        self.embeddings: Any = None  # the object that has `fixes`

    def forward(self, input_ids: Tensor) -> Tensor:
        fixes, self.embeddings.fixes = self.embeddings.fixes, None
        out = self.wrapped(input_ids)
        for row, found in enumerate(fixes or []):
            for at, vectors in found:
                out = out.clone()
                out[row, at + 1 : at + 1 + len(vectors)] = vectors.to(out)
        return out


class Chunk(NamedTuple):
    """modules/sd_hijack_clip.py, PromptChunk: 77 tokens, beginning and end of text included."""

    ids: list[int]
    multipliers: list[float]
    fixes: list[tuple[int, Tensor]]


class Engine(nn.Module):
    """Texts to conditioning. A1111: modules/sd_hijack_clip.py, FrozenCLIPEmbedderWithCustomWords; Forge:
    backend/text_processing/classic_engine.py, ClassicTextProcessingEngine."""

    def __init__(self, host: Host, transformer: CLIPTextModel) -> None:
        super().__init__()
        self.host, self.clip_skip = host, 1
        self.database = types.SimpleNamespace(fixes=None)  # A1111: the hijack itself
        if host.forge:
            self.text_encoder = Holder(transformer)
        else:
            self.wrapped = Holder(transformer)
        self.transformer = [transformer]  # in a list: no child of ours
        embeddings = transformer.text_model.embeddings
        if not isinstance(embeddings.token_embedding, TextualInversion):
            embeddings.token_embedding = TextualInversion(embeddings.token_embedding, host.forge)
        embeddings.token_embedding.embeddings = self.database

    def forward(self, texts: list[str]) -> Tensor:
        """`[texts, 77 * chunks, width]`: the texts side by side, chunk after chunk; short ones get empty chunks."""
        each, used = [self.chunks(text) for text in texts], [word for text in texts for word in self.words(text)]
        zs = []
        for i in range(max(map(len, each))):
            side = [chunks[i] if i < len(chunks) else self.chunks("")[0] for chunks in each]
            self.database.fixes = [chunk.fixes for chunk in side]
            zs.append(self.process_tokens([c.ids for c in side], [c.multipliers for c in side]))
        if used:
            self.note_used(used)
        return torch.hstack(zs)

    def words(self, text: str) -> list[str]:
        return [word for word in self.host.textual_inversions if word in text]

    def note_used(self, words: list[str]) -> None:
        """It is added to what an earlier encoding noted."""
        params, key = self.host.infotext_of_encoding()
        params[key] = ", ".join([*words, *([params[key]] if key in params else [])])

    def chunks(self, text: str) -> list[Chunk]:
        """modules/sd_hijack_clip.py, tokenize_line, without its look at commas."""
        bos, eos = tokenizer().bos_token_id, tokenizer().eos_token_id
        chunks: list[Chunk] = []
        ids, multipliers, fixes = [], [], []

        def close() -> None:
            rest = CHUNK - len(ids)
            whole = [bos, *ids, *[eos] * rest, eos]  # SD1 pads with the end-of-text token
            chunks.append(Chunk(whole, [1.0, *multipliers, *[1.0] * rest, 1.0], fixes[:]))
            ids.clear(), multipliers.clear(), fixes.clear()

        for part, weight in emphasized(text):
            if part == "BREAK":
                close()
                continue
            for piece in re.split(f"({'|'.join(map(re.escape, self.host.textual_inversions)) or '$^'})", part):
                if piece in self.host.textual_inversions:
                    vectors = self.host.textual_inversions[piece]
                    fixes.append((len(ids), vectors))
                    tokens = [0] * len(vectors)
                else:
                    tokens = tokenizer()([piece], truncation=False, add_special_tokens=False)["input_ids"][0]
                for token in tokens:
                    if len(ids) == CHUNK:
                        close()
                    ids.append(token)
                    multipliers.append(weight)
        if ids or not chunks:
            close()
        return chunks

    def process_tokens(self, remade_batch_tokens: list[list[int]], batch_multipliers: list[list[float]]) -> Tensor:
        """And emphasis, which keeps the mean: modules/sd_emphasis.py, EmphasisOriginal."""
        z = self.encode_with_transformers(torch.asarray(remade_batch_tokens))
        mean = z.mean()
        z = z * torch.asarray(batch_multipliers)[..., None]
        return z * (mean / z.mean())

    def encode_with_transformers(self, tokens: Tensor) -> Tensor:
        (transformer,) = self.transformer
        if self.host.forge:  # the first forward after a load changes the tables' dtype, under inference_mode
            transformer.text_model.embeddings.to(torch.float32)
        skip = self.clip_skip if self.host.forge else self.host.opts.CLIP_stop_at_last_layers
        out = transformer(input_ids=tokens, output_hidden_states=True)
        if skip == 1 and not self.host.forge:
            return out.last_hidden_state
        return transformer.text_model.final_layer_norm(out.hidden_states[-skip])  # Forge: for 1 as well


class Holder(nn.Module):
    """ldm's FrozenCLIPEmbedder, and Forge's IntegratedCLIP: the module around the transformer."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer


def emphasized(text: str) -> Iterator[tuple[str, float]]:
    """modules/prompt_parser.py, parse_prompt_attention: as far as (words), (words:1.3) and BREAK go."""
    for part in re.split(r"(\([^()]*\)|\bBREAK\b)", text):
        if found := re.fullmatch(r"\((.*?)(?::([\d.]+))?\)", part):
            yield found[1], float(found[2] or 1.1)
        elif part.strip():
            yield part.strip() if part.strip() == "BREAK" else part, 1.0


class Model:
    """shared.sd_model: modules/sd_models.py, load_model; backend/diffusion_engine/sd15.py, StableDiffusion."""

    def __init__(self, host: Host, name: str, transformer: CLIPTextModel) -> None:
        self.sd_checkpoint_info, self.engine = name, Engine(host, transformer)
        if not host.forge:
            self.cond_stage_model = self.engine
            return
        self.cond_stage_model = None  # filled by nothing in Forge
        joint = types.SimpleNamespace(clip_l=self.engine.text_encoder)
        self.forge_objects = types.SimpleNamespace(clip=types.SimpleNamespace(cond_stage_model=joint))
        self.get_learned_conditioning = torch.inference_mode()(self.get_learned_conditioning)
        self.extra_generation_params: dict[str, str] = {}

    def get_learned_conditioning(self, texts: list[str]) -> Tensor:
        return self.engine(texts)

    def set_clip_skip(self, clip_skip: int) -> None:
        self.engine.clip_skip = clip_skip

    def tower(self) -> CLIPTextModel:
        (transformer,) = self.engine.transformer
        return transformer


@functools.cache
def _shared_tower(flavor: str, seed: int) -> CLIPTextModel:
    """Made once, as it is slow to make; every test gives it back as it was (conftest.py checks)."""
    return clip_text_model(flavor, seed)


# ---------------------------------------------------------------- prompts


class SdConditioning(list):
    """modules/prompt_parser.py, SdConditioning."""

    def __init__(self, prompts: Any, is_negative_prompt: bool = False, width=None, copy_from: Any = None) -> None:
        super().__init__(prompts)
        copy_from = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(copy_from, "is_negative_prompt", False)
        self.width = width or getattr(copy_from, "width", None)


class Scheduled(NamedTuple):
    """modules/prompt_parser.py, ScheduledPromptConditioning."""

    end_at_step: int
    cond: Tensor


def schedule(prompt: str, steps: int, hires_steps: int | None) -> list[tuple[int, str]]:
    """modules/prompt_parser.py, get_learned_conditioning_prompt_schedules, for [a:b:0.5]; in the hires pass that is
    over already."""
    found = re.search(r"\[([^:\]]*):([^:\]]*):([\d.]+)\]", prompt)
    if not found:
        return [(hires_steps or steps, prompt)]
    before, after = (prompt.replace(found[0], found[i]) for i in (1, 2))
    return [(hires_steps, after)] if hires_steps else [(int(float(found[3]) * steps), before), (steps, after)]


def get_learned_conditioning(
    model: Any, prompts: Any, steps: int, hires_steps: Any = None, use_old_scheduling: bool = False
) -> Any:
    """modules/prompt_parser.py, get_learned_conditioning: all schedules of a prompt in one call, equal prompts once."""
    cache: dict[str, list[Scheduled]] = {}
    for prompt in prompts:
        if prompt not in cache:
            timeline = schedule(prompt, steps, hires_steps)
            conds = model.get_learned_conditioning(SdConditioning([text for _, text in timeline], copy_from=prompts))
            if isinstance(conds, dict):  # SDXL's, SD3's and Flux's
                conds = [{name: x[i] for name, x in conds.items()} for i in range(len(timeline))]
            cache[prompt] = [Scheduled(end, cond) for (end, _), cond in zip(timeline, conds, strict=True)]
    return [cache[prompt] for prompt in prompts]


def get_multicond_learned_conditioning(
    model: Any, prompts: Any, steps: int, hires_steps: Any = None, use_old_scheduling: bool = False
) -> Any:
    """modules/prompt_parser.py, get_multicond_learned_conditioning: the parts of AND one by one, equal ones once."""
    parts = [[part.strip() for part in re.split(r"\bAND\b", prompt)] for prompt in prompts]
    flat = SdConditioning(dict.fromkeys(part for some in parts for part in some), copy_from=prompts)
    made = dict(zip(flat, get_learned_conditioning(model, flat, steps, hires_steps, use_old_scheduling), strict=True))
    batch = [[types.SimpleNamespace(schedules=made[part], weight=1.0) for part in some] for some in parts]
    return types.SimpleNamespace(shape=(len(prompts),), batch=batch)


# ---------------------------------------------------------------- jobs


class Picture(NamedTuple):
    """In place of a picture, what the sampler would be given: `c[prompt][part of AND]` and `uc[prompt]` are timelines;
    `hr_c` and `hr_uc` the hires pass's."""

    c: Any
    uc: Any
    hr_c: Any = None
    hr_uc: Any = None


class Job:
    """`p`: modules/processing.py, StableDiffusionProcessing and ...Txt2Img. Copied by extensions with copy.copy."""

    host: Host
    cached_c: list[Any]
    cached_uc: list[Any]
    cached_hr_c: list[Any]
    cached_hr_uc: list[Any]

    def __init__(self, prompt: Any, negative_prompt: str = "", **more: Any) -> None:
        self.prompt, self.negative_prompt = prompt, negative_prompt
        self.steps, self.width, self.n_iter, self.batch_size, self.iteration = 20, 512, 1, 1, 0
        self.enable_hr, self.hr_prompt, self.hr_negative_prompt, self.hr_second_pass_steps = False, "", "", 0
        self.scripts = self.host.scripts  # inner jobs of extensions have a runner with some of them
        self.script_args: list[Any] = []
        self.disable_extra_networks = False
        vars(self).update(more)
        self.comments: dict[str, int] = {}
        self.extra_generation_params: dict[str, Any] = {}
        self.extra_network_data: dict[str, Any] = {}
        self.infotexts: list[dict[str, Any]] = []  # Processed's, here before they are text
        self.hr_extra_network_data: Any = None
        for name in ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc"):
            setattr(self, name, getattr(type(self), name))  # __post_init__: the class's own lists

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def cached_params(
        self,
        required_prompts: Any,
        steps: int,
        extra_network_data: Any,
        hires_steps: Any = None,
        use_old_scheduling: bool = False,
    ) -> tuple[Any, ...]:
        """Says nothing of scripts."""
        opts, checkpoint = self.host.opts, self.host.shared.sd_model.sd_checkpoint_info
        skip = opts.CLIP_stop_at_last_layers
        return (
            required_prompts,
            steps,
            hires_steps,
            use_old_scheduling,
            skip,
            checkpoint,
            extra_network_data,
            self.width,
        )

    def get_conds_with_caching(
        self, function: Any, required_prompts: Any, steps: int, caches: Any, extra_network_data: Any, hires_steps=None
    ) -> Any:
        key = self.cached_params(required_prompts, steps, extra_network_data, hires_steps, False)
        model, classic_engine = self.host.shared.sd_model, self.host.classic_engine
        for cache in caches:
            if cache[0] is not None and key == cache[0]:
                if len(cache) > 2:  # Forge
                    model.extra_generation_params.update(cache[2])
                return cache[1]
        cache = caches[0]
        if self.host.forge:
            model.set_clip_skip(self.host.opts.CLIP_stop_at_last_layers)
        cache[1] = function(model, required_prompts, steps, hires_steps, False)
        if self.host.forge:
            noted, classic_engine.last_extra_generation_params = classic_engine.last_extra_generation_params, {}
            model.extra_generation_params.update(noted)
            if len(cache) > 2:
                cache[2] = noted
        cache[0] = key
        return cache[1]

    def setup_conds(self) -> None:
        prompts = SdConditioning(self.prompts, width=self.width)
        negative = SdConditioning(self.negative_prompts, width=self.width, is_negative_prompt=True)
        get = self.get_conds_with_caching
        self.uc = get(get_learned_conditioning, negative, self.steps, [self.cached_uc], self.extra_network_data)
        self.c = get(get_multicond_learned_conditioning, prompts, self.steps, [self.cached_c], self.extra_network_data)

    def calculate_hr_conds(self) -> None:
        """May find the first pass's conditioning: the caches are looked up one after the other."""
        prompts = SdConditioning(self.hr_prompts, width=2 * self.width)
        negative = SdConditioning(self.hr_negative_prompts, width=2 * self.width, is_negative_prompt=True)
        get, steps = self.get_conds_with_caching, self.hr_second_pass_steps or self.steps
        rest = (self.hr_extra_network_data, steps)
        self.hr_uc = get(get_learned_conditioning, negative, self.steps, [self.cached_hr_uc, self.cached_uc], *rest)
        self.hr_c = get(
            get_multicond_learned_conditioning, prompts, self.steps, [self.cached_hr_c, self.cached_c], *rest
        )

    def close(self) -> None:
        if not self.host.opts.persistent_cond_cache:
            for name in ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc"):
                setattr(type(self), name, [None, None])  # of two elements in Forge too


def create_infotext(p: Job, index: int) -> dict[str, Any]:
    """modules/processing.py, create_infotext: values may be lists or functions; what is None is left out."""
    params = dict(p.extra_generation_params)
    for key, value in params.items():
        if isinstance(value, list):
            params[key] = value[index]
        elif callable(value):
            params[key] = value(p=p, index=index, iteration=0, use_main_prompt=False)
    return {key: value for key, value in params.items() if value is not None}


# ---------------------------------------------------------------- the host


class State:
    """modules/shared_state.py, State."""

    def __init__(self) -> None:
        self.skipped = self.interrupted = False
        self.job, self.job_count = "", 0
        self.on_text: Callable[[str], object] = lambda text: None  # ours, for tests: who reads the progress bar
        self._textinfo: str | None = None

    @property
    def textinfo(self) -> str | None:
        return self._textinfo

    @textinfo.setter
    def textinfo(self, text: str | None) -> None:
        self._textinfo = text
        if text:
            self.on_text(text)

    def interrupt(self) -> None:
        self.interrupted = True

    def skip(self) -> None:
        self.skipped = True

    def begin(self, job: str = "(unknown)") -> None:
        self.job, self.job_count, self.textinfo = job, -1, None
        self.skipped = self.interrupted = False

    def end(self) -> None:  # leaves `interrupted` as it is
        self.job, self.job_count = "", 0


class ExtraNetwork:
    """modules/extra_networks.py, ExtraNetwork."""

    def __init__(self, name: str) -> None:
        self.name = name


class ExtraNetworkParams:
    """modules/extra_networks.py, ExtraNetworkParams."""

    def __init__(self, items: list[str]) -> None:
        self.items = items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExtraNetworkParams) and self.items == other.items


class Script:
    """modules/scripts.py, Script."""

    is_txt2img = is_img2img = False

    def elem_id(self, item_id: str) -> str:
        tab, title = "img2img" if self.is_img2img else "txt2img", re.sub(r"\s", "_", self.title().lower())
        return f"script_{tab}_{re.sub('[^a-z_0-9]', '', title)}_{item_id}"


@contextlib.contextmanager
def input_accordion(value: bool, label: str = "", elem_id: str | None = None, **more: Any) -> Iterator[gr.Checkbox]:
    """modules/ui_components.py, InputAccordion: a hidden checkbox that follows an accordion, and is the input."""
    box = gr.Checkbox(value, label=label, elem_id=f"{elem_id}-checkbox", visible=False)
    with gr.Accordion(label, elem_id=elem_id, open=value):
        yield box


def tool_button(value: str, tooltip: str | None = None, **more: Any) -> gr.Button:
    """modules/ui_components.py, ToolButton. Hosts add `tooltip` to all components (modules/gradio_extensons.py)."""
    return gr.Button(value, elem_classes=["tool"], **more)


class ScriptRunner:
    """modules/scripts.py, ScriptRunner: the scripts of a tab, each with its place among a job's arguments."""

    def __init__(self, host: Host, scripts: Sequence[Any] = ()) -> None:
        self.host, self.alwayson_scripts = host, list(scripts)

    def add(self, script: Any, arguments: int = 0, place: int | None = None) -> None:
        script.args_from = max([0, *(other.args_to for other in self.alwayson_scripts)])
        script.args_to = script.args_from + arguments
        self.alwayson_scripts.insert(len(self.alwayson_scripts) if place is None else place, script)

    def remove(self, script: Any) -> None:
        self.alwayson_scripts.remove(script)

    def arguments(self, values: dict[Any, list[Any]]) -> list[Any]:
        """All scripts' arguments in a row; those of scripts without values are False."""
        row: list[Any] = [False] * max([0, *(script.args_to for script in self.alwayson_scripts)])
        for script, some in values.items():
            row[script.args_from : script.args_to] = some
        return row

    def process(self, p: Job) -> None:
        self.call("process", p)

    def call(self, method: str, p: Job) -> None:
        """Exceptions are logged, and generation goes on."""
        for script in self.alwayson_scripts:
            if hasattr(script, method):
                try:
                    getattr(script, method)(p, *p.script_args[script.args_from : script.args_to])
                except Exception as error:
                    self.host.faults.append(error)


class Host:
    """One host with one loaded model, and our extension in it, freshly imported."""

    def __init__(self, flavor: str, root: Path) -> None:
        self.flavor, self.forge, self.root = flavor, flavor == "forge", root
        self.opts = fake_options.Options(CLIP_stop_at_last_layers=1, persistent_cond_cache=True, samples_format="png")
        self.state = State()
        self.textual_inversions: dict[str, Tensor] = {}  # word -> vectors
        self.scripts = ScriptRunner(self)
        self.extra_networks: dict[str, Any] = {}  # modules/extra_networks.py, extra_network_registry
        self.faults: list[Exception] = []  # of scripts; conftest.py expects none
        empty = [None, None, None] if self.forge else [None, None]  # Forge's third: what encoding noted for infotext
        caches = {name: list(empty) for name in ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc")}
        self.Job = type("StableDiffusionProcessingTxt2Img", (Job,), {"host": self, **caches})
        self.classic_engine = types.SimpleNamespace(last_extra_generation_params={}) if self.forge else None
        # modules/sd_hijack.py: in Forge a stub without these
        self.hijack = types.SimpleNamespace(**({} if self.forge else {"extra_generation_params": {}, "comments": []}))
        self.shared = self._modules()["modules.shared"]
        self.load("first")

    def _modules(self) -> dict[str, types.ModuleType]:
        """What `import modules.*` finds."""
        root, queue_lock = str(self.root), threading.Lock()
        registry: dict[str, list[Any]] = {}
        self.callbacks = registry  # modules/script_callbacks.py
        names = ("on_ui_tabs", "on_ui_settings", "on_app_started", "on_before_ui", "on_model_loaded")
        names += ("on_infotext_pasted",)
        callbacks = {name: lambda f, *, name=name, **_: registry.setdefault(name, []).append(f) for name in names}
        contents: dict[str, dict[str, Any]] = {
            "modules": {"__path__": []},
            "modules.shared": {
                "opts": self.opts,
                "OptionInfo": fake_options.OptionInfo,
                "state": self.state,
                "cmd_opts": types.SimpleNamespace(),
                "sd_model": None,
            },
            "modules.devices": {"device": torch.device("cpu"), "torch_gc": lambda: None},
            "modules.paths": {
                "data_path": root,
                "script_path": root,
                "models_path": f"{root}/models",
                "extensions_dir": f"{root}/extensions",
            },
            "modules.script_callbacks": callbacks,
            "modules.scripts": {"Script": Script, "AlwaysVisible": object(), "scripts_data": []},
            "modules.extra_networks": {
                "ExtraNetwork": ExtraNetwork,
                "register_extra_network": lambda network: self.extra_networks.update({network.name: network}),
            },
            "modules.sd_hijack": {"model_hijack": self.hijack},
            "modules.ui_extra_networks": fake_networks.module(),
            "modules.ui_extra_networks_user_metadata": {"UserMetadataEditor": fake_networks.UserMetadataEditor},
            "modules.call_queue": {"queue_lock": queue_lock},
            "modules.ui_components": {"InputAccordion": input_accordion, "ToolButton": tool_button},
        }
        if self.forge:
            contents |= {"backend": {"__path__": []}, "backend.text_processing": {"__path__": []}}
        made = {}
        for name, content in contents.items():
            made[name] = types.ModuleType(name)
            vars(made[name]).update(content)
        for name, module in made.items():
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(made[parent], child, module)
        if self.forge:
            engine = types.ModuleType("backend.text_processing.classic_engine")
            engine.last_extra_generation_params = {}
            made[engine.__name__] = made["backend.text_processing"].classic_engine = self.classic_engine = engine
        self.modules = made
        return made

    def load(self, name: str) -> Model:
        """Load the checkpoint `name`; each has a text encoder of its own."""
        seeds = {"first": 1, "second": 2}
        transformer = _shared_tower(self.flavor, seeds[name])
        self.shared.sd_model = Model(self, name, transformer)
        self.shared.sd_model.get_learned_conditioning([""])  # A1111's load_model does: get_empty_cond
        return self.shared.sd_model

    @property
    def model(self) -> Model:
        return self.shared.sd_model

    def infotext_of_encoding(self) -> tuple[dict[str, str], str]:
        """Where encoding notes which textual inversions it used."""
        if self.forge:
            return self.classic_engine.last_extra_generation_params, "TI"
        return self.hijack.extra_generation_params, "TI hashes"

    # the extension

    def webui(self, name: str) -> Any:
        """The extension's module of that name."""
        return importlib.import_module(f"{EXTENSION}.{name}")

    def add_extension(self) -> Any:
        """modules/scripts.py, load_scripts and ScriptRunner: one instance for a tab."""
        self.script = self.webui("script").AestheticGradients()
        self.scripts.add(self.script, len(self.webui("request").ARGUMENTS))
        self.webui("extra_network").register()  # in on_before_ui
        return self.script

    # generating

    def job(self, prompt: Any, negative_prompt: str = "", *, more: dict[str, Any] | None = None, **chosen: Any) -> Job:
        """A job with these values in the accordion; none: the box is not ticked. more: the job's own fields."""
        names, defaults = self.webui("request").ARGUMENTS, self.webui("request").DEFAULTS
        values = {**defaults, **({"enabled": True} if chosen else {}), **chosen}
        job = self.Job(prompt, negative_prompt, **(more or {}))
        job.script_args = self.scripts.arguments({self.script: [values[name] for name in names]})
        return job

    def generate(self, p: Job) -> list[Picture]:
        """As the page's button and the API do: modules/txt2img.py and modules/api/api.py."""
        self.state.begin("job")
        try:
            return self.process_images(p)
        finally:
            p.close()
            self.state.end()

    def process_images(self, p: Job) -> list[Picture]:
        """modules/processing.py, process_images_inner: one Picture for each batch."""
        if self.forge:
            self.model.extra_generation_params = {}
        else:
            self.hijack.extra_generation_params, self.hijack.comments = {}, []
        count = p.batch_size * p.n_iter
        prompts, hires = (
            text if isinstance(text, list) else [text] * count for text in (p.prompt, p.hr_prompt or p.prompt)
        )
        negative, hr_negative = (
            text if isinstance(text, list) else [text] * len(prompts)
            for text in (p.negative_prompt, p.hr_negative_prompt or p.negative_prompt)
        )
        p.all_prompts, p.all_hr_prompts = prompts, hires
        p.scripts.process(p)
        pictures = []
        with torch.inference_mode() if self.forge else torch.no_grad():
            for n in range(p.n_iter):
                self.state.skipped = False
                if self.state.interrupted:
                    break
                p.iteration, here = n, slice(n * p.batch_size, (n + 1) * p.batch_size)
                p.prompts, p.negative_prompts = prompts[here], negative[here]
                p.hr_prompts, p.hr_negative_prompts = hires[here], hr_negative[here]
                p.scripts.call("before_process_batch", p)
                self._activate_extra_networks(p)
                p.scripts.call("process_batch", p)
                p.setup_conds()
                p.extra_generation_params.update((self.model if self.forge else self.hijack).extra_generation_params)
                p.hr_c = p.hr_uc = None
                if p.enable_hr:
                    p.calculate_hr_conds()
                batch = [[part.schedules for part in parts] for parts in p.c.batch]
                hr_batch = p.hr_c and [[part.schedules for part in parts] for parts in p.hr_c.batch]
                pictures.append(copy.deepcopy(Picture(batch, p.uc, hr_batch, p.hr_uc)))
                for i in range(len(p.prompts)):
                    p.scripts.call("postprocess_image", p)
                    p.infotexts.append(create_infotext(p, index=i))
        return pictures

    def _activate_extra_networks(self, p: Job) -> None:
        """modules/processing.py, parse_extra_network_prompts, and modules/extra_networks.py: of a batch the first
        prompt's count, and the negative prompts are left alone. Also called with none."""
        p.prompts, p.extra_network_data = self._parsed(p.prompts)
        if p.enable_hr:
            p.hr_prompts, p.hr_extra_network_data = self._parsed(p.hr_prompts)
        if not p.disable_extra_networks:
            for name, network in self.extra_networks.items():
                network.activate(p, p.extra_network_data.get(name, []))

    def _parsed(self, prompts: list[str]) -> tuple[list[str], dict[str, list[ExtraNetworkParams]]]:
        data: dict[str, list[ExtraNetworkParams]] = {}
        for name, arguments in re.findall(r"<(\w+):([^>]+)>", prompts[0]):
            data.setdefault(name, []).append(ExtraNetworkParams(arguments.split(":")))
        return [re.sub(r"<(\w+):([^>]+)>", "", prompt) for prompt in prompts], data


def forget_extension() -> None:
    """So that the next import sees the next host; as after a restart."""
    for name in [name for name in sys.modules if name == EXTENSION or name.startswith(f"{EXTENSION}.")]:
        del sys.modules[name]
    vars(aesthetic_embeddings).pop("webui", None)
