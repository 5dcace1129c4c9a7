"""A real host's endpoints: `python -m tests.hosts.endpoints NAME --url http://127.0.0.1:7860 --auth user:password`.

NAME: of an aesthetic that the host has. An encoder is needed in its models/CLIP: a link to
aesthetic_embeddings/pocket/model does. What is made is deleted again.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import aesthetic_embeddings as ae

ROOT = Path(ae.__file__).parent
SAMPLES = ROOT / "pocket" / "samples" / "aivazovsky"
V1 = "/aesthetic-gradients/v1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--auth", default="", help="as given to the host as --api-auth")
    parser.add_argument("--encoder", default="model", help="the folder's name in models/CLIP")
    arguments = parser.parse_args()
    failed = 0

    def call(method: str, path: str, body: Any = None, auth: str = arguments.auth) -> tuple[int, Any]:
        request = urllib.request.Request(arguments.url + V1 + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if auth:
            request.add_header("Authorization", "Basic " + base64.b64encode(auth.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=300) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read()).get("detail")

    def see(line: str, good: bool, found: object = "") -> None:
        nonlocal failed
        failed += not good
        print(f"{'ok ' if good else 'BAD'} {line}{'' if good else f': {found}'}", flush=True)

    def said(line: str, status: int, answer: tuple[int, Any]) -> None:
        see(f"{line}: {status}, {answer[1]}", answer[0] == status and isinstance(answer[1], str), answer)

    routes = [("GET", "/schema"), ("GET", "/embeddings"), ("POST", "/embeddings"), ("POST", "/blend")]
    for method, path in [*routes, ("DELETE", "/embeddings/nothing")]:
        for auth in ("", "someone:wrong") if arguments.auth else ():
            found = call(method, path, {}, auth)
            see(f"{method} {path} with {auth or 'no'} credentials: 401", found[0] == 401, found)

    status, schema = call("GET", "/schema")
    names = [row["name"] for row in schema["settings"]]
    see("schema", status == 200 and names == list(ae.Settings.__dataclass_fields__), names)
    before = call("GET", "/embeddings")[1]
    see(f"list: {len(before)}", any(entry["name"] == arguments.name for entry in before), before)

    pictures = [base64.b64encode(path.read_bytes()).decode() for path in sorted(SAMPLES.iterdir())[:3]]
    body = {"name": "endpoint test/made", "pictures": pictures, "encoders": [arguments.encoder]}
    status, made = call("POST", "/embeddings", body)
    expected = ae.create(sorted(SAMPLES.iterdir())[:3], ROOT / "pocket" / "model")
    see("create", status == 200 and made["images"] == 3, made)
    if arguments.encoder == "model" and status == 200:
        mine, theirs = expected.vectors.values(), ae.load(made["file"]).vectors.values()
        cosine = min(float((a @ b) / (a.norm() * b.norm())) for a, b in zip(mine, theirs, strict=True))
        see(f"create: the core's vector, cosine {cosine:.7f}", cosine > 0.9999)
    said("create again", 409, call("POST", "/embeddings", body))
    said("no name", 422, call("POST", "/embeddings", body | {"name": ""}))
    said("a name outside", 422, call("POST", "/embeddings", body | {"name": "../outside"}))
    said("no picture", 422, call("POST", "/embeddings", body | {"name": "other", "pictures": ["AAAA"]}))
    said("an encoder outside", 422, call("POST", "/embeddings", body | {"name": "other", "encoders": ["/etc"]}))
    said("too much", 413, call("POST", "/embeddings", body | {"name": "other", "pictures": ["A" * 50_000_000]}))
    said("too many", 413, call("POST", "/embeddings", body | {"name": "other", "pictures": ["AAAA"] * 257}))

    blend = {"name": "endpoint test/mix", "parts": {arguments.name: 0.7}}
    status, mixed = call("POST", "/blend", blend)
    see("blend", status == 200 and mixed["name"] == "endpoint test/mix", mixed)
    said("blend again", 409, call("POST", "/blend", blend))
    said("blend of nothing known", 404, call("POST", "/blend", {"name": "other", "parts": {"unheard of": 1}}))

    for name in ("endpoint%20test/made", "endpoint%20test/mix"):
        status, gone = call("DELETE", f"/embeddings/{name}")
        see(f"delete {name}", status == 200, gone)
    said("delete again", 404, call("DELETE", "/embeddings/endpoint%20test/mix"))
    said("delete outside", 404, call("DELETE", "/embeddings/..%2F..%2Fconfig.json"))
    see("the list is as before", call("GET", "/embeddings")[1] == before)
    sys.exit(failed)


if __name__ == "__main__":
    main()
