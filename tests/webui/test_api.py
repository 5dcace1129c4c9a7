"""Our routes beside the host's, in the FastAPI of this environment."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from gradio.routes import ORJSONResponse
from starlette.testclient import TestClient

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.settings import Settings

from .conftest import embedding
from .fake_host import Host

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both

V1 = "/aesthetic-gradients/v1"
SAMPLES = Path(pocket.MODEL).parent / "samples" / "aivazovsky"
KEY = ("someone", "secret")


def app(host: Host, api: bool = True, auth: bool = False) -> FastAPI:
    """modules/api/api.py, add_api_route: with --api-auth each route depends on the credentials."""

    def check(credentials: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008
        if (credentials.username, credentials.password) != KEY:
            raise HTTPException(status_code=401, detail="Incorrect username or password")

    def txt2img() -> None: ...

    made = FastAPI(default_response_class=ORJSONResponse)  # gradio/routes.py, App
    if api:
        guards = [Depends(check)] if auth else None
        made.add_api_route("/sdapi/v1/txt2img", txt2img, methods=["POST"], dependencies=guards)
    host.webui("script").register()
    host.callbacks["on_app_started"][-1](None, made)
    return made


@pytest.fixture
def client(host: Host) -> TestClient:
    (host.root / "models/CLIP").mkdir(parents=True)
    (host.root / "models/CLIP/pocket").symlink_to(pocket.MODEL)
    return TestClient(app(host), raise_server_exceptions=False)


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def two() -> list[str]:
    return [encoded(SAMPLES / "01.png"), "data:image/png;base64," + encoded(SAMPLES / "02.png")]


def refused(answer: Any, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    said = answer.json()["detail"]
    assert isinstance(said, str)
    assert said.endswith((".", "?"))
    for word in words:
        assert word in said


# ---------------------------------------------------------------- whom it answers


def test_without_the_hosts_api_there_is_none(host: Host):
    client = TestClient(app(host, api=False))
    assert client.get(f"{V1}/embeddings").status_code == 404


def test_the_hosts_credentials_are_required(host: Host):
    client = TestClient(app(host, auth=True))
    calls = [("GET", "schema"), ("GET", "embeddings"), ("POST", "embeddings"), ("POST", "blend")]
    for method, path in [*calls, ("DELETE", "embeddings/dusk")]:
        assert client.request(method, f"{V1}/{path}").status_code == 401
        assert client.request(method, f"{V1}/{path}", auth=("someone", "wrong")).status_code == 401
    assert client.get(f"{V1}/embeddings", auth=KEY).status_code == 200
    assert client.delete(f"{V1}/embeddings/dusk", auth=KEY).status_code == 200


def test_every_route_of_ours_has_the_hosts_guards(host: Host):
    made = app(host, auth=True)
    ours = [route for route in made.routes if getattr(route, "path", "").startswith(V1)]
    assert len(ours) == 5
    (theirs,) = (route for route in made.routes if getattr(route, "path", "") == "/sdapi/v1/txt2img")
    assert all(route.dependencies == theirs.dependencies for route in ours)


def test_it_is_in_the_hosts_docs(client: TestClient):
    paths = client.get("/openapi.json").json()["paths"]
    assert f"{V1}/blend" in paths
    body = paths[f"{V1}/embeddings"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["name", "pictures"]


# ---------------------------------------------------------------- asking


def test_list(host: Host, client: TestClient):
    folder = host.root / "models/aesthetic_embeddings"
    (folder / "broken.pt").write_bytes(b"nothing of the kind")
    embedding("twin", 1).save(folder / "moods/twin.safetensors")
    listed = {entry["name"]: entry for entry in client.get(f"{V1}/embeddings").json()}
    assert list(listed) == ["dawn", "dusk", "moods/twin", "broken"]
    dusk = host.webui("host").library.get("dusk")
    assert listed["dusk"]["hash"] == dusk.content_hash
    (vector,) = listed["dusk"]["vectors"]
    assert vector == {"family": next(iter(dusk.vectors)), "dimension": 768}
    assert listed["dusk"]["serves"].startswith("models with a clip-")
    assert listed["moods/twin"]["duplicate_of"] == "dusk"
    assert "neither" in listed["broken"]["fault"]


def test_a_name_that_is_not_text(host: Host, client: TestClient):
    embedding("odd", 3).save(host.root / "models/aesthetic_embeddings" / os.fsdecode(b"caf\xe9.safetensors"))
    assert client.get(f"{V1}/embeddings").json()[0]["name"] == "caf?"


def test_schema_is_the_table_of_settings(host: Host, client: TestClient):
    schema = client.get(f"{V1}/schema").json()
    assert schema["args"] == list(host.webui("request").ARGUMENTS)
    assert [row["name"] for row in schema["settings"]] == list(Settings.__dataclass_fields__)
    assert Settings(**{row["name"]: row["default"] for row in schema["settings"]}) == Settings()
    for row in schema["settings"]:
        assert row["label"]
        assert row["help"]
        for value in row["choices"] or [row["minimum"], row["maximum"]]:
            if value is not None:
                Settings(**{row["name"]: value})
    assert schema["encoders"][0]["encoder"] == "openai/clip-vit-large-patch14"


# ---------------------------------------------------------------- creating


def create(client: TestClient, **chosen: Any) -> Any:
    return client.post(f"{V1}/embeddings", json={"name": "sea", "pictures": two(), "encoders": ["pocket"]} | chosen)


def test_created_from_uploads(host: Host, client: TestClient):
    answer = create(client, name="moods/sea", pictures=[*two(), base64.b64encode(b"no picture").decode()])
    assert answer.status_code == 200, answer.text
    made = answer.json()
    expected = ae.create([SAMPLES / "01.png", SAMPLES / "02.png"], pocket.MODEL)
    assert made["hash"] == expected.content_hash == host.webui("host").library.get("moods/sea").content_hash
    assert made["images"] == 2
    assert [list(picture) for picture in made["pictures"]] == [["similarities"], ["similarities"], ["skipped"]]
    (alike,) = made["pictures"][0]["similarities"].values()
    assert 0.5 < alike < 1
    assert "not a picture" in made["pictures"][2]["skipped"]
    assert client.get(f"{V1}/embeddings").json()[-1]["name"] == "moods/sea"


def test_created_against_ordinary_pictures(host: Host, client: TestClient):
    ordinary = base64.b64encode((SAMPLES.parent / "glowwave" / "01.png").read_bytes()).decode()
    made = create(client, name="told apart", against=[ordinary]).json()
    assert len(made["pictures"]) == 2
    (share,) = made["own"].values()
    assert 0 < share < 1
    (against,) = host.webui("host").library.get("told apart").against.values()
    (expected,) = ae.create(SAMPLES.parent / "glowwave" / "01.png", pocket.MODEL).vectors.values()
    assert torch.equal(against, expected)
    too_many = [ordinary] * host.webui("api").LIMITS["pictures"]
    refused(create(client, name="many", against=too_many), 413, "aesthetic-gradients create")


def test_a_taken_name(client: TestClient):
    assert create(client).status_code == 200
    refused(create(client), 409, "'sea' already")
    assert create(client, pictures=two()[:1], if_exists="replace").json()["images"] == 1
    assert create(client, if_exists="add").json()["images"] == 2
    refused(create(client, if_exists="perhaps"), 422, "refuse, replace, add")


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../b", "..", "a\\b", "C:x", "nul", ".hidden", "a//b"]
)
def test_no_name_leads_out_of_the_library(host: Host, client: TestClient, name: str):
    before = sorted(host.root.rglob("*"))
    refused(create(client, name=name), 422, "cannot be a name")
    refused(client.post(f"{V1}/blend", json={"name": name, "parts": {"dusk": 1}}), 422, "cannot be a name")
    refused(client.post(f"{V1}/blend", json={"name": "new", "parts": {name: 1}}), 404, "no aesthetic called")
    quoted = name.replace("/", "%2F").replace("\\", "%5C")
    assert client.delete(f"{V1}/embeddings/{quoted}").status_code == 404
    assert sorted(host.root.rglob("*")) == before


@pytest.mark.parametrize(
    "encoder", ["../CLIP/pocket", str(pocket.MODEL), "pocket/..", "hub/unknown", ".", "pocket/vae", 7, None]
)
def test_no_encoder_leads_out_of_the_hosts_folder(client: TestClient, encoder: Any):
    refused(create(client, encoders=[encoder]), 422, "no encoder called", "clip-vit-large-patch14, ", "pocket")


def test_paths_that_are_closed_at_the_page_do_not_matter(host: Host, client: TestClient):
    host.shared.cmd_opts.hide_ui_dir_config = True
    assert create(client).status_code == 200


def test_an_encoder_that_is_not_here(client: TestClient):
    refused(create(client, encoders=["pocket", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"]), 422, "not on this machine")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"pictures": []}, "pictures is missing, empty"),
        ({"pictures": "x"}, "should be a list"),
        ({"pictures": [1]}, "Picture 1 should be text"),
        ({"pictures": ["not base64!"]}, "Picture 1 is not base64"),
        ({"pictures": [base64.b64encode(b"no picture").decode()]}, "Picture 1: not a picture"),
        ({"name": ""}, "name is missing"),
        ({"name": 3}, "should be text"),
        ({"name": "x" * 2000}, "name is too long"),
        ({"batch_size": 0}, "between 1 and 64"),
        ({"batch_size": True}, "a whole number"),
        ({"path": "/etc"}, "no field 'path'"),
    ],
)
def test_wrong_input_is_reported(client: TestClient, body: dict[str, Any], words: str):
    refused(create(client, **body), 422, words)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json(client: TestClient, data: bytes):
    answer = client.post(f"{V1}/embeddings", content=data, headers={"Content-Type": "application/json"})
    refused(answer, 422, "not JSON")


@pytest.mark.parametrize("data", [b"[]", b"1", b"null"])
def test_a_body_that_is_not_an_object(client: TestClient, data: bytes):
    answer = client.post(f"{V1}/blend", content=data, headers={"Content-Type": "application/json; charset=utf-8"})
    refused(answer, 422, "JSON object with name, parts, replace")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_other_web_pages_cannot_send_requests(host: Host, client: TestClient, kind: str):
    """What needs no preflight in a browser: a page elsewhere could send it to a host on the user's machine."""
    body = b'{"name": "new", "parts": {"dusk": 1}}'
    refused(client.post(f"{V1}/blend", content=body, headers={"Content-Type": kind}), 415, "application/json")
    assert "new" not in host.webui("host").library.names()


def test_limits(host: Host, client: TestClient, monkeypatch: pytest.MonkeyPatch):
    limits = host.webui("api").LIMITS
    monkeypatch.setitem(limits, "pictures", 1)
    refused(create(client), 413, "2 pictures are too many")
    monkeypatch.setitem(limits, "pictures", 2)
    monkeypatch.setitem(limits, "picture_bytes", 1000)
    refused(create(client), 413, "Picture 1 is too large")
    monkeypatch.setitem(limits, "request_bytes", 1000)
    refused(create(client), 413, "request is too large")

    def drops() -> Any:  # without a length
        yield from [b" " * 100] * 20

    answer = client.post(f"{V1}/embeddings", content=drops(), headers={"Content-Type": "application/json"})
    refused(answer, 413, "request is too large")


def test_in_the_hosts_queue(host: Host, client: TestClient, monkeypatch: pytest.MonkeyPatch):
    lock, creating = host.modules["modules.call_queue"].queue_lock, host.webui("creation")
    create_in_library, held = creating.create_in_library, []

    def creates(*args: Any, **kwargs: Any) -> Any:
        held.append(lock.locked())
        return create_in_library(*args, **kwargs)

    monkeypatch.setattr(creating, "create_in_library", creates)
    assert create(client).status_code == 200
    assert held == [True]
    assert not lock.locked()


# ---------------------------------------------------------------- blending and deleting


def test_blend(host: Host, client: TestClient):
    body = {"name": "moods/mix", "parts": {"dusk": 0.7, "dawn": -0.3}}
    made = client.post(f"{V1}/blend", json=body).json()
    library = host.webui("host").library
    expected = ae.blend([(library.get("dusk"), 0.7), (library.get("dawn"), -0.3)])
    assert made["hash"] == expected.content_hash
    refused(client.post(f"{V1}/blend", json=body), 409, "already")
    body["parts"]["dusk"] = 1
    again = client.post(f"{V1}/blend", json=body | {"replace": True}).json()
    assert again["hash"] != made["hash"]


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ({}, 422, "parts is missing"),
        ({"dusk": "1"}, 422, "weight of 'dusk'"),
        ({"dusk": True}, 422, "weight of 'dusk'"),
        ({"dusk": 1e9}, 422, "-1000 to 1000"),
        ({"dusk": 0}, 422, ""),
        ({"duks": 1}, 404, "Did you mean dusk?"),
    ],
)
def test_invalid_blends(client: TestClient, parts: Any, status: int, words: str):
    refused(client.post(f"{V1}/blend", json={"name": "new", "parts": parts}), status, words)


@pytest.mark.parametrize("weight", ["NaN", "Infinity", "1" + "0" * 400])
def test_weights_that_are_not_numbers(client: TestClient, weight: str):
    data = f'{{"name": "new", "parts": {{"dusk": {weight}}}}}'
    answer = client.post(f"{V1}/blend", content=data, headers={"Content-Type": "application/json"})
    refused(answer, 422, "weight of 'dusk'")


def test_delete(host: Host, client: TestClient):
    folder = host.root / "models/aesthetic_embeddings"
    embedding("deep", 3).save(folder / "moods/very deep.safetensors")
    (folder / "moods/very deep.preview.png").write_bytes(b"x")
    (folder / "broken.pt").write_bytes(b"nothing of the kind")
    for name in ("moods/very%20deep", "broken"):
        assert client.delete(f"{V1}/embeddings/{name}").status_code == 200
    assert sorted(path.name for path in folder.rglob("*.*")) == ["dawn.safetensors", "dusk.safetensors"]
    refused(client.delete(f"{V1}/embeddings/broken"), 404, "no aesthetic called 'broken'")
