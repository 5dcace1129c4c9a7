"""Sequences of requests in which the old extension lied: what changes must show, what does not must cost nothing."""

from __future__ import annotations

import dataclasses
import re
import shutil
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import ImageChops, ImageStat

import aesthetic_embeddings as ae
from aesthetic_embeddings.webui.request import ARGUMENTS, DEFAULTS

from .client import Host

Line = tuple[str, bool]


def values(name: str, settings: ae.Settings | None = None, **others: Any) -> list[Any]:
    """The accordion's, in its order."""
    own = dataclasses.asdict(settings or ae.Settings(steps=4))
    chosen = DEFAULTS | own | {"enabled": True, "embedding": name} | others
    return [chosen[argument] for argument in ARGUMENTS]


def cache(host: Host, name: str, folder: Path) -> Iterator[Line]:
    """The conditioning cache never lies, kept between jobs or not. `folder`: the host's, where aesthetics are."""
    for persistent in (True, False):
        host.call("/sdapi/v1/options", {"persistent_cond_cache": persistent})
        for line, good in _cache(host, name, folder):
            yield f"persistent cond cache {'on' if persistent else 'off'}: {line}", good
    host.call("/sdapi/v1/options", {"persistent_cond_cache": True})


def _cache(host: Host, name: str, folder: Path) -> Iterator[Line]:
    plain, first = host.txt2img().hash, host.txt2img(values(name))
    seen = {plain, first.hash}

    def new(line: str, given: list[Any]) -> Line:
        before = len(seen)
        seen.add(host.txt2img(given).hash)
        return f"{line} changes the picture", len(seen) == before + 1

    again = host.txt2img(values(name))
    yield "the same again is the same picture, reused", again.hash == first.hash and _reused(again)
    yield new("epsilon", values(name, ae.Settings(steps=4, epsilon=2e-4)))
    yield new("steps", values(name, ae.Settings(steps=5)))
    yield new("weight", values(name, ae.Settings(steps=4, weight=0.5)))
    yield new("the embedding", values("glowwave"))
    again = host.txt2img(values(name))
    yield "back to the first is the first picture, reused", again.hash == first.hash and _reused(again)
    file = folder / "made-anew.pt"
    try:
        for source in ("cloudcore", "gloomcore"):
            shutil.copyfile(folder / f"{source}.pt", file)
            yield new(f"the file made anew under its name ({source})", values(file.stem, ae.Settings(steps=3)))
    finally:
        file.unlink()
    gone = host.txt2img(values(file.stem))
    yield "a file that is gone: plain, and said", gone.hash == plain and file.stem in gone.comments
    yield "off is the plain picture", host.txt2img([False]).hash == plain


def copies(host: Host, name: str) -> Iterator[Line]:
    """Scripts that copy the job, or run it several times."""
    cat, dog = (host.txt2img(values(name), prompt=f"a photo of a {animal}").hash for animal in ("cat", "dog"))
    plain = host.txt2img(prompt="a photo of a dog").hash
    lines = host.txt2img(
        values(name), script_name="prompts from file or textbox", script_args=_file_arguments(host), prompt=""
    )
    yield "prompts from file: each prompt's own picture", lines.each == [cat, dog]
    grid = host.txt2img(values(name), script_name="x/y/z plot", script_args=_plot_arguments(host, "cat,dog"))
    yield "XYZ: each cell's own picture", grid.each[-2:] == [cat, dog]
    yield "XYZ: a plain picture after it", host.txt2img(prompt="a photo of a dog").hash == plain
    base = host.txt2img().encoded
    still = {"init_images": [base], "denoising_strength": 0.6}
    once = host.img2img(values(name), **still)
    yield "img2img changes", once.hash != host.img2img(**still).hash
    loops = host.img2img(values(name), **still, script_name="loopback", script_args=[2, 0.6, "Linear", "None"])
    yield "Loopback: the first loop's picture is the single one's", once.hash in loops.each and len(set(loops.each)) > 1
    yield "Loopback: tuned once", not _tuned(loops)
    batch = host.txt2img(values(name), batch_size=2, n_iter=2)
    single = host.txt2img(values(name))  # in batches, samplers round otherwise
    yield "batches: the first picture is the single one's", _difference(batch, single) < 0.01
    yield "batches: four pictures", len(set(batch.each[-4:])) == 4
    matrix = [False, False, "positive", "comma", 0]
    several = host.txt2img(
        values(name), prompt="a photo of a cat|dark", batch_size=2, script_name="prompt matrix", script_args=matrix
    )
    prompts = ("a photo of a cat", "a photo of a cat, dark")
    alone = [host.txt2img(values(name), prompt=prompt).samplings[0]["c"][0][0][0] for prompt in prompts]
    together = [parts[0][0] for parts in several.samplings[0]["c"]]
    yield "different prompts in a batch: each its own", all(map(torch.equal, alone, together)) and len(together) == 2
    seconds = host.txt2img(values(name), seed=8)
    yield "another seed: reused", _reused(seconds)


def interruptions(host: Host, name: str) -> Iterator[Line]:
    """Interrupt and Skip end tuning within a step; what they leave is plain and not cached as tuned."""
    prompts = iter(("a photo of a lion", "a photo of a bear"))
    for route in ("interrupt", "skip"):
        prompt = next(prompts)
        long = values(name, ae.Settings(steps=100, update="normalized"))
        ended = _while_tuning(host, route, lambda given=long, text=prompt: host.txt2img(given, prompt=text))
        yield f"{route}: ends {ended['late']:.2f} s later, far before 100 steps", ended["late"] < 2
        after = host.txt2img(long, prompt=prompt)
        yield f"{route}: the same again is tuned", _tuned(after)
        plain = host.txt2img(prompt=prompt)
        yield f"{route}: the plain picture is plain", plain.hash != after.hash


def _while_tuning(host: Host, route: str, generate: Callable[[], Any]) -> dict[str, float]:
    ended: dict[str, float] = {}

    def run() -> None:
        generate()
        ended["at"] = time.monotonic()

    thread = threading.Thread(target=run)
    thread.start()
    while "Aesthetic gradients: step" not in (host.call("/sdapi/v1/progress")["textinfo"] or ""):
        time.sleep(0.05)
        assert thread.is_alive(), "it was over before it could be interrupted"
    pressed = time.monotonic()
    host.call(f"/sdapi/v1/{route}", {})
    thread.join()
    return {"late": ended["at"] - pressed}


def models(host: Host, name: str, others: list[str]) -> Iterator[Line]:
    """Checkpoints, VAEs and the refiner. `others`: the title of another checkpoint, and where there is one, a VAE."""
    first = host.call("/sdapi/v1/options")["sd_model_checkpoint"]
    on, off = _both(host, name)
    refined = host.txt2img(values(name), refiner_checkpoint=others[0], refiner_switch_at=0.5, steps=4)
    yield "refiner: changes the picture", refined.hash != host.txt2img(values(name), steps=4).hash
    host.call("/sdapi/v1/options", {"sd_model_checkpoint": others[0]})
    second = host.txt2img(values(name))
    yield "another checkpoint: its own picture", second.hash not in (on, off)
    host.call("/sdapi/v1/options", {"sd_model_checkpoint": first})
    yield "back: the first picture", _both(host, name) == (on, off)
    for vae in others[1:]:
        _choose_vae(host, vae)
        yield "another VAE: another picture", host.txt2img(values(name)).hash not in (on, off)
        _choose_vae(host, None)
        yield "its own VAE: the first picture", _both(host, name) == (on, off)


def _choose_vae(host: Host, name: str | None) -> None:
    """name: None for the checkpoint's own. Forge has one option for VAEs and text encoders, a list."""
    if "forge_additional_modules" in host.call("/sdapi/v1/options"):
        chosen: dict[str, Any] = {"forge_additional_modules": [name] if name else []}
    else:
        chosen = {"sd_vae": name or "Automatic"}
    host.call("/sdapi/v1/options", chosen)


def faults(host: Host, name: str) -> Iterator[Line]:
    """After an error, what follows is as if it had not been; see the probe for how errors are made."""
    on, off = _both(host, name)
    try:
        host.txt2img(values(name), prompt="a photo of a cat, sampling fails")
    except urllib.error.HTTPError as error:
        yield "sampling raises: the host's own error", error.code == 500
    yield "sampling raises: plain and personalized are as before", _both(host, name) == (on, off)
    full = host.txt2img(values(name), prompt="a photo of a cat, memory fails")
    plain = host.txt2img(prompt="a photo of a cat, memory fails")
    yield (
        "memory runs out: the plain picture, and said",
        full.hash == plain.hash and "Memory ran out" in full.comments,
    )
    yield "memory runs out: plain and personalized are as before", _both(host, name) == (on, off)
    wrong = host.txt2img(values(name[:-1]))
    yield (
        "no such aesthetic: plain, with what comes close",
        wrong.hash == off and f"Did you mean {name}" in wrong.comments,
    )
    nothing = host.txt2img([True])
    yield (
        "on without an aesthetic: plain, and said",
        nothing.hash == off and "No embedding is chosen" in nothing.comments,
    )
    wrong = host.txt2img([True, name, "many"])
    yield "a value that is none: plain, and said", wrong.hash == off and "steps should be" in wrong.comments


def neighbours(host: Host, name: str) -> Iterator[Line]:
    """Beside what other extensions do to jobs; see the probe's neighbours.py."""
    on, off = _both(host, name)
    alone = host.txt2img(values(name), n_iter=2)
    yield "two batches: the infotext has the similarity", all("Aesthetic similarity" in t for t in alone.infotexts[-2:])
    for style in (["probe detailer"], ["probe copy"], ["probe wrapper", "probe copy"], ["probe wrapper"]):
        beside = host.txt2img(values(name), n_iter=2, styles=style)
        if style != ["probe wrapper"]:
            yield f"{style[-1]}: its job is tuned", f"Neighbours probe: {style[-1]}, tuned" in beside.comments
        yield f"{' and '.join(style)}: the same pictures", beside.each[-2:] == alone.each[-2:]
        said = [[_aesthetic(text) for text in picture.infotexts[-2:]] for picture in (beside, alone)]
        yield f"{' and '.join(style)}: the same infotext of each", said[0] == said[1]
        yield f"{' and '.join(style)}: plain and personalized are as before", _both(host, name) == (on, off)
    for prompt in ("a photo AND the sea", "the sea AND a photo"):
        plain = host.txt2img(prompt=prompt, styles=["probe region"])
        picture = host.txt2img(values(name), prompt=prompt, styles=["probe region"])
        whole = "The other prompts encoded with it stayed plain too" in picture.comments
        yield f"{prompt}, an adapter for the sea alone: all plain, and said", picture.hash == plain.hash and whole
        yield f"{prompt}: the infotext has the error", "Aesthetic error" in picture.infotext
        yield f"{prompt}: tuned without it", host.txt2img(values(name), prompt=prompt).hash != plain.hash
    yield "plain and personalized are as before", _both(host, name) == (on, off)


def _aesthetic(infotext: str) -> list[str]:
    return re.findall(r'Aesthetic [a-z ]+: (?:"[^"]*"|[^,\n]*)', infotext)


def _both(host: Host, name: str) -> tuple[str, str]:
    return host.txt2img(values(name)).hash, host.txt2img().hash


def _difference(one: Any, other: Any) -> float:
    """Mean over the pixels of the last four pictures' first, and of the other's first; of 255."""
    first = ImageChops.difference(one.images[-4], other.images[0])
    return sum(ImageStat.Stat(first).mean) / 3


def _reused(picture: Any) -> bool:
    return "reused" in picture.comments and " tuned in" not in picture.comments


def _tuned(picture: Any) -> bool:
    return " tuned in" in picture.comments or "(tuned in" in picture.comments


def _file_arguments(host: Host) -> list[Any]:
    arguments: list[Any] = [False, False, "start", "a photo of a cat\na photo of a dog"]
    known = next(script for script in host.scripts() if script["name"] == "prompts from file or textbox")
    return arguments + [False] * (len(known["args"]) - len(arguments))


def _plot_arguments(host: Host, replaced: str) -> list[Any]:
    """Prompt S/R on the first axis, and each cell among the answer's pictures; the rest as the host has it."""
    plot = next(script for script in host.scripts() if script["name"] == "x/y/z plot" and not script["is_img2img"])
    x = next(i for i, argument in enumerate(plot["args"]) if argument["label"] == "X type")
    labels = [choice[0] if isinstance(choice, list) else choice for choice in plot["args"][x]["choices"]]
    arguments = [argument["value"] for argument in plot["args"]]
    for i, argument in enumerate(plot["args"]):
        if argument["label"].endswith(" type"):  # two boxes follow, for text and for choices
            arguments[i : i + 3] = [0, "", []]
        elif argument["label"] in ("Draw legend", "Include Sub Images"):
            arguments[i] = argument["label"] != "Draw legend"
    arguments[x : x + 2] = [labels.index("Prompt S/R"), replaced]
    return arguments
