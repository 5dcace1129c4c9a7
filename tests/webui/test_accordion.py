"""The accordion, drawn by the gradio of this environment."""

from __future__ import annotations

import shutil
import types
from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

import aesthetic_embeddings as ae
from aesthetic_embeddings.settings import PRESETS
from aesthetic_embeddings.ui.widgets import FIELDS, RANGES

from .conftest import embedding
from .fake_host import Host

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both

IDS = [
    *("accordion-checkbox", "embedding", "steps", "epsilon", "update", "weight", "blend", "text", "text_strength"),
    *("text_negative", "preservation", "last_layers", "negative", "hires", "strength_clip_l", "strength_clip_g"),
    *("pictures", "contrast", "any_clip"),
]


def page(host: Host) -> tuple[gr.Blocks, dict[str, dict[str, Any]]]:
    """A page with both tabs; and each tab's inputs by the names of plan.py."""
    inputs = {}
    with gr.Blocks() as blocks:
        for tab in ("txt2img", "img2img"):
            script = host.webui("script").AestheticGradients()
            script.is_img2img = tab == "img2img"
            inputs[tab] = dict(zip(host.webui("request").ARGUMENTS, script.ui(script.is_img2img), strict=True))
    return blocks, inputs


def by_id(blocks: gr.Blocks, elem_id: str) -> Any:
    (found,) = (block for block in blocks.blocks.values() if getattr(block, "elem_id", None) == elem_id)
    return found


def listeners(blocks: gr.Blocks, elem_id: str, event: str) -> list[Callable[..., Any]]:
    """The functions behind a component's event; gradio 3 and 4 keep them in different places."""
    target = by_id(blocks, elem_id)._id, event
    if isinstance(blocks.fns, dict):
        return [f.fn for f in blocks.fns.values() if target in f.targets and f.fn]
    events = zip(blocks.fns, blocks.dependencies, strict=True)
    return [f.fn for f, about in events if target[0] in about["targets"] and about["trigger"] == event and f.fn]


def clicked(blocks: gr.Blocks, elem_id: str) -> Callable[[], Any]:
    return listeners(blocks, elem_id, "click")[0]


def choices(dropdown: Any) -> list[str]:
    return [choice[0] if isinstance(choice, (tuple, list)) else choice for choice in dropdown.choices]


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_element_ids_are_these(host: Host, tab: str):
    """Hosts and their users' CSS know the components by them: released, so they stay."""
    _, inputs = page(host)
    assert [part.elem_id for part in inputs[tab].values()] == [
        f"script_{tab}_aesthetic_gradients_{name}" for name in IDS
    ]


def test_ids_and_labels_are_unique(host: Host):
    """modules/ui_loadsave.py keeps the user's defaults by label."""
    blocks, inputs = page(host)
    ids = [block.elem_id for block in blocks.blocks.values() if getattr(block, "elem_id", None)]
    assert len(set(ids)) == len(ids)
    for parts in inputs.values():
        labels = [part.label for part in parts.values()]
        assert all(labels)
        assert len(set(labels)) == len(labels)


def test_widgets_have_the_cores_defaults(host: Host):
    _, inputs = page(host)
    for parts in inputs.values():
        values = {name: part.value for name, part in parts.items()}
        assert values["enabled"] is False
        assert values["embedding"] == values["negative"] == "None"
        values |= {"enabled": True, "embedding": "dusk"}
        found = host.webui("request").read_request(values, host.webui("host").library)
        assert found.positive.settings == ae.Settings()


@pytest.mark.parametrize("epsilon", [1e-5, 1e-4, 0.5, 1.0, 3.3e-7])
def test_epsilon_is_shown_and_sent_as_it_is(host: Host, epsilon: float):
    box = page(host)[1]["txt2img"]["epsilon"]
    assert box.label == "Epsilon"
    assert box.value == 1e-4
    assert box.postprocess(epsilon) == box.preprocess(epsilon) == epsilon


def test_sliders_cover_all_accepted_values_except_of_epsilon(host: Host):
    """A slider silently changes what is typed beyond its ends; of epsilon's a script prevents that."""
    for name, part in page(host)[1]["txt2img"].items():
        if isinstance(part, gr.Slider):
            about = FIELDS[name].metadata
            low, high, *_ = RANGES.get(name, (about["low"], about["high"]))
            assert (part.minimum, part.maximum) == (low, high)
    assert list(RANGES) == ["epsilon"]


def test_hosts_know_each_widget_by_its_class(host: Host):
    """modules/ui_loadsave.py keeps the user's defaults of these classes, and of no class derived from them."""
    known = {gr.Slider, gr.Radio, gr.Checkbox, gr.Textbox, gr.Number, gr.Dropdown}
    kinds = {type(part) for name, part in page(host)[1]["txt2img"].items() if name not in ("enabled", "pictures")}
    assert kinds <= known


def test_all_but_embedding_steps_and_epsilon_is_folded(host: Host):
    blocks, inputs = page(host)
    folds = [block for block in blocks.blocks.values() if str(getattr(block, "elem_id", "")).endswith("_fold")]
    assert [fold.label for fold in folds] == 2 * ["Advanced", "Reference pictures", "My presets"]
    assert not any(fold.open for fold in folds)

    def is_folded(part: Any) -> bool:
        return part is not None and (part in folds or is_folded(part.parent))

    for parts in inputs.values():
        seen = [name for name, part in parts.items() if not is_folded(part)]
        assert seen == ["enabled", "embedding", "steps", "epsilon"]


class Encoder:
    """As A1111 wraps a text encoder (modules/sd_hijack.py)."""

    def __init__(self, width: int) -> None:
        config = CLIPTextConfig(
            vocab_size=9, hidden_size=width, intermediate_size=4, num_hidden_layers=1, num_attention_heads=4
        )
        self.wrapped = CLIPTextModel(config)


@pytest.mark.parametrize(("widths", "shown"), [((768,), "l"), ((768, 1280), "lg"), ((1024,), ""), ((), "lg")])
def test_strengths_of_encoders_that_the_loaded_model_lacks_are_hidden(host: Host, widths: Any, shown: str):
    models = types.SimpleNamespace(model_data=types.SimpleNamespace(sd_model=None))
    host.webui("host").sd_models = models
    if widths:
        conditioner = types.SimpleNamespace(embedders=[Encoder(width) for width in widths])
        models.model_data.sd_model = types.SimpleNamespace(conditioner=conditioner)
    blocks, _ = page(host)
    for part in ("accordion-checkbox", "embedding"):
        update = listeners(blocks, f"script_txt2img_aesthetic_gradients_{part}", "change")[-1]()
        assert [each["visible"] for each in update] == ["l" in shown, "g" in shown]


def test_nothing_else_is_hidden(host: Host):
    _, inputs = page(host)
    assert all(part.visible for name, part in inputs["txt2img"].items() if name != "enabled")
    assert not inputs["img2img"]["hires"].visible  # there is no such pass


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets(host: Host, preset: str):
    blocks, inputs = page(host)
    values = clicked(blocks, f"script_txt2img_aesthetic_gradients_preset_{list(PRESETS).index(preset)}")()
    names = [name for name in inputs["txt2img"] if name in vars(PRESETS[preset]) and not name.startswith("text")]
    chosen = dict(zip(names, values, strict=True)) | {"enabled": True, "embedding": "dusk"}
    given = {**host.webui("request").DEFAULTS, **chosen}
    found = host.webui("request").read_request(given, host.webui("host").library)
    assert found.positive.settings == PRESETS[preset]


def test_refresh_finds_new_files_and_forgets_old_ones(host: Host):
    blocks, inputs = page(host)
    both = [inputs["txt2img"][name] for name in ("embedding", "negative")]
    assert [choices(dropdown) for dropdown in both] == [["None", "dawn", "dusk"]] * 2
    folder = host.root / "models/aesthetic_embeddings"
    embedding("noon", 5).save(folder / "noon.safetensors")
    (folder / "dusk.safetensors").unlink()
    *updates, _ = clicked(blocks, "script_txt2img_aesthetic_gradients_refresh")()
    assert [choices(type("", (), update)) for update in updates] == [["None", "dawn", "noon"]] * 2
    for dropdown in both:  # for who opens the page later
        assert choices(dropdown) == ["None", "dawn", "noon"]


def test_without_any_aesthetic_it_says_where_files_go(host: Host):
    shutil.rmtree(folder := host.root / "models/aesthetic_embeddings")
    host.webui("host").library.refresh()
    blocks, inputs = page(host)
    assert choices(inputs["txt2img"]["embedding"]) == ["None"]
    assert str(folder) in by_id(blocks, "script_txt2img_aesthetic_gradients_hint").value


def test_unreadable_files_are_listed_as_text(host: Host):
    (host.root / "models/aesthetic_embeddings/<img src=x>.pt").write_bytes(b"nothing")
    host.webui("host").library.refresh()
    shown = by_id(page(host)[0], "script_txt2img_aesthetic_gradients_hint").value
    assert "&lt;img src=x&gt;.pt" in shown
    assert "<img" not in shown


def test_the_old_extension_is_named_at_the_top(host: Host):
    """Its script is scripts/aesthetic.py; modules are named by their file: modules/script_loading.py, load_module."""
    module = types.ModuleType("aesthetic.py")
    host.modules["modules.scripts"].scripts_data.append(types.SimpleNamespace(module=module))
    blocks, _ = page(host)
    assert any(
        "old aesthetic gradients extension" in str(getattr(block, "value", "")) for block in blocks.blocks.values()
    )


def test_which_models_the_chosen_ones_are_for(host: Host):
    library, about = host.webui("host").library, host.webui("accordion").models_of
    vectors = {"clip-vit-l-14": torch.ones(768), "open-clip-vit-bigg-14": torch.ones(1280)}
    library.save(ae.AestheticEmbedding(vectors, name="both"))
    library.save(ae.AestheticEmbedding({"clip-vit-l-14": torch.ones(768)}, name="first"))
    assert about(library, "None", "None") == ""
    assert "<b>both</b>: for SD1, SDXL, SDXL&#x27;s refiner, SD3 and Flux." in about(library, "both", "None")
    said = about(library, "first", "both")
    assert "for SD1 and Flux, and one of the two encoders of SDXL and SD3." in said
    assert "both" in said
    assert "no aesthetic called" in about(library, "firs", "None")
