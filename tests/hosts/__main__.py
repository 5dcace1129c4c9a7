"""The differential test: what a real host makes with the extension, against the host without it and against the core.

    python -m tests.hosts plain.json --url http://127.0.0.1:7860                 # in the host without the extension
    python -m tests.hosts plain.json --url http://127.0.0.1:7860 --checkpoint model.safetensors --tokenizer folder \
        --embedding NAME.pt                                                      # in the host with it

Off: the same requests give the same pixels, with personalized ones in between. On: the conditioning is the core's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

import aesthetic_embeddings as ae

from . import sequences
from .client import Host, Picture
from .contrast import contrast
from .outside import Outside
from .references import Sd1
from .sequences import values
from .towers import towers

GROUPS = (
    "off", "on", "contrast", "cache", "copies", "interruptions", "faults", "neighbours", "models", "towers",
    "signatures",
)  # fmt: skip
LONG = " ".join(["a photo of a cat on a green sofa by the sea at dawn"] * 8)  # 104 tokens: two chunks
PLAIN: dict[str, dict[str, Any]] = {
    "a prompt": {},
    "its negative prompt": {"negative_prompt": ""},
    "emphasis": {"prompt": "a (photo:1.3) of a cat"},
    "BREAK": {"prompt": "a photo BREAK a cat"},
    "AND": {"prompt": "a photo AND a cat :0.7"},
    "prompt editing": {"prompt": "a [cat:dog:0.5]"},
    "two chunks": {"prompt": LONG},
    "clip skip": {"override_settings": {"CLIP_stop_at_last_layers": 2}},
    "batches": {"batch_size": 2, "n_iter": 2},
    "hires": {"enable_hr": True, "hr_scale": 2, "hr_second_pass_steps": 2,
              "denoising_strength": 0.7, "hr_additional_modules": ["Use same choices"]},
    "a prompt again": {},
}  # fmt: skip


def requests(host: Host) -> dict[str, dict[str, Any]]:
    return PLAIN | {"hires": PLAIN["hires"] | {"hr_upscaler": host.upscaler()}}


SETTINGS = {
    "adam": ae.Settings(steps=4),
    "normalized": ae.Settings(steps=4, update="normalized", epsilon=5e-5),
    "gradient": ae.Settings(steps=4, update="gradient", epsilon=0.1),
    "weight 0.5, slerp": ae.Settings(steps=4, weight=0.5, blend="slerp"),
    "text": ae.Settings(steps=4, text="a green sea", text_strength=0.4),
    "text is negative": ae.Settings(steps=4, text="a green sea", text_strength=0.4, text_negative=True),
    "preservation": ae.Settings(steps=4, preservation=2.0),
    "last layers": ae.Settings(steps=4, last_layers=2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plain", type=Path, help="pixels of the host without the extension: written, or compared with")
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--checkpoint", type=Path, help="the SD1 checkpoint that the host has loaded")
    parser.add_argument("--tokenizer", type=Path, help="a folder with CLIP's vocab.json and merges.txt")
    parser.add_argument("--embedding", type=Path, help="the file of an aesthetic that the host has too")
    parser.add_argument("--others", nargs="*", default=[], help="another checkpoint's title, and perhaps a VAE's")
    parser.add_argument("--addons", type=Path, help="the host's folder, with the LoRAs and inversions of towers.py")
    parser.add_argument("--only", choices=GROUPS)
    parser.add_argument("--source", type=Path, help="the host's folder, to compare the fake host's signatures with")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="relative to what tuning changes")
    arguments = parser.parse_args()
    host = Host(arguments.url)
    if arguments.checkpoint is None:
        pixels = {name: host.txt2img(**request).hash for name, request in requests(host).items()}
        arguments.plain.write_text(json.dumps(pixels, indent=1))
        return
    embedding = ae.load(arguments.embedding)
    name = arguments.embedding.stem
    outside = Outside(arguments.checkpoint, arguments.tokenizer)
    pixels = json.loads(arguments.plain.read_text())
    tests: dict[str, Iterable[tuple[str, bool]]] = {
        "off": off(host, pixels, name),
        "on": on(host, outside, embedding, name, arguments.tolerance),
        "contrast": contrast(host, Sd1(outside), embedding, arguments.embedding.parent, arguments.tolerance),
        "cache": sequences.cache(host, name, arguments.embedding.parent),
        "copies": sequences.copies(host, name),
        "interruptions": sequences.interruptions(host, name),
        "faults": sequences.faults(host, name),
        "neighbours": sequences.neighbours(host, name),
        "models": sequences.models(host, name, arguments.others) if arguments.others else (),
        "towers": towers(host, Sd1(outside), embedding, name, arguments.addons, arguments.tolerance)
        if arguments.addons
        else (),
        "signatures": _signatures(arguments.source) if arguments.source else (),
    }
    failed = 0
    for group, lines in tests.items():
        for line, good in lines if arguments.only in (None, group) else ():
            failed += not good
            print(f"{'ok ' if good else 'BAD'} {group}: {line}", flush=True)
    sys.exit(failed)


def _signatures(folder: Path) -> Iterator[tuple[str, bool]]:
    from .signatures import signatures  # needs gradio, of which the fake's page is made

    yield from signatures(folder)


def off(host: Host, pixels: dict[str, str], name: str) -> Iterator[tuple[str, bool]]:
    """Every plain request, after a personalized one of the same prompt, and once with the extension's box unticked."""
    for i, (line, request) in enumerate(requests(host).items()):
        on = host.txt2img(values(name), **request)
        yield f"{line}: other pixels when on", on.hash != pixels[line]
        again = host.txt2img([False] if i % 2 else None, **request)
        yield f"{line}: pixels as without the extension", again.hash == pixels[line]


def on(
    host: Host, outside: Outside, e: ae.AestheticEmbedding, name: str, tolerance: float
) -> Iterator[tuple[str, bool]]:
    """The host's conditioning against the core's, relative to what tuning changes."""

    def compare(line: str, got: Tensor, prompt: str, settings: ae.Settings, **more: Any) -> tuple[str, bool]:
        plain, want = outside.conditioning(prompt, **more), outside.conditioning(prompt, e, settings, **more)
        return near(f"{line}: as the core's", (got - want).norm() / (want - plain).norm())

    def plain(line: str, got: Tensor, prompt: str) -> tuple[str, bool]:
        want = outside.conditioning(prompt)
        return near(f"{line} stays plain", (got - want).norm() / want.norm())

    def near(line: str, error: Tensor) -> tuple[str, bool]:
        return f"{line} ({error:.1e})", bool(error <= tolerance)

    def first(picture: Picture, part: int = 0, schedule: int = 0) -> Tensor:
        return picture.samplings[0]["c"][0][part][schedule]

    adam, cat = SETTINGS["adam"], "a photo of a cat"
    for kind, settings in SETTINGS.items():
        picture = host.txt2img(values(name, settings))
        yield compare(kind, first(picture), cat, settings)
        yield plain(f"{kind}, negative prompt", picture.samplings[0]["uc"][0][0], "blurry")
    yield compare("two chunks", first(host.txt2img(values(name), prompt=LONG)), LONG, adam)
    broken = "a photo BREAK a cat"
    yield compare("BREAK", first(host.txt2img(values(name), prompt=broken)), broken, adam)
    picture = host.txt2img(values(name), prompt="a (photo:1.3) of a cat")
    yield compare("emphasis", first(picture), cat, adam, multipliers={2: 1.3})
    picture = host.txt2img(values(name), override_settings={"CLIP_stop_at_last_layers": 2})
    yield compare("clip skip", first(picture), cat, adam, clip_skip=2)
    picture = host.txt2img(values(name), prompt="a photo AND a cat :0.7")
    yield compare("AND, first part", first(picture), "a photo", adam)
    yield compare("AND, second part", first(picture, 1), "a cat", adam)
    picture = host.txt2img(values(name), prompt="a [cat:dog:0.5]")
    yield compare("prompt editing, first half", first(picture), "a cat", adam)
    yield compare("prompt editing, second half", first(picture, 0, 1), "a dog", adam)
    literal = "a photo <|endoftext|> of a cat"
    yield compare("a literal end of text", first(host.txt2img(values(name), prompt=literal)), literal, adam)
    yield plain("an empty prompt", first(host.txt2img(values(name), prompt="")), "")

    picture = host.txt2img(values(name, negative=name))
    yield compare("negative prompt with its own embedding", picture.samplings[0]["uc"][0][0], "blurry", adam)
    picture = host.txt2img(values("None", negative=name))
    yield compare("negative prompt alone", picture.samplings[0]["uc"][0][0], "blurry", adam)
    yield plain("negative prompt alone, prompt", first(picture), cat)

    hires = requests(host)["hires"] | {"hr_prompt": "a dog"}
    picture = host.txt2img(values(name), **hires)
    yield compare("hires, first pass", first(picture), cat, adam)
    yield compare("hires, its own prompt", picture.samplings[1]["c"][0][0][0], "a dog", adam)
    picture = host.txt2img(values(name, hires="off"), **hires)
    yield compare("hires off, first pass", first(picture), cat, adam)
    yield plain("hires off, hires pass", picture.samplings[1]["c"][0][0][0], "a dog")


if __name__ == "__main__":
    main()
