"""Everything the extension uses of its host: AUTOMATIC1111's WebUI, Forge, SD.Next, or a fork of one.

This is the only module that imports the host's `modules`. It tests for features, never for versions, and a host without
one lacks only what depends on it. Each function names the code in A1111 v1.10.1 and in Forge that it relies on.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modules import call_queue, devices, paths, script_callbacks, scripts, shared
from modules.ui_components import InputAccordion, ToolButton

from ..aesthetics.library import Library
from ..errors import Interrupted
from ..text_encoder.missing_parts import PARTS


def _optional(name: str) -> Any:
    """A module that only some hosts have, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


extra_networks = _optional("modules.extra_networks")
metadata_editor = _optional("modules.ui_extra_networks_user_metadata")
ui_extra_networks = _optional("modules.ui_extra_networks")
sd_hijack = _optional("modules.sd_hijack")  # not in Forge Neo
sd_models = _optional("modules.sd_models")
prompt_parser = _optional("modules.prompt_parser_diffusers")  # SD.Next
classic_engine = _optional("backend.text_processing.classic_engine")  # Forge and Neo
dynamic_args = getattr(_optional("backend.args"), "dynamic_args", None)

__all__ = [
    "InputAccordion",
    "ToolButton",
    "extra_networks",
    "metadata_editor",
    "prompt_parser",
    "script_callbacks",
    "scripts",
    "shared",
    "ui_extra_networks",
]

#: From the functions that read a pasted value, SD.Next takes gradio updates alone, and Forge's API bare values alone.
PASTES_UPDATES = prompt_parser is not None

#: Forge drops the last layer of SD2's text encoder (backend/huggingface/stabilityai/stable-diffusion-2-1).
DROPS_LAST_LAYER = classic_engine is not None

PACKAGE = Path(__file__).resolve().parent.parent
FOLDER = "aesthetic_embeddings"


def _folders() -> list[Path]:
    """The folders of aesthetics. New ones go to the first, by default `models/aesthetic_embeddings`.

    The others: the host's root, where Civitai's pages tell people to put them; the old extension's folder, under either
    of its names; and our own package, since it has the name of that folder and people copy files into it.
    """
    root, extensions = Path(paths.data_path), Path(paths.extensions_dir)
    of_old_extension = [
        extensions / name / FOLDER for name in ("stable-diffusion-webui-aesthetic-gradients", "aesthetic-gradients")
    ]
    chosen = getattr(shared.cmd_opts, "aesthetic_embeddings_dir", None)
    folders = [
        Path(paths.models_path) / FOLDER,
        root / FOLDER,
        Path(paths.script_path) / FOLDER,
        *of_old_extension,
        PACKAGE,
    ]
    return list(dict.fromkeys([*([Path(chosen)] if chosen else []), *folders]))


library = Library(_folders())

#: The accordions' dropdowns of embeddings and their hints. The tab updates all of them when the library changes.
dropdowns: list[Any] = []
hints: list[Any] = []
#: The checkbox and the embedding dropdown of txt2img's accordion. The tab's "Use it in txt2img" sets them.
txt2img_widgets: list[Any] = []


def set_extra_folders(lines: list[str]) -> None:
    """Add these folders to the library's. Relative ones start at the host's folder of the user's files."""
    extra = [Path(paths.data_path, Path(line.strip().strip("\"'")).expanduser()) for line in lines if line.strip()]
    library.folders = [folder.absolute() for folder in dict.fromkeys([*_folders(), *extra])]
    library.refresh()


#: The device that prompts are tuned on; None for the encoder's.
tuning_device: str | None = None


def encoder_folder() -> Path:
    """The host's folder for CLIP models: `models/CLIP` (modules/paths_internal.py, models_path)."""
    return Path(paths.models_path) / "CLIP"


def clip_folders() -> list[Path]:
    """Folders of whole CLIP models, which hold the parts that checkpoints lack."""
    return [encoder_folder() / part.folder for part in PARTS.values()]


def presets_file() -> Path:
    """The file of the user's presets, beside the host's styles.csv (modules/paths_internal.py, data_path)."""
    return Path(paths.data_path) / "aesthetic_gradients_presets.json"


def make_folder_for_pictures() -> None:
    """Create the folder of the host's option `temp_dir`. Call it before a page with pictures is built.

    Forge Neo saves the page's pictures there, but creates the folder only after its first page (modules/ui_tempdir.py).
    In A1111 and Forge the option is empty.
    """
    with contextlib.suppress(OSError):
        if folder := getattr(shared.opts, "temp_dir", ""):
            Path(folder).mkdir(parents=True, exist_ok=True)


def allows_server_paths() -> bool:
    """Whether users of the page may enter paths of the server (--hide-ui-dir-config, modules/cmd_args.py)."""
    return not getattr(shared.cmd_opts, "hide_ui_dir_config", False)


# ---------------------------------------------------------------- conditioning


def text_encoders(model: Any) -> list[Any]:
    """The modules that hold the CLIP text towers of a loaded model.

    Forge: `forge_objects.clip.cond_stage_model.clip_*` (backend/diffusion_engine/*.py). A1111: `cond_stage_model`, or
    for SDXL `conditioner.embedders`, each around the original encoder as `.wrapped` (modules/sd_hijack.py, `hijack`).
    SD.Next: the model is a pipeline of diffusers, and T5 may be among its encoders.
    """
    if prompt_parser is not None:
        encoders = [getattr(model, name, None) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")]
        return [encoder for encoder in encoders if encoder is not None and "T5" not in type(encoder).__name__]
    if hasattr(model, "forge_objects"):
        joint = model.forge_objects.clip.cond_stage_model
        return [getattr(joint, key) for key in ("clip_l", "clip_h", "clip_g") if hasattr(joint, key)]
    conditioner = getattr(model, "conditioner", None)
    embedders = [model.cond_stage_model] if conditioner is None else conditioner.embedders
    return [embedder.wrapped for embedder in embedders if hasattr(embedder, "wrapped")]


def loaded_model() -> Any:
    """The model in memory, or None; asking `shared.sd_model` would load one (modules/sd_models.py, SdModelData)."""
    return getattr(getattr(sd_models, "model_data", None), "sd_model", None)


def checkpoint_path(model: Any) -> str | None:
    """The file that a model was loaded from (modules/sd_models.py, `sd_checkpoint_info`)."""
    return getattr(getattr(model, "sd_checkpoint_info", None), "filename", None)


def copy_with_texts(original: Any, new_texts: list[str]) -> Any:
    """A copy of the host's list of prompts with other texts and the same attributes, such as the picture's size.

    See modules/prompt_parser.py, SdConditioning. SD.Next has plain lists.
    """
    return new_texts if type(original) is list else type(original)(new_texts, copy_from=original)


def join_conditioning(conds: list[Any]) -> Any:
    """Join the conditioning of single prompts into that of a batch.

    It comes as lists, or as objects with a `batch` (modules/prompt_parser.py, MulticondLearnedConditioning).
    """
    if isinstance(conds[0], list):
        return [row for prompt_conds in conds for row in prompt_conds]
    joined = copy.copy(conds[0])
    joined.batch = [row for prompt_conds in conds for row in prompt_conds.batch]
    joined.shape = (len(joined.batch),)
    return joined


def prompts_with_tags(p: Any, hires: bool) -> list[str]:
    """The prompts of a job's current batch, before the host removed their tags (modules/processing.py)."""
    prompts = getattr(p, "all_hr_prompts" if hires else "all_prompts", None) or []
    start = getattr(p, "iteration", 0) * p.batch_size
    return list(prompts[start : start + p.batch_size])


def adetailer_skips_us(p: Any) -> bool:
    """Whether ADetailer will encode a job's prompts without this extension (Bing-su/adetailer, scripts/!adetailer.py).

    Its inner jobs run the scripts that its option `ad_script_names` lists by file name, or all if it is set so.
    """
    scripts_of_job = getattr(getattr(p, "scripts", None), "alwayson_scripts", [])
    adetailer = next((script for script in scripts_of_job if _title(script) == "ADetailer"), None)
    if adetailer is None or not getattr(shared.opts, "ad_only_selected_scripts", True):
        return False
    arguments = list(p.script_args[adetailer.args_from : adetailer.args_to])
    models = [a.get("ad_model", "None") for a in arguments if isinstance(a, dict) and a.get("ad_tab_enable", True)]
    if arguments[:1] == [False] or all(model == "None" for model in models):
        return False
    names = str(getattr(shared.opts, "ad_script_names", "")).split(",")
    return "aesthetic_gradients" not in [name.strip() for name in names]


def _title(script: Any) -> str:
    try:
        return str(script.title())
    except Exception:  # another extension's
        return ""


@contextlib.contextmanager
def without_infotext() -> Iterator[None]:
    """Keep the infotext as it is while a prompt is encoded again.

    Hosts collect infotext and comments during encoding (sd_hijack_clip.py, classic_engine.py, and SD.Next's
    prompt_parser_diffusers.py).
    """
    hijack = getattr(sd_hijack, "model_hijack", None)
    holders = [
        (classic_engine, "last_extra_generation_params"),
        (dynamic_args, "last_extra_generation_params"),  # Neo
        (hijack, "extra_generation_params"),
        (hijack, "comments"),
        (getattr(loaded_model(), "embedding_db", None), "embeddings_used"),  # SD.Next
    ]
    holders = [(holder, name) for holder, name in holders if hasattr(holder, name)]
    records = [getattr(holder, name) for holder, name in holders]
    copies = [record.copy() for record in records]
    try:
        yield
    finally:
        for (holder, name), record, before in zip(holders, records, copies, strict=True):
            setattr(holder, name, record)
            record.clear()
            record.update(before) if isinstance(record, dict) else record.extend(before)


def show_comments(p: Any, processed: Any) -> None:
    """Show a job's comments under its pictures. SD.Next collects them, and shows none (modules/processing.py)."""
    shown = str(processed.comments)
    hidden = [comment for comment in p.comments if comment not in shown]
    if hidden:
        processed.comments = "\n".join([*([shown] if shown else []), *hidden])


def interrupted() -> bool:
    return bool(shared.state.interrupted or shared.state.skipped)


def show_progress(text: str) -> None:
    """Show a line above the host's progress bar. Raises Interrupted if the user pressed Interrupt or Skip."""
    shared.state.textinfo = text
    if interrupted():
        raise Interrupted("Interrupted.")


@contextlib.contextmanager
def progress(steps: int) -> Iterator[Callable[[int, float], None]]:
    """A callback for the steps of tuning. It shows each step above the host's progress bar, as `show_progress` does."""

    def on_step(done: int, similarity: float) -> None:
        show_progress(f"Aesthetic gradients: step {done} of {steps}, similarity {similarity:.3f}")

    before = shared.state.textinfo
    try:
        yield on_step
    finally:
        shared.state.textinfo = before


def free_memory() -> None:
    devices.torch_gc()


# ---------------------------------------------------------------- our own jobs


@contextlib.contextmanager
def queued_job(title: str) -> Iterator[None]:
    """Run a job in the host's queue, with its own state (modules/call_queue.py, wrap_gradio_gpu_call).

    `state.begin` clears an interrupt that an earlier job may have left (modules/shared_state.py).
    """
    with call_queue.queue_lock:
        shared.state.begin(title)
        try:
            yield
        finally:
            shared.state.end()
            shared.state.interrupted = shared.state.skipped = False


def allow_pickle() -> bool:
    """Whether encoders may be loaded from pytorch_model.bin, which can run code. Only a command-line flag allows it."""
    return bool(getattr(shared.cmd_opts, "aesthetic_allow_pickle", False))


def image_encoder_device() -> Any:
    """The device that the host runs image models on."""
    return devices.device


# ---------------------------------------------------------------- the old extension


def old_extension_is_loaded() -> bool:
    """Whether AUTOMATIC1111/stable-diffusion-webui-aesthetic-gradients is loaded (its aesthetic_clip.py)."""
    return any(data.module.__name__ == "aesthetic.py" for data in scripts.scripts_data)


def old_extension_is_active(model: Any) -> bool:
    """Whether the old extension tunes this job's prompts. It replaces the encoder's `process_tokens`.

    Call it only when prompts are encoded: the old extension's callback, which reads the job's values, may run after
    ours.
    """
    hook = getattr(getattr(model, "cond_stage_model", None), "process_tokens", None)
    names = ("aesthetic_steps", "aesthetic_lr", "aesthetic_weight", "image_embs_name")
    return type(hook).__name__ == "AestheticCLIP" and all(getattr(hook, name, None) for name in names)
