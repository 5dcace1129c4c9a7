"""The host's API, extended: `/aesthetic-gradients/v1/...`, to list, create, blend and delete aesthetics.

It is on when the host's own API is (`--api`), and asks for the same credentials (`--api-auth`). An error is answered
with a 4xx status and one sentence in `detail`. Requests can name only files of the library, and encoders of the host.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from ..aesthetics.creation import FOR_MANY_PICTURES, Creation
from ..aesthetics.embedding import blend as blend_embeddings
from ..aesthetics.families import supported_models
from ..aesthetics.library import Entry
from ..aesthetics.names import check_name
from ..errors import AestheticError
from ..settings import PRESETS, Settings
from . import creation, host
from .creation import ENCODERS, IF_EXISTS, KnownEncoder
from .request import ARGUMENTS

PREFIX = "/aesthetic-gradients/v1"
TXT2IMG = "/sdapi/v1/txt2img"  # modules/api/api.py; its guards protect our routes too

MEGABYTE = 2**20
LIMITS = {"pictures": 256, "picture_bytes": 32 * MEGABYTE, "request_bytes": 128 * MEGABYTE}
MAX_TEXT_LENGTH = 1000  # characters of any text but a picture
MAX_WEIGHT = 1000  # of one part of a blend


def add_routes(demo: Any, app: FastAPI) -> None:
    """Add the endpoints. Call it when the host's app has started (modules/script_callbacks.py, on_app_started).

    Hosts enforce `--api-auth` by a dependency of each route (modules/api/api.py, add_api_route), which is copied here.
    If the host has no such route its API is off, and ours stays off.
    """
    txt2img = next((r for r in app.routes if isinstance(r, APIRoute) and r.path == TXT2IMG), None)
    if txt2img is None:
        return
    guards: dict[str, Any] = {"dependencies": txt2img.dependencies, "tags": ["Aesthetic gradients"]}
    app.add_api_route(f"{PREFIX}/schema", schema, methods=["GET"], **guards)
    app.add_api_route(f"{PREFIX}/embeddings", embeddings, methods=["GET"], **guards)
    app.add_api_route(f"{PREFIX}/embeddings", create, methods=["POST"], openapi_extra=_openapi_body(CREATE), **guards)
    app.add_api_route(f"{PREFIX}/blend", blend, methods=["POST"], openapi_extra=_openapi_body(BLEND), **guards)
    app.add_api_route(f"{PREFIX}/embeddings/{{name:path}}", delete, methods=["DELETE"], **guards)


# ---------------------------------------------------------------- reading


def schema() -> dict[str, Any]:
    """The settings, the order in which `alwayson_scripts` takes them, and what `POST embeddings` accepts."""
    return {
        "args": ARGUMENTS,
        "settings": [_setting_fields(f) for f in dataclasses.fields(Settings)],
        "presets": {name: dataclasses.asdict(settings) for name, settings in PRESETS.items()},
        "encoders": [
            {
                "encoder": encoder.repository,
                "label": encoder.label,
                "family": encoder.family,
                "serves": supported_models([encoder.family]),
                "here": creation.encoder_path(encoder) is not None,
            }
            for encoder in ENCODERS
        ],
        "limits": LIMITS,
    }


def _setting_fields(f: dataclasses.Field[Any]) -> dict[str, Any]:
    info = f.metadata
    kind = {int: "integer", float: "number", str: "string", bool: "boolean"}[type(f.default)]
    fields = {"name": f.name, "label": info["label"], "type": kind, "default": f.default, "help": info["help"]}
    return fields | {"minimum": info["low"], "maximum": info["high"], "choices": info["choices"]}


def embeddings() -> list[dict[str, Any]]:
    """All files in the library; unreadable ones have a `fault`."""
    host.library.refresh()
    return [_entry_fields(entry) for entry in host.library.entries]


def _entry_fields(entry: Entry) -> dict[str, Any]:
    e = entry.embedding
    vectors = e.vectors if e else {}
    fields = {
        "name": entry.name,
        "hash": e.content_hash if e else "",
        "vectors": [{"family": family, "dimension": len(vector)} for family, vector in vectors.items()],
        "serves": supported_models(vectors),
        "images": e.images if e else 0,
        "own": {family: share for family in vectors if (share := e.own_share(family)) is not None} if e else {},
        "created": e.created if e else "",
        "encoder": e.encoder if e else "",
        "notes": e.notes if e else "",
        "file": str(entry.path),
        "fault": entry.fault,
        "duplicate_of": entry.duplicate_of,
    }
    # JSON is text, and a name from the file system can hold bytes that are not
    return {key: x.encode("utf-8", "replace").decode() if isinstance(x, str) else x for key, x in fields.items()}


# ---------------------------------------------------------------- writing

#: Field -> type, default (None: required) and description.
CREATE: dict[str, tuple[type, Any, str]] = {
    "name": (str, None, "Of the new embedding; slashes make folders."),
    "pictures": (list, None, "Files of pictures, each in base64; a leading data:image/png;base64, may stay."),
    "encoders": (list, [ENCODERS[0].repository], "CLIPs of the schema, or folders' names in the host's models/CLIP."),
    "if_exists": (str, "refuse", "If the name exists: refuse, replace, or add (a vector by another encoder)."),
    "batch_size": (int, 8, "Pictures at a time, 1 to 64."),
    "against": (list, [], "Files of ordinary pictures in base64, which the setting contrast tells the others from."),
}
BLEND: dict[str, tuple[type, Any, str]] = {
    "name": (str, None, "Of the blend; slashes make folders."),
    "parts": (dict, None, "Name -> weight; a negative one pushes away."),
    "replace": (bool, False, "Whether an embedding of that name is replaced."),
}


async def create(request: Request) -> dict[str, Any]:
    """Make an embedding of uploaded pictures, in the host's queue."""
    body = await _read_json(request, LIMITS["request_bytes"])
    return await run_in_threadpool(_create, **_validated(body, CREATE))


async def blend(request: Request) -> dict[str, Any]:
    """Save a weighted mix of embeddings as a new one."""
    body = await _read_json(request, MEGABYTE)
    return await run_in_threadpool(_blend, **_validated(body, BLEND))


def delete(name: str) -> dict[str, str]:
    """Delete an embedding's file and its side files. They cannot be restored."""
    host.library.refresh()
    if name not in creation.names():  # unreadable files can be deleted as well
        raise HTTPException(404, f"There is no aesthetic called {name[:MAX_TEXT_LENGTH]!r}.")
    with _errors_as_http(409):
        return {"deleted": str(host.library.delete(name))}


def _create(
    name: str, pictures: list[Any], encoders: list[Any], if_exists: str, batch_size: int, against: list[Any]
) -> dict[str, Any]:
    if not 1 <= batch_size <= 64:
        raise HTTPException(422, f"batch_size should lie between 1 and 64, not be {batch_size}.")
    if if_exists not in IF_EXISTS:
        raise HTTPException(422, f"if_exists should be one of {', '.join(IF_EXISTS)}, not {if_exists[:50]!r}.")
    _check_name(name, free=if_exists == "refuse")
    count = len(pictures) + len(against)
    if count > LIMITS["pictures"]:
        limit = LIMITS["pictures"]
        raise HTTPException(413, f"{count} pictures are too many; at most {limit} at once. {FOR_MANY_PICTURES}")
    data = [_decode_picture(number, picture) for number, picture in enumerate([*pictures, *against], 1)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}") for number in range(1, len(data) + 1)]
        for path in paths:
            path.write_bytes(data.pop(0))
        with _errors_as_http(422, hidden=f"{folder}{os.sep}"):
            chosen_encoders = [_encoder(encoder) for encoder in encoders]
            wanted, ordinary = paths[: len(pictures)], paths[len(pictures) :]
            creations, _, file = creation.create(
                name, wanted, chosen_encoders, "", batch_size, if_exists, _no_progress, against=ordinary
            )
    return _entry_fields(_entry_of(file)) | {"pictures": [_picture_result(str(path), creations) for path in wanted]}


def _picture_result(path: str, results: Sequence[Creation]) -> dict[str, Any]:
    """The picture's similarity to the mean of all pictures for each encoder, or why it was skipped."""
    skipped = dict(results[0].skipped)
    if path in skipped:
        return {"skipped": skipped[path]}
    similarities = [(result.embedding, float(result.similarities[result.files.index(path)])) for result in results]
    return {"similarities": {family: cosine for embedding, cosine in similarities for family in embedding.vectors}}


def _no_progress(done: float, total: float, words: str) -> None:
    """Do nothing: the only answer is the final one."""


def _blend(name: str, parts: dict[str, Any], replace: bool) -> dict[str, Any]:
    for part, weight in parts.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not abs(weight) <= MAX_WEIGHT:
            raise HTTPException(422, f"The weight of {part!r} should be a number from -{MAX_WEIGHT} to {MAX_WEIGHT}.")
    host.library.refresh()
    _check_name(name, free=not replace)
    with _errors_as_http(404):
        weighted = [(host.library.get(part), float(weight)) for part, weight in parts.items()]
    with _errors_as_http(422):
        file = host.library.save(blend_embeddings(weighted, name), overwrite=replace)
    return _entry_fields(_entry_of(file))


def _entry_of(file: Path) -> Entry:
    return next(entry for entry in host.library.entries if entry.path == file)


def _check_name(name: str, free: bool) -> None:
    with _errors_as_http(422):
        check_name(name)
    if free:
        with _errors_as_http(409):
            host.library.check_free(name)


def _encoder(encoder: Any) -> KnownEncoder | Path:
    """A known encoder, or a folder within the host's folder of CLIPs. Other paths of the server are refused."""
    if encoder_of_tab := next((known for known in ENCODERS if encoder == known.repository), None):
        return encoder_of_tab
    folder = host.encoder_folder()
    folder_names = [path.parent.name for path in folder.glob("*/config.json")] if folder.is_dir() else []
    if encoder not in folder_names:
        names = ", ".join([*(known.repository for known in ENCODERS), *folder_names])
        raise HTTPException(
            422,
            f"There is no encoder called {repr(encoder)[:MAX_TEXT_LENGTH]}, not in {folder} either. There are {names}.",
        )
    return folder / str(encoder)


# ---------------------------------------------------------------- requests


async def _read_json(request: Request, limit: int) -> Any:
    """The parsed body. Its size is checked while it arrives, before all of it is in memory.

    Only the JSON content type is accepted: browsers let any web page send other types to a host on the same machine.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise HTTPException(415, "The request should be JSON, with the header Content-Type: application/json.")
    too_large = HTTPException(413, f"The request is too large; at most {_megabytes(limit)} at once.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise too_large
    try:
        return await run_in_threadpool(json.loads, bytes(data))
    except (ValueError, RecursionError):
        raise HTTPException(422, "The request is not JSON.") from None


def _validated(body: Any, fields: dict[str, tuple[type, Any, str]]) -> dict[str, Any]:
    """The values of all fields, with defaults filled in. Anything else is answered with status 422."""
    if not isinstance(body, dict):
        raise HTTPException(422, f"The request should be a JSON object with {', '.join(fields)}.")
    if unknown := next((name for name in body if name not in fields), None):
        raise HTTPException(422, f"There is no field {unknown!r}. Take {', '.join(fields)}.")
    values = {}
    for name, (expected, default, _) in fields.items():
        values[name] = body.get(name, default)
        empty = values[name] in ("", [], {}) and values[name] != default
        if type(values[name]) is not expected or empty:
            raise HTTPException(
                422, f"{name} is missing, empty or of the wrong type; it should be {TYPES[expected][1]}."
            )
        if expected is str and len(values[name]) > MAX_TEXT_LENGTH:
            raise HTTPException(422, f"{name} is too long; at most {MAX_TEXT_LENGTH} characters.")
    return values


#: Type -> its name in OpenAPI, and for error messages.
TYPES: dict[type, tuple[str, str]] = {
    str: ("string", "text"),
    int: ("integer", "a whole number"),
    bool: ("boolean", "true or false"),
    list: ("array", "a list"),
    dict: ("object", "an object"),
}


def _decode_picture(number: int, picture: Any) -> bytes:
    if not isinstance(picture, str):
        raise HTTPException(422, f"Picture {number} should be text in base64, not {type(picture).__name__}.")
    text = picture.partition(",")[2] if picture.startswith("data:") else picture
    if len(text) * 3 // 4 > LIMITS["picture_bytes"]:
        limit = _megabytes(LIMITS["picture_bytes"])
        raise HTTPException(413, f"Picture {number} is too large; at most {limit} each.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(422, f"Picture {number} is not base64.") from None


def _megabytes(count: int) -> str:
    return f"{count // MEGABYTE} MB"


@contextlib.contextmanager
def _errors_as_http(status: int, hidden: str = "") -> Iterator[None]:
    """Turn our own errors into answers with this status. hidden: a temporary folder, cut out of the message."""
    try:
        yield
    except AestheticError as error:
        raise HTTPException(status, str(error).replace(hidden, "Picture ") if hidden else str(error)) from error


def _openapi_body(fields: dict[str, tuple[type, Any, str]]) -> dict[str, Any]:
    """The fields in OpenAPI's format, for the host's page /docs."""
    properties = {
        name: {"type": TYPES[kind][0], "description": help} | ({} if default is None else {"default": default})
        for name, (kind, default, help) in fields.items()
    }
    required = [name for name, (_, default, _) in fields.items() if default is None]
    content = {"schema": {"type": "object", "properties": properties, "required": required}}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
