"""The differential test in a real SD.Next, against SD.Next without the extension and against the core.

    python -m tests.hosts.sdnext plain.json --url http://127.0.0.1:7860                  # without the extension
    python -m tests.hosts.sdnext plain.json --url http://127.0.0.1:7860 --models FOLDER  # with it

FOLDER: SD.Next's `models`, which has in `Diffusers` pipelines called `sd1` and `sdxl` and in `aesthetic_embeddings` one
called `both`. For the second run this project and `tests/hosts/sdnext_probe` are linked into SD.Next's `extensions`.
AESTHETIC_CACHE is the same here and there, and SD.Next computes in fp32.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import aesthetic_embeddings as ae
from aesthetic_embeddings.diffusion.pipelines import personalized_prompt

from .client import Host, Picture
from .networks import merged, write
from .outside import Outside
from .sequences import Line, values

OUT = Path(__file__).resolve().parent / "sdnext_probe/out"
GROUPS = ("off", "on", "lora", "cache", "infotext", "interruption", "sdxl")
NAME = "both"
CAT, LONG = "a photo of a cat", " ".join(["a castle on a hill above the sea"] * 24)
PLAIN: dict[str, dict[str, Any]] = {
    "a prompt": {},
    "no negative prompt": {"negative_prompt": ""},
    "a long negative prompt": {"negative_prompt": LONG},
    "emphasis": {"prompt": "a (red:1.3) cat (dog:0.7)"},
    "BREAK": {"prompt": "a cat BREAK in the snow"},
    "prompt editing": {"prompt": "a [cat:dog:0.5]"},
    "many chunks": {"prompt": LONG},
    "clip skip": {"clip_skip": 2},
    "xhinker": {"override_settings": {"prompt_attention": "xhinker"}},
    "fixed": {"override_settings": {"prompt_attention": "fixed"}},
    "batches": {"batch_size": 2, "n_iter": 2},
    "hires": {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "None", "hr_force": True, "hr_second_pass_steps": 2},
    "a prompt again": {},
}
SETTINGS = {
    "adam": ae.Settings(steps=4),
    "normalized": ae.Settings(steps=4, update="normalized", epsilon=5e-5),
    "weight 0.5, slerp": ae.Settings(steps=4, weight=0.5, blend="slerp"),
    "a text": ae.Settings(steps=4, text="snow", text_strength=0.5),
}


def pictures(host: Host, given: list[Any] | None = None, **request: Any) -> Picture:
    return host.txt2img(given, **{"override_settings": {}, **request})


def conditioning(host: Host, given: list[Any] | None = None, **request: Any) -> dict[str, Tensor]:
    """What the first pass is given."""
    pictures(host, given, **request)
    return torch.load(min(OUT.glob("*.pt")))


def comments() -> str:
    """What stands under the latest pictures."""
    return (OUT / "comments.txt").read_text(encoding="utf-8")


def near(line: str, got: Tensor, want: Tensor, plain: Tensor, tolerance: float = 1e-4) -> Line:
    """Relative to what tuning changes."""
    error = float((got - want).norm() / (want - plain).norm())
    return f"{line}: as the core's ({error:.1e})", error <= tolerance


def off(host: Host, hashes: dict[str, str]) -> Iterator[Line]:
    for line, request in PLAIN.items():
        tuned = pictures(host, values(NAME), **request).hash
        yield f"{line}: tuned", (tuned == hashes[line]) == (line == "fixed")
        for given in (None, [False]):
            same = pictures(host, given, **request).hash == hashes[line]
            yield f"{line}: {'off' if given else 'without arguments'}, pixel for pixel", same


def on(host: Host, models: Path) -> Iterator[Line]:
    folder = models / "Diffusers/sd1"
    e = ae.load(models / f"aesthetic_embeddings/{NAME}.safetensors")
    outside = Outside(folder / "text_encoder/model.safetensors", folder / "tokenizer", at="")

    def against(line: str, settings: ae.Settings, skip: int = 1, prompt: str = CAT, **request: Any) -> Iterator[Line]:
        request |= {"prompt": prompt, "clip_skip": skip}
        plain, tuned = conditioning(host, **request), conditioning(host, values(NAME, settings), **request)
        want = outside.conditioning(prompt, e, settings, clip_skip=skip)[None]
        if prompt == LONG:  # compel gives every chunk the first one's state of the end of text
            ends = (outside.prompts.chunks(prompt).flatten() == outside.prompts.tokenizer.eos_token_id).nonzero()[:, 0]
            firsts = torch.stack([ends[ends // 77 == chunk][0] for chunk in (ends // 77).unique()])
            want[:, firsts] = want[:, firsts[:1]]
        yield near(line, tuned["prompt_embeds"], want, plain["prompt_embeds"])
        same = torch.equal(tuned["negative_prompt_embeds"], plain["negative_prompt_embeds"])
        yield f"{line}: the negative prompt stays plain", same

    for line, settings in SETTINGS.items():
        yield from against(line, settings)
    for line, more in {
        "BREAK": {"prompt": "a cat BREAK in the snow"},
        "long": {"prompt": LONG},
        "skip": {"skip": 2},
    }.items():
        yield from against(line, SETTINGS["adam"], **more)
    plain = conditioning(host, prompt=CAT, negative_prompt="blurry")
    tuned = conditioning(host, values("None", negative=NAME), prompt=CAT, negative_prompt="blurry")
    want = outside.conditioning("blurry", e, SETTINGS["adam"])[None]
    yield near("negative", tuned["negative_prompt_embeds"], want, plain["negative_prompt_embeds"])
    yield "negative: the prompt stays plain", torch.equal(tuned["prompt_embeds"], plain["prompt_embeds"])
    tagged = conditioning(host, prompt=f"{CAT}<aesthetic:{NAME}:1:steps=4>")["prompt_embeds"]
    yield near("a tag", tagged, outside.conditioning(CAT, e, SETTINGS["adam"])[None], plain["prompt_embeds"])


def lora(host: Host, models: Path) -> Iterator[Line]:
    """A LoRA of the text encoder, which SD.Next applies only if its option says so."""
    folder = models / "Diffusers/sd1"
    e = ae.load(models / f"aesthetic_embeddings/{NAME}.safetensors")
    outside = Outside(folder / "text_encoder/model.safetensors", folder / "tokenizer", at="")
    file, towers = models / "Lora/probe.safetensors", {"lora_te": outside.encoder}
    plain = conditioning(host, prompt=CAT)["prompt_embeds"]
    write("LoRA", towers, file, slice(None))
    host.call("/sdapi/v1/options", {"lora_apply_te": True})
    try:
        host.call("/sdapi/v1/refresh-loras", {})
        prompt = f"{CAT}<lora:probe:0.8>"
        with_lora = conditioning(host, prompt=prompt)["prompt_embeds"]
        tuned = conditioning(host, values(NAME, SETTINGS["adam"]), prompt=prompt)["prompt_embeds"]
        with merged("LoRA", towers, file, 0.8):
            want_plain, want = outside.conditioning(CAT)[None], outside.conditioning(CAT, e, SETTINGS["adam"])[None]
        yield near("without an aesthetic", with_lora, want_plain, plain, 1e-3)
        yield near("tuned", tuned, want, with_lora, 1e-3)
        yield "gone with its tag", torch.allclose(conditioning(host, prompt=CAT)["prompt_embeds"], plain, atol=1e-5)
    finally:
        host.call("/sdapi/v1/options", {"lora_apply_te": False})
        file.unlink()


def cache(host: Host, models: Path) -> Iterator[Line]:
    plain, first = pictures(host).hash, pictures(host, values(NAME)).hash
    seen = {plain, first}
    others = {
        "steps": values(NAME, ae.Settings(steps=5)),
        "epsilon": values(NAME, ae.Settings(steps=4, epsilon=2e-4)),
        "weight": values(NAME, ae.Settings(steps=4, weight=0.5)),
        "another aesthetic": values("dusk"),
        "the negative prompt's": values("None", negative=NAME),
    }
    for line, given in others.items():
        count = len(seen)
        seen.add(pictures(host, given).hash)
        yield f"{line}: another picture", len(seen) == count + 1
        again = pictures(host, values(NAME)).hash
        yield f"{line}: back is the first picture", again == first
        yield f"{line}: which is reused", "(reused)" in comments()
        yield f"{line}: plain is plain", pictures(host).hash == plain


def infotext(host: Host, models: Path) -> Iterator[Line]:
    text = pictures(host, values(NAME, ae.Settings(steps=4, text="snow, ice: rain"))).infotext
    for part in (f"Aesthetic embedding: {NAME}", "Aesthetic steps: 4", '"snow, ice: rain"', "Aesthetic similarity: "):
        yield f"written: {part}", part in text
    batch = pictures(host, values(NAME), prompt="a castle", batch_size=2).infotexts
    yield "one similarity for a batch", all("-> " in text and "<function" not in text for text in batch)
    fixed = pictures(host, values(NAME), override_settings={"prompt_attention": "fixed"})
    yield "a parser that is not used is reported", "Aesthetic error" in fixed.infotext
    yield "and under the picture", "did not use its prompt parser" in comments()


def interruption(host: Host, models: Path) -> Iterator[Line]:
    """SD.Next forgets an interrupt when the next part of its job begins: the plain picture is made."""
    prompt, done = f"a prompt of {time.time()}", threading.Event()

    def interrupt() -> None:
        while not done.wait(0.05):
            if "Aesthetic" in str(host.call("/sdapi/v1/progress?skip_current_image=true").get("textinfo")):
                with suppress(ValueError):  # it answers with nothing
                    host.call("/sdapi/v1/interrupt", {})
                return

    plain, thread = pictures(host, prompt=prompt).hash, threading.Thread(target=interrupt)
    thread.start()
    picture = pictures(host, values(NAME, ae.Settings(steps=100)), prompt=prompt)
    done.set()
    thread.join()
    yield "interrupted: plain", picture.hash == plain
    yield "interrupted: reported", "Interrupted, so the prompt stayed plain." in picture.infotext
    yield "the next picture is tuned", pictures(host, values(NAME), prompt=prompt).hash != plain


def sdxl(host: Host, models: Path) -> Iterator[Line]:
    from diffusers import StableDiffusionXLPipeline

    host.call("/sdapi/v1/options", {"sd_model_checkpoint": "Diffusers/sdxl"})
    e, settings = ae.load(models / f"aesthetic_embeddings/{NAME}.safetensors"), ae.Settings(steps=2)
    plain, tuned = conditioning(host, prompt=CAT), conditioning(host, values(NAME, settings), prompt=CAT)
    similar = pictures(host, values(NAME, settings), prompt=CAT).infotext
    yield "both encoders are reported", "clip-vit-l-14" in similar and "open-clip-vit-bigg-14" in similar
    off = conditioning(host, prompt=CAT)
    yield "off is plain", all(torch.equal(off[name], plain[name]) for name in plain)
    host.call("/sdapi/v1/options", {"sd_model_checkpoint": "Diffusers/sd1"})  # its memory is needed here
    pipeline = StableDiffusionXLPipeline.from_pretrained(models / "Diffusers/sdxl", torch_dtype=torch.float32)
    want = personalized_prompt(pipeline, CAT, e, settings, negative_prompt="blurry").arguments
    for name in ("prompt_embeds", "pooled_prompt_embeds"):
        yield near(name, tuned[name], want[name], plain[name])
        yield f"negative_{name} is plain", torch.equal(tuned[f"negative_{name}"], plain[f"negative_{name}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plain", type=Path, help="the pictures of the host without the extension")
    parser.add_argument("--url", required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS)
    options = parser.parse_args()
    host = Host(options.url)
    if options.models is None:
        found = {line: pictures(host, **request).hash for line, request in PLAIN.items()}
        options.plain.write_text(json.dumps(found, indent=1))
        return 0
    bad = count = 0
    for group in options.only:
        argument = json.loads(options.plain.read_text()) if group == "off" else options.models
        for line, good in globals()[group](host, argument):
            print(f"{'ok ' if good else 'BAD'} {group}: {line}", flush=True)
            bad, count = bad + (not good), count + 1
    print(f"{count - bad} of {count}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
