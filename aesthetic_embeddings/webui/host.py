"""All that is asked of the host: AUTOMATIC1111's WebUI, Forge, and what came of both.

The only module that imports the host's `modules`. What not every host has is looked for, never a version; a host
without it lacks one convenience. Each function names the place in A1111 v1.10.1 and in Forge that it relies on.
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
    """A module that not every host has, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


extra_networks = _optional("modules.extra_networks")
metadata_editor = _optional("modules.ui_extra_networks_user_metadata")
ui_extra_networks = _optional("modules.ui_extra_networks")
sd_hijack = _optional("modules.sd_hijack")  # gone from Forge Neo
sd_models = _optional("modules.sd_models")
classic_engine = _optional("backend.text_processing.classic_engine")  # Forge's and Neo's
dynamic_args = getattr(_optional("backend.args"), "dynamic_args", None)

__all__ = [
    "InputAccordion",
    "ToolButton",
    "extra_networks",
    "metadata_editor",
    "script_callbacks",
    "scripts",
    "shared",
    "ui_extra_networks",
]

#: Forge drops the last layer of SD2's text encoder (backend/huggingface/stabilityai/stable-diffusion-2-1).
LEAVES_LAST_LAYER_OUT = classic_engine is not None

PACKAGE = Path(__file__).resolve().parent.parent
FOLDER = "aesthetic_embeddings"


def _folders() -> list[Path]:
    """Where aesthetics are looked for. New ones go to the first: `models/aesthetic_embeddings`.

    Then the host's root, where Civitai's pages tell people to put them; the old extension, under either name; and our
    own package, which is named like the old extension's folder of files.
    """
    root, extensions = Path(paths.data_path), Path(paths.extensions_dir)
    old = [extensions / name / FOLDER for name in ("stable-diffusion-webui-aesthetic-gradients", "aesthetic-gradients")]
    chosen = getattr(shared.cmd_opts, "aesthetic_embeddings_dir", None)
    folders = [Path(paths.models_path) / FOLDER, root / FOLDER, Path(paths.script_path) / FOLDER, *old, PACKAGE]
    return list(dict.fromkeys([*([Path(chosen)] if chosen else []), *folders]))


library = Library(_folders())

#: The accordions' dropdowns of embeddings, and their hints on where files go: a new name goes to all of them at once.
dropdowns: list[Any] = []
hints: list[Any] = []
#: Of txt2img's accordion, the box and the dropdown of embeddings: the tab chooses there what it has made.
txt2img: list[Any] = []


def look_in(more: list[str]) -> None:
    """Let the library have these folders too; relative ones begin where the host keeps the user's files."""
    chosen = [Path(paths.data_path, Path(line.strip().strip("\"'")).expanduser()) for line in more if line.strip()]
    library.folders = [folder.absolute() for folder in dict.fromkeys([*_folders(), *chosen])]
    library.refresh()


#: Where prompts are tuned, if not where the encoder is.
tuning_device: str | None = None


def encoder_folder() -> Path:
    """Where hosts keep CLIPs: `models/CLIP` (modules/paths_internal.py, models_path)."""
    return Path(paths.models_path) / "CLIP"


def clip_folders() -> list[Path]:
    """Those of whole CLIPs, which hold the parts that checkpoints lack."""
    return [encoder_folder() / part.folder for part in PARTS.values()]


def presets_file() -> Path:
    """Beside the host's own styles.csv (modules/paths_internal.py, data_path)."""
    return Path(paths.data_path) / "aesthetic_gradients_presets.json"


def make_folder_for_pictures() -> None:
    """To be called before a page with pictures is built: Forge Neo saves them into its option `temp_dir`, a folder that
    it makes after its first page (modules/ui_tempdir.py). In A1111 and Forge the option is empty."""
    with contextlib.suppress(OSError):
        if folder := getattr(shared.opts, "temp_dir", ""):
            Path(folder).mkdir(parents=True, exist_ok=True)


def paths_are_open() -> bool:
    """Whether people at the page may name files of the server (--hide-ui-dir-config, modules/cmd_args.py)."""
    return not getattr(shared.cmd_opts, "hide_ui_dir_config", False)


# ---------------------------------------------------------------- conditioning


def text_encoders(model: Any) -> list[Any]:
    """The modules that hold the CLIP text towers of a loaded model.

    Forge: `forge_objects.clip.cond_stage_model.clip_*` (backend/diffusion_engine/*.py). A1111: `cond_stage_model`, or
    for SDXL `conditioner.embedders`, each around the original encoder as `.wrapped` (modules/sd_hijack.py, `hijack`).
    """
    if hasattr(model, "forge_objects"):
        joint = model.forge_objects.clip.cond_stage_model
        return [getattr(joint, key) for key in ("clip_l", "clip_h", "clip_g") if hasattr(joint, key)]
    conditioner = getattr(model, "conditioner", None)
    embedders = [model.cond_stage_model] if conditioner is None else conditioner.embedders
    return [embedder.wrapped for embedder in embedders if hasattr(embedder, "wrapped")]


def loaded_model() -> Any:
    """The model in memory, or None; asking `shared.sd_model` would load one (modules/sd_models.py, SdModelData)."""
    return getattr(getattr(sd_models, "model_data", None), "sd_model", None)


def checkpoint(model: Any) -> str | None:
    """The file that a model was loaded from (modules/sd_models.py, `sd_checkpoint_info`)."""
    return getattr(getattr(model, "sd_checkpoint_info", None), "filename", None)


def like(texts: Any, others: list[str]) -> Any:
    """Other texts with all that the host's list knows beside its own (modules/prompt_parser.py, SdConditioning)."""
    return type(texts)(others, copy_from=texts)


def joined(each: list[Any]) -> Any:
    """The conditioning of several prompts as if made in one call (modules/prompt_parser.py): lists, or objects with a
    `batch` (MulticondLearnedConditioning)."""
    if isinstance(each[0], list):
        return [row for conds in each for row in conds]
    whole = copy.copy(each[0])
    whole.batch = [row for conds in each for row in conds.batch]
    whole.shape = (len(whole.batch),)
    return whole


def prompts_with_tags(p: Any, hires: bool) -> list[str]:
    """The prompts of a job's batch under way, before their tags were taken out (modules/processing.py)."""
    whole = getattr(p, "all_hr_prompts" if hires else "all_prompts", None) or []
    start = getattr(p, "iteration", 0) * p.batch_size
    return list(whole[start : start + p.batch_size])


def adetailer_leaves_us_out(p: Any) -> bool:
    """Whether ADetailer will encode a job's prompts again without us (Bing-su/adetailer, scripts/!adetailer.py).

    Its inner jobs have the scripts that its option `ad_script_names` lists by file name, unless told to have all.
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
    """Encoding again adds what it used to the infotext again (sd_hijack_clip.py and classic_engine.py): undo that."""
    hijack = getattr(sd_hijack, "model_hijack", None)
    places = [
        (classic_engine, "last_extra_generation_params"),
        (dynamic_args, "last_extra_generation_params"),  # Neo
        (hijack, "extra_generation_params"),
        (hijack, "comments"),
    ]
    notes = [getattr(place, name) for place, name in places if hasattr(place, name)]
    before = [x.copy() for x in notes]
    try:
        yield
    finally:
        for x, was in zip(notes, before, strict=True):
            x.clear()
            x.update(was) if isinstance(x, dict) else x.extend(was)


def interrupted() -> bool:
    return bool(shared.state.interrupted or shared.state.skipped)


def tell(text: str) -> None:
    """Say what is going on above the host's progress bar. Raises Interrupted where the user wants it to end."""
    shared.state.textinfo = text
    if interrupted():
        raise Interrupted("Interrupted.")


@contextlib.contextmanager
def progress(steps: int) -> Iterator[Callable[[int, float], None]]:
    """A callback for each step of tuning: says so above the host's progress bar, and ends on Interrupt and Skip."""

    def on_step(done: int, similarity: float) -> None:
        tell(f"Aesthetic gradients: step {done} of {steps}, similarity {similarity:.3f}")

    before = shared.state.textinfo
    try:
        yield on_step
    finally:
        shared.state.textinfo = before


def free_memory() -> None:
    devices.torch_gc()


# ---------------------------------------------------------------- jobs of our own


@contextlib.contextmanager
def job(title: str) -> Iterator[None]:
    """A job in the host's queue (modules/call_queue.py, wrap_gradio_gpu_call), with a state of its own.

    `state.begin` clears the interrupt that an earlier job may have left (modules/shared_state.py).
    """
    with call_queue.queue_lock:
        shared.state.begin(job=title)
        try:
            yield
        finally:
            shared.state.end()
            shared.state.interrupted = shared.state.skipped = False


def allow_pickle() -> bool:
    """Whether encoders may be loaded from pytorch_model.bin, which can run code: a flag of ours, not for the page."""
    return bool(getattr(shared.cmd_opts, "aesthetic_allow_pickle", False))


def image_device() -> Any:
    """Where the host would run a picture through a model."""
    return devices.device


# ---------------------------------------------------------------- the old extension


def old_extension() -> bool:
    """Whether AUTOMATIC1111/stable-diffusion-webui-aesthetic-gradients is loaded (its aesthetic_clip.py)."""
    return any(data.module.__name__ == "aesthetic.py" for data in scripts.scripts_data)


def old_extension_is_on(model: Any) -> bool:
    """Whether it tunes this job's prompts: it takes the place of the encoder's `process_tokens`.

    To be asked when prompts are encoded: its own callback, which says what this job wants, may come after ours.
    """
    hook = getattr(getattr(model, "cond_stage_model", None), "process_tokens", None)
    names = ("aesthetic_steps", "aesthetic_lr", "aesthetic_weight", "image_embs_name")
    return type(hook).__name__ == "AestheticCLIP" and all(getattr(hook, name, None) for name in names)
