"""SDXL, its refiner and SD2 in a real host, against the core on the same checkpoint's towers.

    python -m tests.hosts.families --url ... --tokenizer FOLDER --embedding FILE sdxl=FILE sd2=FILE ...

Each FILE is a checkpoint that the host knows by its stem; the embedding has a vector for each of their families.
`sdxl=FILE,REFINER` also tests a job with that refiner. --addons also tests what changes the towers (towers.py).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

import aesthetic_embeddings as ae

from .client import Host
from .references import Refiner, Sd2, Sdxl
from .sequences import Line, values
from .towers import CAT, LONG, Towers, first, near, negative

SETTINGS = {
    "adam": ae.Settings(steps=4),
    "normalized": ae.Settings(steps=4, update="normalized", epsilon=5e-5),
    "last layers": ae.Settings(steps=4, update="normalized", epsilon=5e-5, last_layers=2),
}


class Families:
    """The lines for one checkpoint of each family."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.host, self.tolerance = Host(arguments.url), arguments.tolerance
        self.settings = SETTINGS[arguments.update]
        self.tokenizer, self.addons = arguments.tokenizer, arguments.addons
        self.e, self.name = ae.load(arguments.embedding), arguments.embedding.stem
        self.alone = ae.load(arguments.embedding.with_name("sac_8plus.pt"))  # for CLIP ViT-L/14 alone

    def sdxl(self, checkpoint: Path, refiner: Path | None = None) -> Iterator[Line]:
        host, reference = self.host, Sdxl(checkpoint, self.tokenizer)
        plain, both = reference.conditioning(CAT), reference.conditioning(CAT, self.e, self.settings)
        one = reference.conditioning(CAT, self.alone, self.settings, only=["lora_te1"])
        size = host.txt2img().samplings[0]["c"][0][0][0]["vector"][len(plain["vector"]) :]

        picture = host.txt2img(values(self.name, self.settings))
        yield near("both towers", first(picture), both, plain, self.tolerance)
        yield "as many similarities as towers", picture.comments.count("→") == 2
        arc = host.txt2img(values(self.name, replace(self.settings, weight=0.5, blend="slerp")))
        got = first(arc)["vector"][len(plain["vector"]) :]
        yield "blended on an arc: the picture's size stays", bool(torch.equal(got, size))
        picture = host.txt2img(values("sac_8plus", self.settings))
        yield near("a vector for the first tower alone", first(picture), one, plain, self.tolerance)
        yield "the other is said to stay plain", "stays plain" in picture.comments
        own = negative(host.txt2img(negative_prompt=""))["crossattn"]
        picture = host.txt2img(values(self.name, self.settings, negative=self.name), negative_prompt="")
        empty = negative(picture)["crossattn"]
        yield "the empty negative prompt stays as the host has it", bool(torch.equal(empty, own))
        if host.call("/sdapi/v1/options").get("sdxl_zero_neg", True):  # Neo's option; the others always do
            yield "the empty negative prompt stays zero", not empty.any()
        picture = host.txt2img(values(self.name, self.settings), prompt=LONG)
        long, tuned = reference.conditioning(LONG), reference.conditioning(LONG, self.e, self.settings)
        yield near("two chunks", first(picture), tuned, long, self.tolerance)
        if refiner:
            yield from self.refined(reference, refiner)
        if self.addons:
            changes = Towers(host, reference, self.e, self.name, self.addons, self.tolerance)
            yield from changes.networks()
            yield from changes.inversion()

    def refined(self, base: Sdxl, checkpoint: Path) -> Iterator[Line]:
        """A job that changes to the refiner's checkpoint half-way: each model's prompt is tuned in its own towers."""
        reference, request = Refiner(checkpoint, self.tokenizer), {"steps": 4, "refiner_switch_at": 0.5}
        request["refiner_checkpoint"] = checkpoint.stem
        plain, tuned = reference.conditioning(CAT), reference.conditioning(CAT, self.e, self.settings)
        before = base.conditioning(CAT), base.conditioning(CAT, self.e, self.settings)
        without = self.host.txt2img(**request)
        yield near("refiner, off", without.last["c"][0][0][0], plain, plain, self.tolerance)
        picture = self.host.txt2img(values(self.name, self.settings, negative=self.name), **request, negative_prompt="")
        yield near("refiner's job, the base", first(picture), before[1], before[0], self.tolerance)
        yield near("refiner", picture.last["c"][0][0][0], tuned, plain, self.tolerance)
        yield "refiner: the empty negative prompt stays zero", not picture.last["uc"][0][0]["crossattn"].any()
        picture = self.host.txt2img(values("sac_8plus", self.settings), **request)
        yield near("refiner, no vector for it", picture.last["c"][0][0][0], plain, plain, self.tolerance)
        yield "refiner, no vector for it: said", "but this model's text encoder is" in picture.comments
        yield "refiner, off again", self.host.txt2img(**request).hash == without.hash

    def sd2(self, checkpoint: Path) -> Iterator[Line]:
        """A1111 keeps its last layer, which no picture needs; Forge does not: it is in the checkpoint."""
        reference = Sd2(checkpoint, self.tokenizer)
        plain, tuned = reference.conditioning(CAT), reference.conditioning(CAT, self.e, self.settings)
        yield near("on", first(self.host.txt2img(values(self.name, self.settings))), tuned, plain, self.tolerance)
        if self.addons:
            changes = Towers(self.host, reference, self.e, self.name, self.addons, self.tolerance)
            yield from changes.networks()
            yield from changes.inversion()


def off(host: Host, plain: str) -> Iterator[Line]:
    yield "off is plain", host.txt2img().hash == plain


def arguments_for(description: str | None, tolerance: float) -> argparse.ArgumentParser:
    """What a comparison with the core takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--embedding", type=Path, required=True)
    parser.add_argument("--addons", type=Path, help="the host's folder, where networks are put and inversions lie")
    parser.add_argument("--tolerance", type=float, default=tolerance)
    return parser


def main() -> None:
    parser = arguments_for(__doc__, 1e-4)
    help = "for bigG, adam takes 8 GB more than normalized, in the host and here alike, and the last layers take little"
    parser.add_argument("--update", choices=list(SETTINGS), default="adam", help=help)
    arguments = parser.parse_args()
    families = Families(arguments)
    host = families.host
    before = host.call("/sdapi/v1/options")["sd_model_checkpoint"]
    failed = 0
    for given in arguments.checkpoints:
        kind, _, files = given.partition("=")
        paths = [Path(file) for file in files.split(",")]
        host.call("/sdapi/v1/options", {"sd_model_checkpoint": paths[0].stem})
        plain = host.txt2img().hash
        lines = {"sdxl": families.sdxl, "sd2": families.sd2}[kind]
        for line, good in itertools.chain(lines(*paths), off(host, plain)):
            failed += not good
            print(f"{'ok ' if good else 'BAD'} {paths[0].stem}: {line}", flush=True)
    host.call("/sdapi/v1/options", {"sd_model_checkpoint": before})
    sys.exit(failed)


if __name__ == "__main__":
    main()
