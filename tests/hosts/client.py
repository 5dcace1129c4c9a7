"""A real host, asked through its API."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import urllib.request
from pathlib import Path
from typing import Any

import torch
from PIL import Image

PROBE = Path(__file__).parent / "probe" / "out"
#: Small, quick, and the same in both hosts.
REQUEST = {
    "prompt": "a photo of a cat",
    "negative_prompt": "blurry",
    "steps": 3,
    "width": 64,
    "height": 64,
    "seed": 7,
    "cfg_scale": 7,
    "sampler_name": "Euler",
    "scheduler": "Automatic",
    "override_settings": {"CLIP_stop_at_last_layers": 1},  # Forge's default is 2
}


class Host:
    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as response:
            return json.loads(response.read())

    def scripts(self) -> list[dict[str, Any]]:
        return self.call("/sdapi/v1/script-info")

    def upscaler(self) -> str:
        """Latent, or where the host has no such upscalers (Neo) one that leaves pictures as they are."""
        names = [mode["name"] for mode in self.call("/sdapi/v1/latent-upscale-modes")]
        return "Latent" if "Latent" in names else "None"

    def txt2img(self, values: list[Any] | None = None, **request: Any) -> Picture:
        """values: the accordion's, or None to say nothing of the extension."""
        return self._pictures("/sdapi/v1/txt2img", values, request)

    def img2img(self, values: list[Any] | None = None, **request: Any) -> Picture:
        return self._pictures("/sdapi/v1/img2img", values, request)

    def _pictures(self, path: str, values: list[Any] | None, request: dict[str, Any]) -> Picture:
        body = REQUEST | request
        if values is not None:
            body["alwayson_scripts"] = {"aesthetic gradients": {"args": values}}
        answer = self.call(path, body)
        return Picture(answer)


class Picture:
    """All pictures of one answer, what they were conditioned on, and what was said under them."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.images = [Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB") for image in answer["images"]]
        self.encoded = answer["images"][0]
        self.each = [hashlib.sha256(image.tobytes()).hexdigest()[:12] for image in self.images]
        self.hash = " ".join(self.each)
        self.infotexts = json.loads(answer["info"])["infotexts"]
        self.infotext = self.infotexts[0]
        self.samplings = [torch.load(file) for file in sorted(PROBE.glob("[0-9]*.pt"))]
        self.last, self.encoder = (_load(PROBE / name) for name in ("last.pt", "encoder.pt"))
        comments = PROBE / "comments.txt"
        self.comments = comments.read_text(encoding="utf-8") if comments.exists() else ""


def _load(file: Path) -> Any:
    return torch.load(file, weights_only=False) if file.exists() else None
