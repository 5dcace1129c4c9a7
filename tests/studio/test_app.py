"""The page as a whole, in Chromium, and how it is served."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import torch
from click.testing import CliRunner
from transformers import CLIPTokenizer

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.cli import main
from aesthetic_embeddings.studio import app, server

from .. import checkpoints
from .test_compare import ask, at, generate, said, shown

TABS = {
    "Compare": "#studio_generate",
    "Create": "#studio_zone",
    "Library": "#studio_cards",
    "Evaluate": "#studio_evaluate_start",
}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def show(page: Any, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    page.locator(TABS[tab]).wait_for()


# ---- journeys -------------------------------------------------------------------------------------------------------


def test_no_other_machine_is_contacted(chromium: Any, url: str):
    context = chromium.new_context()
    context.set_default_timeout(90_000)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(url)
    for name in TABS:
        show(page, name)
    show(page, "Compare")
    generate(page, at(page, "example_0").click)
    at(page, "curves").locator("svg").wait_for()
    page.get_by_label("Slider", exact=True).check()
    shown(page, "slider")
    context.close()
    assert asked
    elsewhere = {each for each in asked if urlsplit(each).hostname not in ("127.0.0.1", None)}
    assert elsewhere == set()


def test_on_a_phone(again: Callable[..., Any]):
    page = again(**PHONE)
    ask(page, "a pyramid at sea", count=2, sampler_steps=3)
    generate(page, lambda: at(page, "prompt").locator("textarea").press("Enter"))
    shown(page, "original")
    page.wait_for_function("document.querySelector('#studio_message').getBoundingClientRect().top < 100")  # scrolled
    # of one moment: the page may still scroll
    boxes = "names => names.map(name => document.getElementById(`studio_${name}`).getBoundingClientRect().toJSON())"
    left, right, message, more = page.evaluate(boxes, ["original", "personalized", "message", "more"])
    assert abs(left["y"] - right["y"]) < 2
    assert left["x"] + left["width"] <= right["x"]
    assert right["width"] > 140
    assert message["y"] < left["y"] < more["y"]  # pictures come right after the button
    for name in TABS:
        show(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(again: Callable[..., Any], scheme: str):
    page = again(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (_luminance(_over(ground, [255.0] * 3)) < 0.1) == (scheme == "dark")
    for name in TABS:
        show(page, name)
        poor = {text: color for text, color, grounds in page.evaluate(_TEXTS) if _contrast(color, grounds) < 4.5}
        assert poor == {}, name


#: Every text that is seen: its color, and what is behind it, from the front to the back.
_TEXTS = """() => {
  const found = [], page = document.querySelector('.gradio-container');
  const walker = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const at = node.parentElement, grounds = [];
    if (!node.textContent.trim() || !at.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (at.closest('[disabled], [aria-hidden=true], svg, .sr-only')) continue;
    let pictures = false;
    for (let behind = at; behind; behind = behind.parentElement) {
      grounds.push(getComputedStyle(behind).backgroundColor);
      pictures ||= getComputedStyle(behind).backgroundImage !== 'none';
    }
    if (!pictures) found.push([node.textContent.trim().slice(0, 60), getComputedStyle(at).color, grounds]);
  }
  return found;
}"""


def _contrast(color: str, grounds: list[str]) -> float:
    """As in WCAG 2."""
    behind = [255.0] * 3
    for ground in reversed(grounds):
        behind = _over(ground, behind)
    low, high = sorted((_luminance(behind), _luminance(_over(color, behind))))
    return (high + 0.05) / (low + 0.05)


def _over(color: str, behind: list[float]) -> list[float]:
    *parts, share = (float(x) for x in [*re.findall(r"[\d.]+", color), "1"][:4])
    return [share * x + (1 - share) * y for x, y in zip(parts, behind, strict=True)]


def _luminance(color: list[float]) -> float:
    red, green, blue = (x / 255 / 12.92 if x <= 10.3 else ((x / 255 + 0.055) / 1.055) ** 2.4 for x in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_input_and_button_has_a_name(page: Any):
    ask(page)
    for name in TABS:
        show(page, name)
        assert page.evaluate(_NAMELESS) == [], name


_NAMELESS = """() => [...document.querySelectorAll('input, textarea, select, button')].filter(
  at => at.checkVisibility() && at.type !== 'file' && !(
    at.labels?.length || at.ariaLabel || at.title || at.innerText?.trim() || at.getAttribute('aria-labelledby') ||
    at.querySelector('img')?.alt)
).map(at => at.outerHTML.slice(0, 200))"""


def test_element_ids_are_unique(page: Any):
    ask(page)
    ids = page.evaluate("[...document.querySelectorAll('[id^=studio_]')].map(element => element.id)")
    assert len(ids) > 30
    assert len(ids) == len(set(ids))


def test_a_model_without_any_aesthetics(chromium: Any, tmp_path: Path):
    tokenizer = CLIPTokenizer.from_pretrained(pocket.MODEL)
    checkpoints.small_sd1(tokenizer).save_pretrained(tmp_path / "model")
    with app.open_studio(tmp_path / "model", [tmp_path / "library"]) as studio:
        served = server.launch(studio)
        page = chromium.new_page()
        page.set_default_timeout(90_000)
        page.goto(served.local_url)
        at(page, "empty").get_by_text("Pictures appear here.").wait_for()
        at(page, "generate").click()
        said(page, "Choose an aesthetic first, or make one in the tab Create.")

        vector = torch.randn(32, generator=torch.Generator().manual_seed(1))
        ae.AestheticEmbedding({"clip-32x2-32": vector}).save(tmp_path / "library/dusk.safetensors")
        page.reload()
        at(page, "aesthetic").locator("input").first.wait_for()
        page.wait_for_function("document.querySelector('#studio_aesthetic input').value === 'dusk'")
        at(page, "generate").click()
        assert "projection" in said(page, "projection")
        page.close()
        served.close()


# ---- the server -----------------------------------------------------------------------------------------------------


def status(url: str, path: str, **options: Any) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request(options.pop("method", "GET"), path, **options)
    return connection.getresponse().status


def test_only_the_page_is_served(url: str, studio: Any, tmp_path: Path):
    (tmp_path / "secret.txt").write_text("secret")
    library = studio.library.folders[-1] / "gloomcore.safetensors"
    assert library.is_file()
    assert status(url, "/") == 200
    for path in (tmp_path / "secret.txt", library, "/etc/hostname", "pyproject.toml", app.__file__):
        assert status(url, f"/gradio_api/file={quote(str(path))}") == 403, path
    for path in (
        f"file=http://{urlsplit(url).netloc}/",
        "file=https://example.org/",
        "proxy=https://example.hf.space/",
    ):
        assert status(url, f"/gradio_api/{path}") in (400, 403, 404), path
        assert status(url, f"/gradio_api/{quote(path, safe='=')}") in (400, 403, 404), path


def test_uploads_are_bounded(url: str):
    headers = {"Content-Length": str(server.UPLOAD_LIMIT + 1), "Content-Type": "multipart/form-data; boundary=x"}
    assert status(url, "/gradio_api/upload", method="POST", headers=headers) == 413
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = part + b"0" * (server.FILE_LIMIT + 1) + b"\r\n--x--\r\n"
    headers["Content-Length"] = str(len(body))
    assert status(url, "/gradio_api/upload", method="POST", headers=headers, body=body) == 413


def test_bodies_without_a_length_are_bounded(url: str, monkeypatch: pytest.MonkeyPatch):
    def send(path: str, size: int, kind: str) -> int:
        part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        body = [part, *[b"0" * 2**16] * (size // 2**16), b"\r\n--x--\r\n"]
        headers = {"Content-Type": kind, "Transfer-Encoding": "chunked"}
        return status(url, path, method="POST", headers=headers, body=iter(body), encode_chunked=True)

    form = "multipart/form-data; boundary=x"
    monkeypatch.setattr(server, "UPLOAD_LIMIT", 2 * 2**20)
    assert send("/gradio_api/upload", 2**20, form) == 200
    assert send("/gradio_api/upload", 4 * 2**20, form) == 413
    for other in ("queue/join", "call/upload", "run/upload"):
        assert send(f"/gradio_api/{other}", 2**20 + 2**17, "application/json") == 413


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "studio.example", ""])
def test_other_machines_need_a_password(host: str):
    with pytest.raises(ae.AestheticError, match="--password"):
        server.check_access(host, "")
    server.check_access(host, "open sesame")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_does_not(host: str):
    server.check_access(host, "")


def test_short_passwords_are_refused():
    with pytest.raises(ae.AestheticError, match="at least 8 characters"):
        server.check_access("127.0.0.1", "sesame7")


_ROUTES = ("info", "file=x", "app_id", "token", "user", "heartbeat/x", "stream/a/b/c/x.ts", "custom_component/a/b/c/d")


def test_the_password_is_asked_for(studio: Any):
    page = server.launch(studio, password="open sesame")
    try:
        for path in ("config", "runs", "monitoring/x", *(f"gradio_api/{part}" for part in _ROUTES)):
            assert status(page.local_url, f"/{path}") == 401, path
        for path in ("queue/join", "cancel", "reset", "upload", "stream/x", "run/x", "call/x"):
            assert status(page.local_url, f"/gradio_api/{path}", method="POST") == 401, path
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        login = {"method": "POST", "headers": form}
        assert status(page.local_url, "/login", body="username=studio&password=wrong", **login) == 400
        assert status(page.local_url, "/login", body="username=studio&password=open+sesame", **login) == 200
    finally:
        page.close()


def test_after_the_login_the_page_works(chromium: Any, studio: Any):
    served = server.launch(studio, password="open sesame")
    page = chromium.new_page()
    page.set_default_timeout(90_000)
    page.goto(served.local_url)
    page.get_by_label("username").fill("studio")
    page.get_by_label("password").fill("open sesame")
    page.get_by_role("button", name="Login").click()
    shown(page, "original")
    page.close()
    served.close()


def test_every_text_field_has_a_limit(url: str):
    config = json.loads(urllib.request.urlopen(f"{url}config", timeout=20).read())
    fields = [part["props"] for part in config["components"] if part["type"] == "textbox"]
    assert len(fields) >= 7
    assert [field["label"] for field in fields if not field.get("max_length")] == []


def test_a_port_that_is_taken(studio: Any, url: str):
    with pytest.raises(ae.AestheticError, match="--port"):
        server.launch(studio, port=urlsplit(url).port)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_requires_a_password_for_other_machines():
    done = CliRunner().invoke(main, ["studio", "--host", "0.0.0.0"])
    assert done.exit_code == 2
    assert "--password" in done.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(tmp_path: Path, end: signal.Signals):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "password").write_text("open sesame\n")
    command = [sys.executable, "-m", "aesthetic_embeddings", "studio", "--port", str(port), "--library", str(tmp_path)]
    command += ["--password-file", str(tmp_path / "password")]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options |= {"env": {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(tmp_path)}}
    # shells start what they run in the background deaf to Ctrl+C, and so all that it starts
    options |= {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, **options) as studio:
        try:
            assert studio.stdout.readline() == f"The studio is at http://127.0.0.1:{port}/, until Ctrl+C.\n"
            assert b"gradio" in urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read()
            assert status(f"http://127.0.0.1:{port}/", "/config") == 401
            assert list(tmp_path.glob("aesthetic-studio-*"))
            studio.send_signal(end)
            assert studio.wait(timeout=60) in (0, 1)
            assert "Traceback" not in studio.stderr.read()
        finally:
            studio.kill()
    assert not list(tmp_path.glob("aesthetic-studio-*"))  # uploads are deleted


def test_the_password_comes_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("AESTHETIC_STUDIO_PASSWORD", "short")
    done = CliRunner().invoke(main, ["studio"])
    assert "at least 8 characters" in done.stderr
    (tmp_path / "empty").write_text("\n")
    done = CliRunner().invoke(main, ["studio", "--password-file", str(tmp_path / "empty")])
    assert done.exit_code == 2
    assert "is empty" in done.stderr
