"""The nodes in a real ComfyUI, against the core on the same checkpoints.

    python -m tests.hosts.comfy FOLDER --url http://127.0.0.1:8188

FOLDER: ComfyUI's, with this repository and `tests/hosts/comfy_probe` linked into its `custom_nodes`, and with what
`tests.hosts.checkpoints` wrote in `models/checkpoints`, `models/aesthetic_embeddings` and, as `clip-l.safetensors`,
`models/clip_vision`. ComfyUI is started with `--fp32-text-enc`, and with AESTHETIC_CACHE as this command. The CLIPs of
SD3 and Flux are cut out of the checkpoint of SDXL.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import aesthetic_embeddings as ae

from .client import Host
from .networks import merged, write
from .outside import Outside
from .references import Flux, Reference, Sd1, Sd3, Sdxl
from .sequences import Line
from .towers import CAT, LONG

SETTINGS = ae.Settings(steps=4)
NAME = "both"
OUT = Path(__file__).resolve().parent / "comfy_probe/out"
Node = tuple[str, dict[str, Any]]

#: By family, the node that loads its CLIP, and which of the node's outputs that is.
CLIP_FILES = {"clip_l": "conditioner.embedders.0.transformer.", "clip_g": "conditioner.embedders.1.model."}
CLIPS: dict[str, tuple[Node, int]] = {
    "sd1": (("CheckpointLoaderSimple", {"ckpt_name": "sd1.safetensors"}), 1),
    "sdxl": (("CheckpointLoaderSimple", {"ckpt_name": "sdxl.safetensors"}), 1),
    "sd3": (
        (
            "DualCLIPLoader",
            {"clip_name1": "cut-clip_l.safetensors", "clip_name2": "cut-clip_g.safetensors", "type": "sd3"},
        ),
        0,
    ),
    "flux": (("FluxWithSmallT5", {"clip_name": "cut-clip_l.safetensors"}), 0),
}


GROUPS = ["sd1", "pictures", "creation", "interruption", "faults", "aesthetics", "sdxl", "sd3", "flux"]


class Failed(Exception):
    """A workflow ended in an error, which is the text, or was interrupted."""


class Comfy(Host):
    """Workflows are `{id: (node, inputs)}`; an input that comes from a node is `[id, output]`."""

    def run(self, workflow: dict[str, Node]) -> dict[str, Any]:
        """What the history says of it: its outputs, and which nodes were cached. Raises Failed."""
        return self.wait(self.start(workflow))

    def start(self, workflow: dict[str, Node]) -> str:
        nodes = {key: {"class_type": node, "inputs": inputs} for key, (node, inputs) in workflow.items()}
        return self.call("/prompt", {"prompt": nodes})["prompt_id"]

    def wait(self, job: str) -> dict[str, Any]:
        while not (history := self.call(f"/history/{job}")):
            time.sleep(0.2)
        (entry,) = history.values()
        messages = dict(entry["status"]["messages"])
        if entry["status"]["status_str"] != "success":
            raise Failed(str(messages.get("execution_error", {}).get("exception_message", "interrupted")))
        return {**entry["outputs"], "cached": messages["execution_cached"]["nodes"]}


class Lines:
    def __init__(self, comfy: Comfy, folder: Path, clip: Path | None, tolerance: float) -> None:
        self.comfy, self.folder, self.clip, self.tolerance = comfy, folder, clip, tolerance
        self.tokenizer = folder / "comfy/sd1_tokenizer"
        self.e = ae.load(folder / f"models/aesthetic_embeddings/{NAME}.safetensors")
        self.seeds = itertools.count(int(time.time()))

    def graph(
        self,
        family: str,
        prompt: str = CAT,
        settings: ae.Settings | None = SETTINGS,
        lora: str = "",
        skip: int = 1,
        aesthetic: str = NAME,
        clip_node: bool = False,
    ) -> dict[str, Node]:
        """The prompt's conditioning, to the probe; plain where settings is None.

        Else through our own node for text, or with clip_node through ComfyUI's with our CLIP.
        """
        loader, output = CLIPS[family]
        clip: list[Any] = ["loader", output]
        nodes: dict[str, Node] = {"loader": loader, "aesthetic": ("AestheticLoad", {"name": NAME, "mix": aesthetic})}
        if lora:
            given = {"lora_name": lora, "strength_model": 1.0, "strength_clip": 0.8}
            nodes["lora"] = ("LoraLoader", {"model": ["loader", 0], "clip": clip, **given})
            clip = ["lora", 1]
        if skip > 1:
            nodes["skip"] = ("CLIPSetLastLayer", {"clip": clip, "stop_at_clip_layer": -skip})
            clip = ["skip", 0]
        if settings is not None and clip_node:
            nodes["tuned"] = ("AestheticGradients", {"clip": clip, "aesthetic": ["aesthetic", 0], **vars(settings)})
            clip = ["tuned", 0]
        if settings is None or clip_node:
            nodes["text"] = ("CLIPTextEncode", {"clip": clip, "text": prompt})
        else:
            given = {"clip": clip, "prompt": prompt, "aesthetic": ["aesthetic", 0], **vars(settings)}
            nodes["text"] = ("AestheticTextEncode", given)
            nodes["said"] = ("PreviewAny", {"source": ["text", 1]})
        return {**nodes, "probe": ("ConditioningProbe", {"conditioning": ["text", 0], "name": str(next(self.seeds))})}

    def conditioning(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        graph = self.graph(*args, **kwargs)
        self.comfy.run(graph)
        return torch.load(OUT / f"{graph['probe'][1]['name']}.pt")

    def near(self, line: str, got: torch.Tensor, want: torch.Tensor, plain: torch.Tensor) -> Line:
        """Relative to what tuning changes."""
        error = float((got - want).norm() / (want - plain).norm())
        return f"{line}: as the core's ({error:.1e})", error <= self.tolerance

    def against(
        self,
        line: str,
        reference: Reference,
        family: str,
        prompt: str = CAT,
        e: ae.AestheticEmbedding | None = None,
        settings: ae.Settings = SETTINGS,
        **more: Any,
    ) -> Iterator[Line]:
        """Each part of the conditioning, plain and tuned."""
        plain, tuned = reference.conditioning(prompt), reference.conditioning(prompt, e or self.e, settings)
        got, before = (self.conditioning(family, prompt, s, **more) for s in (settings, None))
        for name, part in {"": "cond", "crossattn": "cond", "vector": "pooled"}.items():
            if name not in plain:
                continue
            error = float((before[part][0] - plain[name]).norm() / plain[name].norm())
            yield f"{line}, {part}, plain ({error:.1e})", error <= self.tolerance
            yield self.near(f"{line}, {part}", got[part][0], tuned[name], plain[name])

    def sd1(self) -> Iterator[Line]:
        outside = Outside(self.folder / "models/checkpoints/sd1.safetensors", self.tokenizer)
        reference = Sd1(outside)
        yield from self.against("SD1", reference, "sd1")
        yield from self.against("SD1, two chunks", reference, "sd1", LONG)
        plain = outside.conditioning(CAT, clip_skip=2)
        tuned = outside.conditioning(CAT, self.e, SETTINGS, clip_skip=2)
        yield self.near("SD1, CLIP skip", self.conditioning("sd1", skip=2)["cond"][0], tuned, plain)
        for update, epsilon in (("normalized", 5e-5), ("gradient", 0.1)):
            settings = ae.Settings(steps=4, update=update, epsilon=epsilon)
            want, without = outside.conditioning(CAT, self.e, settings), outside.conditioning(CAT)
            yield self.near(f"SD1, {update}", self.conditioning("sd1", settings=settings)["cond"][0], want, without)
        yield from self.against("SD1, CLIP node", reference, "sd1", clip_node=True)
        text = ae.Settings(steps=4, text="a green sea", text_strength=0.4, weight=0.5, blend="slerp")
        want, without = outside.conditioning(CAT, self.e, text), outside.conditioning(CAT)
        yield self.near("SD1, text and weight", self.conditioning("sd1", settings=text)["cond"][0], want, without)
        yield from self.with_lora("SD1", reference, "sd1")

    def with_lora(self, line: str, reference: Reference, family: str) -> Iterator[Line]:
        file = self.folder / f"models/loras/network-{family}.safetensors"
        write("LoRA", reference.towers, file, reference.layers)
        try:
            with merged("LoRA", reference.towers, file, 0.8):
                yield from self.against(f"{line}, LoRA", reference, family, lora=file.name)
        finally:
            file.unlink()
        yield from self.against(f"{line}, LoRA off again", reference, family)

    def sdxl(self) -> Iterator[Line]:
        reference = Sdxl(self.folder / "models/checkpoints/sdxl.safetensors", self.tokenizer)
        yield from self.against("SDXL", reference, "sdxl")
        yield from self.against("SDXL, two chunks, CLIP node", reference, "sdxl", LONG, clip_node=True)
        yield from self.with_lora("SDXL", reference, "sdxl")

    def sd3(self) -> Iterator[Line]:
        """Without T5, whose part is the same."""
        with self.cut("clip_l", "clip_g"):
            reference = Sd3(self.folder / "models/checkpoints/sdxl.safetensors", self.tokenizer)
            yield from self.against("SD3", reference, "sd3")
            yield from self.against("SD3, CLIP node", reference, "sd3", clip_node=True)

    def flux(self) -> Iterator[Line]:
        with self.cut("clip_l"):
            checkpoint = self.folder / "models/checkpoints/sdxl.safetensors"
            reference = Flux(Outside(checkpoint, self.tokenizer, CLIP_FILES["clip_l"] + "text_model."))
            yield from self.against("Flux", reference, "flux")
            yield from self.against("Flux, CLIP node", reference, "flux", clip_node=True)
            on, off = (self.conditioning("flux", settings=s)["cond"] for s in (SETTINGS, None))
            yield "Flux, T5's part stays", bool(torch.equal(on, off))

    @contextmanager
    def cut(self, *names: str) -> Iterator[None]:
        """While the block runs, CLIPs of SDXL's checkpoint are in files of their own."""
        files = []
        with safe_open(self.folder / "models/checkpoints/sdxl.safetensors", framework="pt") as checkpoint:
            for name in names:
                prefix = CLIP_FILES[name]
                found = [key for key in checkpoint.keys() if key.startswith(prefix)]  # noqa: SIM118
                files.append(self.folder / f"models/text_encoders/cut-{name}.safetensors")
                save_file({key.removeprefix(prefix): checkpoint.get_tensor(key) for key in found}, files[-1])
        try:
            yield
        finally:
            for file in files:
                file.unlink()

    def aesthetics(self) -> Iterator[Line]:
        """A mix, and an aesthetic told apart from ordinary pictures."""
        reference = Sd1(Outside(self.folder / "models/checkpoints/sd1.safetensors", self.tokenizer))
        folder = self.folder / "models/aesthetic_embeddings"
        vectors = {
            family: torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
            for family, x in self.e.vectors.items()
        }
        other = ae.AestheticEmbedding(vectors, name="told-apart", against={f: x / 2 + 0.1 for f, x in vectors.items()})
        file = other.save(folder / "told-apart.safetensors")
        try:
            mixed = ae.blend([(self.e, 0.7), (other, -0.3)])
            yield from self.against("mix", reference, "sd1", e=mixed, aesthetic=f"{NAME}:0.7 told-apart:-0.3")
            settings = ae.Settings(steps=4, contrast=0.5)
            yield from self.against("contrast", reference, "sd1", e=other, settings=settings, aesthetic="told-apart")
        finally:
            file.unlink()

    def pictures(self) -> Iterator[Line]:
        """Plain, with a tuned CLIP, and plain again; equal inputs are not run again."""
        plain, tuned = (self.picture(seed=7, on=on) for on in (False, True))
        yield "another picture when on", plain[0] != tuned[0]
        again = self.picture(seed=7, on=True, steps=2)
        yield "equal inputs are not tuned again", "tuned" in again[1] and "positive" in again[1]
        yield "plain again: the picture of before", self.picture(seed=7, on=False)[0] == plain[0]

    def picture(self, seed: int, on: bool, steps: int = 1) -> tuple[str, list[str]]:
        nodes: dict[str, Node] = {
            "checkpoint": ("CheckpointLoaderSimple", {"ckpt_name": "sd1.safetensors"}),
            "aesthetic": ("AestheticLoad", {"name": NAME, "mix": ""}),
            "tuned": (
                "AestheticGradients",
                {"clip": ["checkpoint", 1], "aesthetic": ["aesthetic", 0], **vars(ae.Settings(steps=3))},
            ),
            "positive": ("CLIPTextEncode", {"clip": ["tuned", 0] if on else ["checkpoint", 1], "text": CAT}),
            "negative": ("CLIPTextEncode", {"clip": ["checkpoint", 1], "text": ""}),
            "latent": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
            "sampled": (
                "KSampler",
                {
                    "model": ["checkpoint", 0],
                    "positive": ["positive", 0],
                    "negative": ["negative", 0],
                    "latent_image": ["latent", 0],
                    "seed": seed,
                    "steps": steps,
                    "cfg": 7.0,
                    "denoise": 1.0,
                    "sampler_name": "euler",
                    "scheduler": "normal",
                },
            ),
            "decoded": ("VAEDecode", {"samples": ["sampled", 0], "vae": ["checkpoint", 2]}),
            "saved": ("SaveImage", {"images": ["decoded", 0], "filename_prefix": f"aesthetic-{next(self.seeds)}"}),
        }
        outputs = self.comfy.run(nodes)
        file = self.folder / "output" / outputs["saved"]["images"][0]["filename"]
        return hashlib.sha256(Image.open(file).convert("RGB").tobytes()).hexdigest(), outputs["cached"]

    def creation(self) -> Iterator[Line]:
        image = self.folder / "input/aesthetic-test.png"
        Image.effect_noise((300, 240), 60).convert("RGB").save(image)
        name = f"made-{next(self.seeds)}"
        outputs = self.comfy.run(
            {
                "image": ("LoadImage", {"image": image.name}),
                "vision": ("CLIPVisionLoader", {"clip_name": "clip-l.safetensors"}),
                "made": (
                    "AestheticCreate",
                    {"images": ["image", 0], "clip_vision": ["vision", 0], "name": name, "save": True},
                ),
                "report": ("PreviewAny", {"source": ["made", 1]}),
                "compared": (
                    "AestheticCompare",
                    {"images": ["image", 0], "clip_vision": ["vision", 0], "aesthetic": ["made", 0]},
                ),
                "said": ("PreviewAny", {"source": ["compared", 0]}),
            }
        )
        file = self.folder / f"models/aesthetic_embeddings/{name}.safetensors"
        yield f"created: {outputs['report']['text']}", file.exists()
        yield f"compared: {outputs['said']['text']}", "1.0000" in outputs["said"]["text"][0]
        names = self.comfy.call("/object_info/AestheticLoad")["AestheticLoad"]["input"]["required"]["name"][0]
        yield "it can be chosen", name in names
        if self.clip:
            both = [each.vectors["clip-vit-l-14"] for each in (ae.load(file), ae.create(image, self.clip, name))]
            cosine = float(torch.cosine_similarity(*both, dim=0))
            yield f"as the core's, but for the resizing (cosine {cosine:.5f})", cosine > 0.999
        file.unlink()

    def interruption(self) -> Iterator[Line]:
        before = self.conditioning("sd1", settings=None)["cond"]
        job = self.comfy.start(self.graph("sd1", "a prompt to be cancelled", ae.Settings(steps=100)))
        time.sleep(4)
        request = urllib.request.Request(f"{self.comfy.url}/interrupt", b"{}", {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=60).close()
        try:
            self.comfy.wait(job)
            yield "cancel ends the tuning", False
        except Failed as error:
            yield f"cancel ends the tuning: {error}", str(error) == "interrupted"
        after = self.conditioning("sd1", settings=None)["cond"]
        yield "the plain conditioning of before", bool(torch.equal(before, after))

    def faults(self) -> Iterator[Line]:
        graph = self.graph("sd1")
        graph["aesthetic"] = ("AestheticLoad", {"name": NAME, "mix": "nobody:1"})
        try:
            self.comfy.run(graph)
            yield "a mix of what is not there", False
        except Failed as error:
            yield f"a mix of what is not there: {error}", "nobody" in str(error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8188")
    parser.add_argument("--clip", type=Path, help="the folder of the whole CLIP, to create with the core as well")
    parser.add_argument("--only", nargs="*", default=GROUPS)
    parser.add_argument("--tolerance", type=float, default=1e-5, help="relative to what tuning changes")
    arguments = parser.parse_args()
    lines = Lines(Comfy(arguments.url), arguments.folder, arguments.clip, arguments.tolerance)
    failed = 0
    for group in arguments.only:
        for line, good in getattr(lines, group)():
            failed += not good
            print(f"{'ok ' if good else 'BAD'} {group}: {line}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
