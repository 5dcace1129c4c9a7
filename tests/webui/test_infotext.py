"""What is written into a picture, and pasted from it: through text, by the hosts' rules."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import time
from typing import Any

import pytest
from gradio.routes import ORJSONResponse

import aesthetic_embeddings as ae

from .conftest import embedding
from .fake_host import Host

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both

#: Every setting at another value than its default; and the defaults, which pictures of today rely on.
OTHERS: dict[str, Any] = {
    "steps": 7,
    "epsilon": 5e-4,
    "update": "normalized",
    "weight": 0.65,
    "blend": "slerp",
    "text": "snow",
    "text_strength": 0.4,
    "text_negative": True,
    "preservation": 1.5,
    "last_layers": 1,
    "contrast": 0.75,
    "any_clip": True,
    "negative": "dawn",
    "hires": "off",
}
RELEASED = {
    "steps": 10,
    "epsilon": 1e-4,
    "update": "adam",
    "weight": 1.0,
    "blend": "lerp",
    "text": "",
    "text_strength": 0.25,
    "text_negative": False,
    "preservation": 0.0,
    "last_layers": 0,
    "contrast": 0.0,
    "any_clip": False,
}


def as_text(params: dict[str, Any]) -> str:
    """modules/infotext_utils.py, quote, and modules/processing.py, create_infotext."""

    def quoted(value: Any) -> Any:
        return json.dumps(value, ensure_ascii=False) if re.search("[,:\n]", str(value)) else value

    return ", ".join(f"{key}: {quoted(value)}" for key, value in params.items())


def parsed(line: str) -> dict[str, Any]:
    """modules/infotext_utils.py, parse_generation_parameters: its last line."""
    found: dict[str, Any] = {}
    for key, value in re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', line):
        if not value:
            continue  # an IndexError, which is printed
        if value[0] == value[-1] == '"':
            with contextlib.suppress(ValueError):
                value = json.loads(value)
        if size := re.match(r"^(\d+)x(\d+)$", value):
            found[f"{key}-1"], found[f"{key}-2"] = size.groups()
        else:
            found[key] = value
    return found


def written(host: Host, prompt: str = "a castle", **chosen: Any) -> dict[str, Any]:
    host.generate(p := host.job(prompt, "blurred", **chosen))
    return p.extra_generation_params


def read(host: Host, params: dict[str, Any]) -> dict[str, Any]:
    return host.webui("infotext").read(parsed(as_text(params)), host.webui("host").library).values


def test_off_writes_nothing_and_reads_as_off(host: Host):
    assert written(host) == {}
    assert read(host, {"Steps": 20}) == {"enabled": False}


def test_defaults_are_left_out(host: Host):
    params = written(host, embedding="dusk")
    assert list(params) == ["Aesthetic embedding", "Aesthetic hash", "Aesthetic similarity"]
    assert params["Aesthetic hash"] == embedding("dusk", 1).content_hash[:10]
    assert re.fullmatch(r"-?0\.\d{3} -> -?0\.\d{3}", params["Aesthetic similarity"])


def test_defaults_have_not_changed(host: Host):
    """A picture without a key means them."""
    now = {f.name: f.default for f in dataclasses.fields(ae.Settings)}
    assert {name: now[name] for name in RELEASED} == RELEASED
    assert set(now) == set(RELEASED) | {name for name in now if name.startswith("strength_")}


@pytest.mark.parametrize("name", OTHERS)
def test_each_value_comes_back(host: Host, name: str):
    values = {"embedding": "dusk", name: OTHERS[name]}
    module = host.webui("request")
    assert read(host, written(host, **values)) == module.DEFAULTS | {"enabled": True, **values}


def test_all_values_come_back_together(host: Host):
    values = {"enabled": True, "embedding": "dusk", **OTHERS}
    assert read(host, written(host, **values)) == host.webui("request").DEFAULTS | values


@pytest.mark.parametrize("epsilon", [1e-4, 1.23e-4, 0.1, 0.5, 1.0, 3.3e-7, 1 / 3 * 1e-4])
def test_any_epsilon_comes_back(host: Host, epsilon: float):
    back = read(host, written(host, embedding="dusk", epsilon=epsilon, update="gradient"))
    assert back["epsilon"] == epsilon


@pytest.mark.parametrize(
    "text",
    [
        *("snow, ice: and\nrain", '"snow"', 'say "snow"', '"snow", and "ice"', " snow ", "512x512", "C:\\new", "ß雪"),
        *('a\\"', '"', "Steps: 3, Seed: 4", "<b>"),
    ],
)
def test_any_text_comes_back(host: Host, text: str):
    assert read(host, written(host, embedding="dusk", text=text))["text"] == text


def test_a_renamed_file_is_found(host: Host):
    params = written(host, embedding="dusk", negative="dusk:0.5 dawn:-0.25")
    host.webui("host").library.rename("dusk", "evening")
    back = read(host, params)
    assert (back["embedding"], back["negative"]) == ("evening", "evening:0.5 dawn:-0.25")


def test_a_missing_file_is_reported(host: Host):
    params = written(host, embedding="dusk")
    host.webui("host").library.delete("dusk")
    back = read(host, params)
    assert back["enabled"]
    again = written(host, **back)
    assert list(again) == ["Aesthetic error"]
    assert "'dusk' of the pasted picture is not here" in again["Aesthetic error"]


def test_another_file_of_that_name_is_not_used(host: Host):
    params = written(host, embedding="dusk")
    embedding("dusk", 9).save(host.root / "models/aesthetic_embeddings/dusk.safetensors", overwrite=True)
    again = written(host, **read(host, params))
    assert "The one called so here is another" in again["Aesthetic error"]


def test_a_copy_beside_it_keeps_its_own_name(host: Host):
    embedding("a copy", 1).save(host.root / "models/aesthetic_embeddings/a copy.safetensors")
    assert read(host, written(host, embedding="dusk"))["embedding"] == "dusk"


def test_wrong_values_are_reported_in_it(host: Host):
    params = written(host, embedding="dust")
    assert list(params) == ["Aesthetic error"]
    assert "Did you mean dusk" in params["Aesthetic error"]
    assert read(host, params)["enabled"] is False


def test_plain_prompts_are_reported_in_it(host: Host):
    host.state.on_text = lambda text: host.state.interrupt()
    params = written(host, embedding="dusk", prompt="a prompt that nobody has tuned")
    assert params["Aesthetic error"] == "Interrupted, so the prompt stayed plain."
    assert "Aesthetic similarity" not in params


def test_a_job_that_runs_again_or_is_copied_starts_clean(host: Host):
    p = host.job("a castle", embedding="dusk", steps=3)
    host.generate(p)
    p.script_args = host.job("a castle", embedding="dawn").script_args
    host.generate(p)
    assert p.extra_generation_params["Aesthetic embedding"] == "dawn"
    assert "Aesthetic steps" not in p.extra_generation_params
    p.script_args = [False]
    host.generate(p)
    assert p.extra_generation_params == {}


def test_every_component_but_what_has_no_key_has_a_field(host: Host):
    script = host.webui("script").AestheticGradients()
    import gradio as gr

    with gr.Blocks():
        parts = script.ui(False)
        first, names = script.infotext_fields, script.paste_field_names
        assert {component._id for component, _ in first} == {component._id for component in parts}
        script.ui(True)
    # "Send to" pairs both tabs' fields by them; files cannot be sent
    assert [function for _, function in script.infotext_fields][:-1] == names == script.paste_field_names


# ---------------------------------------------------------------- pasting


def paste(host: Host, params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """modules/infotext_utils.py, connect_paste (paste_func): the callbacks, then each field by itself; and warnings."""
    import gradio as gr

    script, warned = host.webui("script").AestheticGradients(), []
    with gr.Blocks():
        parts = script.ui(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gr, "Warning", warned.append)
        host.webui("infotext").on_paste("", params)
        values = {part: function(params) for part, function in script.infotext_fields}
    # the last is the reference pictures' update; of the others Forge's API takes bare values only
    assert not any(isinstance(value, dict) for value in list(values.values())[:-1])
    return dict(zip(host.webui("request").ARGUMENTS, map(values.get, parts), strict=True)), warned


def test_one_paste_reads_the_folders_once(host: Host, monkeypatch: pytest.MonkeyPatch):
    params, library = written(host, embedding="dusk:0.7 dawn:-0.3", negative="dawn"), host.webui("host").library
    walks, refresh = [], type(library).refresh
    monkeypatch.setattr(type(library), "refresh", lambda self: (walks.append(1), refresh(self))[1])
    values, warned = paste(host, parsed(as_text(params)))
    assert (values["embedding"], values["negative"], values["enabled"]) == ("dusk:0.7 dawn:-0.3", "dawn", True)
    assert len(walks) == 1
    assert warned == []


def test_the_same_picture_pasted_again_sees_the_current_files(host: Host):
    params = parsed(as_text(written(host, embedding="dusk")))
    assert paste(host, params)[0]["embedding"] == "dusk"
    library = host.webui("host").library
    (host.root / "models/aesthetic_embeddings/dusk.safetensors").rename(library.folders[0] / "evening.safetensors")
    assert paste(host, params)[0]["embedding"] == "evening"


@pytest.mark.parametrize(
    ("damage", "name", "expected"),
    [
        ({"Aesthetic steps": "many"}, "steps", 10),
        ({"Aesthetic epsilon": "nan"}, "epsilon", 1e-4),
        ({"Aesthetic epsilon": "1e999"}, "epsilon", 1e-4),
        ({"Aesthetic text negative": "perhaps"}, "text_negative", False),
        ({"Aesthetic LR": "fast"}, "epsilon", 1e-4),
        ({"Aesthetic LR": "0.0005", "Aesthetic steps": "1.5.2"}, "steps", 5),
    ],
    ids=str,
)
def test_unreadable_values_become_defaults_and_are_reported_once(
    host: Host, damage: dict[str, str], name: str, expected: Any
):
    values, warned = paste(host, {"Aesthetic embedding": "dusk", **damage})
    assert values["embedding"] == "dusk"
    assert values[name] == expected
    (warning,) = warned
    assert list(damage)[-1] in warning


@pytest.mark.parametrize("unit", ["a", "a: 0", ", ", ": ", "a, ", "0123456789", "\n"])
def test_a_megabyte_is_pasted_in_linear_time(host: Host, unit: str):
    text = unit * (10**6 // len(unit))
    for key in ("Aesthetic tag hashes", "Aesthetic embedding", "Aesthetic hash", "Aesthetic steps", "Aesthetic LR"):
        params, start = {"Aesthetic embedding": "dusk", key: text}, time.process_time()
        host.webui("infotext").on_paste("", params)
        assert time.process_time() - start < 1


@pytest.mark.parametrize("key", ["Aesthetic steps", "Aesthetic last layers", "Aesthetic slerp angle"])
@pytest.mark.parametrize("number", ["9" * 30, "1.7e308", "-1.7e308"])
def test_a_number_that_is_out_of_all_range_becomes_the_default(host: Host, key: str, number: str):
    old = {"Aesthetic LR": "0.1", "Aesthetic text": "snow"} if "slerp" in key else {}
    params = {"Aesthetic embedding": "dusk", **old, key: number}
    pasted = host.webui("infotext").read(params, host.webui("host").library)
    assert pasted.unreadable == (key,)
    ORJSONResponse(pasted.values)  # as hosts answer the page


def test_tag_hashes_come_back(host: Host):
    text = "dusk: 0123456789, pale, sea: abcdef0123, a: b: 00000000aa"
    assert host.webui("infotext")._tag_hashes(text) == {
        "dusk": "0123456789",
        "pale, sea": "abcdef0123",
        "a: b": "00000000aa",
    }
    assert host.webui("infotext")._tag_hashes("nothing, here: 12") == {}


def test_the_similarity_is_that_of_the_first_pass(host: Host):
    more = {"enable_hr": True, "hr_prompt": "the sea"}
    both = written(host, "a castle", embedding="dusk", more=more)["Aesthetic similarity"]
    assert both == written(host, "a castle", embedding="dusk")["Aesthetic similarity"]
    assert both != written(host, "the sea", embedding="dusk")["Aesthetic similarity"]


def test_each_picture_of_a_batch_has_its_own_similarity(host: Host):
    host.generate(p := host.job(["a castle", "the sea"], embedding="dusk", more={"batch_size": 2}))
    each = [params["Aesthetic similarity"] for params in p.infotexts]
    assert all(re.fullmatch(r"-?0\.\d{3} -> -?0\.\d{3}", text) for text in each)
    alone = [written(host, prompt, embedding="dusk")["Aesthetic similarity"] for prompt in ("a castle", "the sea")]
    assert each == alone
    json.dumps(p.extra_generation_params)  # Forge Classic's answer fails where that does


# ---------------------------------------------------------------- the old extension's

OLD = {
    "Aesthetic LR": "0.0005",
    "Aesthetic weight": 0.8,
    "Aesthetic steps": 12,
    "Aesthetic embedding": "dusk",
    "Aesthetic slerp": True,
    "Aesthetic text": "snow, and ice",
    "Aesthetic text negative": False,
    "Aesthetic slerp angle": 0.1,
}


def test_the_old_extensions_keys(host: Host):
    assert read(host, OLD) == host.webui("request").DEFAULTS | {
        "enabled": True,
        "embedding": "dusk",
        "steps": 12,
        "epsilon": 5e-4,
        "weight": 0.8,
        "blend": "slerp",
        "text": "snow, and ice",
        "text_strength": 0.61,
        "text_negative": False,
    }


def test_the_old_extensions_without_a_text(host: Host):
    back = read(host, OLD | {"Aesthetic text": "", "Aesthetic slerp": False})
    assert (back["text"], back["text_strength"], back["blend"]) == ("", 0.25, "lerp")


@pytest.mark.parametrize(("angle", "part"), [(0, 0), (0.01, 0.1), (0.02, 0.19), (0.1, 0.6), (0.2, 0.79), (0.5, 0.93)])
def test_the_old_angle(host: Host, angle: float, part: float):
    assert host.webui("infotext").text_strength_of_angle(angle, False) == pytest.approx(part, abs=0.015)


def test_the_old_angle_away_from_a_text(host: Host):
    assert host.webui("infotext").text_strength_of_angle(0.5, True) == pytest.approx(0.47, abs=0.01)


def test_a_picture_of_the_old_extension_keeps_its_keys(host: Host):
    p = host.job("a castle")
    p.extra_generation_params |= OLD
    host.generate(p)
    assert p.extra_generation_params == OLD
