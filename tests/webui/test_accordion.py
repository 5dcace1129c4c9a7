"""The accordion, drawn by the gradio of this environment."""

from __future__ import annotations

import shutil
import types
from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest
import torch

import aesthetic_embeddings as ae
from aesthetic_embeddings.settings import PRESETS
from aesthetic_embeddings.ui.widgets import FIELDS

from .conftest import embedding
from .fake_host import Host

pytestmark = pytest.mark.parametrize("flavour", ["a1111"])  # alike in both

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


def clicked(blocks: gr.Blocks, elem_id: str) -> Callable[[], Any]:
    """The function behind a button; gradio 3 and 4 keep it in different places."""
    button = by_id(blocks, elem_id)._id
    if isinstance(blocks.fns, dict):
        return next(f.fn for f in blocks.fns.values() if (button, "click") in f.targets)
    return next(f.fn for f, about in zip(blocks.fns, blocks.dependencies, strict=True) if button in about["targets"])


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


def test_what_is_drawn_are_the_cores_defaults(host: Host):
    _, inputs = page(host)
    for parts in inputs.values():
        values = {name: part.value for name, part in parts.items()}
        assert values["enabled"] is False
        assert values["embedding"] == values["negative"] == "None"
        values |= {"enabled": True, "embedding": "dusk"}
        found = host.webui("request").read_request(values, host.webui("host").library)
        assert found.positive.settings == ae.Settings()


@pytest.mark.parametrize("epsilon", [1e-5, 1e-4, 0.5, 1.0, 3.3e-7])
def test_epsilon_is_shown_and_handed_over_as_it_is(host: Host, epsilon: float):
    box = page(host)[1]["txt2img"]["epsilon"]
    assert box.label == "Epsilon"
    assert box.value == 1e-4
    assert box.postprocess(epsilon) == box.preprocess(epsilon) == epsilon


def test_sliders_offer_all_that_is_accepted(host: Host):
    """A slider silently changes what is typed beyond its ends."""
    for name, part in page(host)[1]["txt2img"].items():
        if isinstance(part, gr.Slider):
            about = FIELDS[name].metadata
            assert (part.minimum, part.maximum) == (about["low"], about["high"])


def test_nothing_is_hidden(host: Host):
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


def test_files_that_are_no_good_are_listed_as_text(host: Host):
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
    library, about = host.webui("host").library, host.webui("accordion").about
    vectors = {"clip-vit-l-14": torch.ones(768), "open-clip-vit-bigg-14": torch.ones(1280)}
    library.save(ae.AestheticEmbedding(vectors, name="both"))
    library.save(ae.AestheticEmbedding({"clip-vit-l-14": torch.ones(768)}, name="first"))
    assert about(library, "None", "None") == ""
    assert "<b>both</b>: for SD1, SDXL, SDXL&#x27;s refiner, SD3 and Flux." in about(library, "both", "None")
    said = about(library, "first", "both")
    assert "for SD1 and Flux, and one of the two encoders of SDXL and SD3." in said
    assert "both" in said
    assert "no aesthetic called" in about(library, "firs", "None")
