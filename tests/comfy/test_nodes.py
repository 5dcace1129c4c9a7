"""The nodes, in a small fake of ComfyUI, against the core on the same weights in transformers."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import aesthetic_embeddings as ae
from aesthetic_embeddings.aesthetics.vectors import unit

from .fake_comfy import BOS, EOS, LENGTH, WORDS, Clip, ClipVision, Encoder, InterruptProcessingException, Sd1, Sdxl

SETTINGS = ae.Settings(steps=3, epsilon=1e-3)
ROOT = Path(__file__).resolve().parents[2]


def outside(encoder: Encoder) -> Any:
    """The same text encoder in transformers."""
    width = encoder.transformer.get_input_embeddings().weight.shape[1]
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=WORDS,
        max_position_embeddings=LENGTH,
        hidden_act="gelu",
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=EOS,
    )
    model = CLIPTextModelWithProjection(config).eval()
    prefix = "" if "text_model.embeddings.token_embedding.weight" in model.state_dict() else "text_model."
    weights = {name.removeprefix(prefix): x.clone() for name, x in encoder.transformer.state_dict().items()}
    missing, _ = model.load_state_dict(weights, strict=False)
    assert not [name for name in missing if "position_ids" not in name]
    return model


@torch.no_grad()
def hidden(model: Any, ids: Tensor, layer: int) -> Tensor:
    out = model(ids, output_hidden_states=True).hidden_states[layer]
    inner = getattr(model, "text_model", model)
    return inner.final_layer_norm(out).flatten(0, 1)


def expected(clip: Clip, text: str, e: ae.AestheticEmbedding | None, settings: ae.Settings = SETTINGS) -> Tensor:
    """`[tokens, width]`"""
    parts = []
    for name, encoder in clip.cond_stage_model.named_children():
        model = outside(encoder)
        ids, turn = (
            torch.tensor([[token for token, _ in chunk] for chunk in clip.tokenize(each)[name[-1]]])
            for each in (text, settings.text)
        )
        tuned = ae.personalized(model, ids, e, settings, text_ids=turn) if e else nullcontext()
        with tuned:
            parts.append(hidden(model, ids, encoder.layer or -1))
    return torch.cat(parts, -1)


def encoded(nodes: Any, clip: Clip, text: str, e: ae.AestheticEmbedding, settings: ae.Settings = SETTINGS) -> Any:
    with torch.inference_mode():
        return nodes.EncodePersonalized().encode(clip, text, e, **vars(settings))


def plain(clip: Clip, text: str) -> Tensor:
    with torch.inference_mode():
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0][0]


def error(got: Tensor, want: Tensor, without: Tensor) -> float:
    """Relative to what tuning changes."""
    return float((got - want).norm() / (want - without).norm())


LONG = " ".join(str(i) for i in range(1, 30))
CASES = {
    "a prompt": ("5 6 7", SETTINGS),
    "three chunks": (LONG, SETTINGS),
    "normalized": ("5 6 7", ae.Settings(steps=3, update="normalized", epsilon=1e-3)),
    "text": ("5 6 7", ae.Settings(steps=3, epsilon=1e-3, text="8 9", text_strength=0.4)),
    "preservation": ("5 6 7", ae.Settings(steps=3, epsilon=1e-3, preservation=2.0)),
}


@pytest.mark.parametrize("model", [Sd1, Sdxl])
@pytest.mark.parametrize("case", CASES)
def test_conditioning_equals_the_cores(
    nodes: Any, e: ae.AestheticEmbedding, request: Any, model: type, case: str
) -> None:
    clip: Clip = request.getfixturevalue("clip")
    text, settings = CASES[case]
    conditioning, said = encoded(nodes, clip, text, e, settings)
    without = plain(clip, text)
    assert (without - expected(clip, text, None)).norm() < 1e-5 * without.norm()
    assert error(conditioning[0][0][0], expected(clip, text, e, settings), without) < 1e-5
    assert said.count("→") == len(list(clip.cond_stage_model.children()))


def test_the_clip_is_unchanged(nodes: Any, clip: Clip, e: ae.AestheticEmbedding) -> None:
    model, before = clip.cond_stage_model, plain(clip, "5 6 7")
    parameters = {name: (id(x), float(x.sum())) for name, x in model.named_parameters()}
    encoded(nodes, clip, "5 6 7", e)
    assert parameters == {name: (id(x), float(x.sum())) for name, x in model.named_parameters()}
    assert clip.cond_stage_model is model
    assert "process_tokens" not in vars(model.clip_l)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(plain(clip, "5 6 7"), before)


def test_a_clip_for_any_node(nodes: Any, clip: Clip, e: ae.AestheticEmbedding) -> None:
    """The tuned CLIP tunes every prompt it is given, and so do its clones; the later of two nodes counts."""
    (tuned,) = nodes.PersonalizeClip().personalize(clip, e, **vars(SETTINGS))
    for each in (tuned, tuned.clone()):
        assert error(plain(each, "5 6 7"), expected(clip, "5 6 7", e), plain(clip, "5 6 7")) < 1e-5
    other = ae.AestheticEmbedding({"clip-32x3-32": torch.randn(32)}, name="dawn")
    (again,) = nodes.PersonalizeClip().personalize(tuned, other, **vars(SETTINGS))
    assert error(plain(again, "5 6 7"), expected(clip, "5 6 7", other), plain(clip, "5 6 7")) < 1e-5


def test_token_weights(nodes: Any, clip: Clip, e: ae.AestheticEmbedding) -> None:
    """ComfyUI weights the tuned prompt as it weights the plain one: by its distance from the empty one."""
    conditioning, _ = encoded(nodes, clip, "5 6*1.5 7", e)
    model, ids = outside(clip.cond_stage_model.clip_l), torch.tensor([[BOS, 5, 6, 7] + [EOS] * (LENGTH - 4)])
    with ae.personalized(model, ids, e, SETTINGS):
        want, empty = hidden(model, ids, -1), hidden(model, torch.tensor([[BOS] + [EOS] * (LENGTH - 1)]), -1)
    want[2] = (want[2] - empty[2]) * 1.5 + empty[2]
    assert error(conditioning[0][0][0], want, plain(clip, "5 6*1.5 7")) < 1e-5


def test_textual_inversion(nodes: Any, clip: Clip, e: ae.AestheticEmbedding) -> None:
    clip.words["style"] = vector = torch.randn(32)
    conditioning, _ = encoded(nodes, clip, "5 style 7", e)
    model, ids = outside(clip.cond_stage_model.clip_l), torch.tensor([[BOS, 5, 0, 7] + [EOS] * (LENGTH - 4)])
    put = lambda _, __, out: torch.where(torch.arange(out.shape[1])[:, None] == 2, vector, out)  # noqa: E731
    getattr(model, "text_model", model).embeddings.token_embedding.register_forward_hook(put)
    without = hidden(model, ids, -1)
    with ae.personalized(model, ids, e, SETTINGS):
        want = hidden(model, ids, -1)
    assert error(conditioning[0][0][0], want, without) < 1e-5


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_weight_blends(nodes: Any, clip: Clip, e: ae.AestheticEmbedding, weight: float) -> None:
    without, full = plain(clip, "5 6 7"), encoded(nodes, clip, "5 6 7", e)[0][0][0][0]
    half = encoded(nodes, clip, "5 6 7", e, ae.Settings(steps=3, epsilon=1e-3, weight=weight))[0][0][0][0]
    torch.testing.assert_close(half, torch.lerp(without, full, weight))


def test_an_empty_prompt_stays_plain(nodes: Any, clip: Clip, e: ae.AestheticEmbedding) -> None:
    conditioning, _ = encoded(nodes, clip, "", e)
    assert torch.equal(conditioning[0][0][0], plain(clip, ""))


def test_equal_prompts_are_tuned_once(nodes: Any, host: Any, clip: Clip, e: ae.AestheticEmbedding) -> None:
    first, said = encoded(nodes, clip, "5 6 7", e)
    again, same = encoded(nodes, clip, "5 6 7", e)
    assert len(host.bars) == 1
    assert host.bars[0].done == host.bars[0].total == 4
    assert torch.equal(first[0][0], again[0][0])
    assert said == same
    with torch.inference_mode():
        again[0][0].zero_()  # a later node may write into its input
    assert torch.equal(first[0][0], encoded(nodes, clip, "5 6 7", e)[0][0][0])


def test_cancel(nodes: Any, host: Any, clip: Clip, e: ae.AestheticEmbedding) -> None:
    host.interrupted = True
    with pytest.raises(InterruptProcessingException):
        encoded(nodes, clip, "5 6 8", e)
    assert "process_tokens" not in vars(clip.cond_stage_model.clip_l)


def test_memory_runs_out(nodes: Any, clip: Clip, e: ae.AestheticEmbedding, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU there is nowhere else to go."""
    conditioner = sys.modules["aesthetic_embeddings.comfy.conditioner"]

    def fails(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(conditioner, "personalize_each", fails)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        encoded(nodes, clip, "5 6 9", e)
    assert "process_tokens" not in vars(clip.cond_stage_model.clip_l)


def test_clip_l_without_a_projection(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ComfyUI holds in its place is uninitialized memory; a clip_l.safetensors among the text encoders has it."""
    monkeypatch.setenv("AESTHETIC_CACHE", str(tmp_path / "nothing"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nothing"))
    model = Sd1()
    model.clip_l = Encoder(768)
    clip, e = Clip(model), ae.AestheticEmbedding({"clip-768x3-768": torch.randn(768)}, name="dusk")
    with pytest.raises(ae.EncoderError, match="text projection"):
        encoded(nodes, clip, "5 6 7", e)
    matrix = torch.randn(768, 768) / 768**0.5
    file = tmp_path / "models/text_encoders/clip_l.safetensors"
    file.parent.mkdir(parents=True)
    save_file({"text_projection.weight": matrix}, file)
    outer, ids = outside(model.clip_l), torch.tensor([[BOS, 5, 6, 7] + [EOS] * (LENGTH - 4)])
    outer.text_projection.weight.data = matrix
    with ae.personalized(outer, ids, e, SETTINGS):
        want = hidden(outer, ids, -1)
    assert error(encoded(nodes, clip, "5 6 7", e)[0][0][0][0], want, plain(clip, "5 6 7")) < 1e-5


def test_one_encoder_without_a_vector(nodes: Any, e: ae.AestheticEmbedding) -> None:
    clip = Clip(Sdxl())
    one = ae.AestheticEmbedding({"clip-32x3-32": e.vectors["clip-32x3-32"]}, name="dusk")
    _, said = encoded(nodes, clip, "5 6 7", one)
    assert said.count("→") == 1
    assert "stays plain" in said


def test_models_without_clip(nodes: Any, clip: Clip, e: ae.AestheticEmbedding) -> None:
    with pytest.raises(ae.AestheticError, match="holds no CLIP"):
        nodes.PersonalizeClip().personalize(None, e, steps=3)
    clip.cond_stage_model = torch.nn.Linear(1, 1)  # T5 alone
    with pytest.raises(ae.EncoderError, match="no CLIP text encoder"):
        encoded(nodes, clip, "5", e)


def test_an_old_comfyui(nodes: Any, clip: Clip, e: ae.AestheticEmbedding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Encoder, "process_tokens")
    with pytest.raises(ae.EncoderError, match="too old"):
        encoded(nodes, clip, "5", e)


def test_load(nodes: Any, e: ae.AestheticEmbedding, tmp_path: Path) -> None:
    node = nodes.LoadAesthetic
    assert node.INPUT_TYPES()["required"]["name"][0] == [nodes.NOTHING_YET]
    folder = tmp_path / "models/aesthetic_embeddings"
    folder.mkdir(parents=True)
    e.save(folder / "dusk.safetensors")
    assert node.INPUT_TYPES()["required"]["name"][0] == ["dusk"]
    loaded, about = node().load("dusk")
    assert loaded.content_hash == e.content_hash == node.IS_CHANGED("dusk")
    assert about.startswith("dusk")
    mixed, _ = node().load("dusk", "dusk:-0.5")
    assert torch.allclose(unit(mixed.vectors["clip-32x3-32"]), -unit(e.vectors["clip-32x3-32"]))
    ae.AestheticEmbedding({"clip-32x3-32": torch.randn(32)}).save(folder / "dusk.safetensors", overwrite=True)
    assert node.IS_CHANGED("dusk") != e.content_hash
    with pytest.raises(ae.AestheticError, match="no aesthetic called 'dawn'"):
        node().load("dawn")


def test_create_and_compare(nodes: Any, host: Any, tmp_path: Path) -> None:
    vision, pictures = ClipVision(), [torch.rand(2, 8, 8, 3), torch.rand(1, 4, 9, 3)]
    features = torch.cat([vision.encode_image(batch)["image_embeds"] for batch in pictures])
    made, report = nodes.CreateAesthetic().create(pictures, [vision], ["mine"], [True])
    torch.testing.assert_close(made.vectors["clip-vit-l-14"], features.mean(0))
    assert made.images == 3
    assert report.startswith("3 pictures")
    assert host.bars[0].done == 3
    assert ae.load(tmp_path / "models/aesthetic_embeddings/mine.safetensors").content_hash == made.content_hash
    both, _ = nodes.CreateAesthetic().create(pictures, [ClipVision(1280)], ["mine"], [False], [made])
    assert set(both.vectors) == {"clip-vit-l-14", "open-clip-vit-bigg-14"}
    said, mean = nodes.CompareWithAesthetic().compare(pictures[0], vision, made)
    want = torch.cosine_similarity(features[:2], features.mean(0)[None]).mean()
    assert mean == pytest.approx(float(want), abs=1e-5)
    assert said.count("picture") == 2
    with pytest.raises(ae.AestheticError, match="was made for"):
        nodes.CompareWithAesthetic().compare(pictures[0], ClipVision(1024), made)
    with pytest.raises(ae.AestheticError, match="does not match"):
        nodes.CompareWithAesthetic().compare(pictures[0], ClipVision(99), made)


def test_pictures_that_give_no_finite_feature_are_errors(nodes: Any, host: Any) -> None:
    vision, aesthetic = ClipVision(), ae.AestheticEmbedding({"clip-vit-l-14": torch.randn(768)})
    damaged = torch.rand(2, 8, 8, 3)
    damaged[0] = float("nan")
    for pictures, words in ((damaged, "not finite"), (damaged[:0], "no picture")):
        with pytest.raises(ae.AestheticError, match=words):
            nodes.CompareWithAesthetic().compare(pictures, vision, aesthetic)
        with pytest.raises(ae.AestheticError, match=words):
            nodes.CreateAesthetic().create([pictures], [vision], ["mine"], [True])


def test_a_files_name_is_logged_as_text(
    nodes: Any, clip: Clip, e: ae.AestheticEmbedding, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    nodes.EncodePersonalized().encode(clip, "3 5", dataclasses.replace(e, name="\x1b[2J"), steps=1)
    assert "\x1b" not in caplog.text
    assert r"'\x1b[2J'" in caplog.text


def test_every_node_follows_comfyuis_format(nodes: Any) -> None:
    assert nodes.NODE_CLASS_MAPPINGS.keys() == nodes.NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node in nodes.NODE_CLASS_MAPPINGS.values():
        takes = node.INPUT_TYPES()
        assert callable(getattr(node, node.FUNCTION))
        assert isinstance(node.RETURN_TYPES, tuple)
        for kind, *options in {**takes["required"], **takes.get("optional", {})}.values():
            assert isinstance(kind, (str, list))
            assert all("tooltip" in each or "default" in each or "multiline" in each for each in options)


def test_settings_have_widgets(nodes: Any) -> None:
    """With the same defaults, and read back to the same settings."""
    takes = nodes.PersonalizeClip.INPUT_TYPES()["required"]
    defaults = {name: copy.copy(options[0]["default"]) for name, (_, *options) in takes.items() if options}
    assert nodes.settings_from(defaults) == ae.Settings()
    assert defaults.keys() == vars(ae.Settings()).keys()


def test_the_repository_is_a_node_pack(host: Any, nodes: Any) -> None:
    """ComfyUI loads the folder under its path's name."""
    spec = importlib.util.spec_from_file_location("/custom_nodes/aesthetic_x_gradients", ROOT / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        for name in [name for name in sys.modules if name.startswith(spec.name)]:
            del sys.modules[name]
    assert module.NODE_CLASS_MAPPINGS.keys() == nodes.NODE_CLASS_MAPPINGS.keys()


def test_without_comfyui_it_does_nothing() -> None:
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('pack', {str(ROOT / '__init__.py')!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "assert not hasattr(module, 'NODE_CLASS_MAPPINGS') and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_workflow_fits_the_nodes(nodes: Any) -> None:
    """Values for every widget, in order; the picture in the docs holds the same workflow."""
    text = (ROOT / "example_workflows/aesthetic_gradients.json").read_text()
    for node in json.loads(text)["nodes"]:
        if own := nodes.NODE_CLASS_MAPPINGS.get(node["type"]):
            takes = own.INPUT_TYPES()
            linked = {each["name"] for each in node["inputs"]}
            widgets = [
                x for name, x in {**takes["required"], **takes.get("optional", {})}.items() if name not in linked
            ]
            assert len(widgets) == len(node["widgets_values"])
            for (_, *options), value in zip(widgets[1:], node["widgets_values"][1:], strict=True):
                assert value == options[0]["default"]
    with Image.open(ROOT / "docs/comfyui.png") as picture:
        assert json.loads(picture.info["workflow"]) == json.loads(text)
