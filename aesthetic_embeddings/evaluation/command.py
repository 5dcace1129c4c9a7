"""The command `aesthetic-gradients evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .. import pocket
from ..aesthetics.library import Library
from ..errors import AestheticError
from ..settings import Settings


@click.command()
@click.option("--aesthetic", "aesthetics", multiple=True, required=True, metavar="NAME", help="Repeatable.")
@click.option("--model", default="pocket", help="Diffusers folder, cached hub id, or checkpoint.")
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file, one prompt per line.",
    show_default="the paper's 25; for the pocket model 25 that it knows",
)
@click.option("--images", type=click.IntRange(1, 1000), default=6, help="Images per prompt.")
@click.option(
    "--variants",
    default="original,keyword,personalized",
    metavar="A,B,...",
    help="Of original, keyword, personalized, presets (safe-start, strong), NAME:steps=20:epsilon=2e-4.",
)
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of an aesthetic scorer (Simulacra's, LAION's). Repeatable.",
)
@click.option(
    "--encoder",
    help="Whole CLIP that scores the images: folder, or hub id in the local cache.",
    show_default="the model's own, where it is whole",
)
@click.option("--steps", type=int, default=Settings.steps, help="Tuning steps of `personalized`.")
@click.option("--epsilon", type=float, default=Settings.epsilon, help="Step size of `personalized`.")
@click.option(
    "--projection", type=click.Path(exists=True, path_type=Path), help="File or folder with the text projection."
)
@click.option("--sampler-steps", type=click.IntRange(1, 1000), default=20)
@click.option("--cfg", type=click.FloatRange(0, 100), default=5.0, help="Guidance scale.")
@click.option(
    "--size", type=click.IntRange(8, 8192), nargs=2, default=None, metavar="W H", help="By default the model's."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="First seed; increments per image.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, help="Processes that share the work.")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results."
)
@click.pass_context
def evaluate(ctx: click.Context, /, aesthetics: Sequence[str], scorers: Sequence[Path], **options: Any) -> None:
    """Compare original and personalized images over many prompts: the paper's experiment, on any model.

    Writes every image with its settings and scores, results.jsonl, results.csv, and a page with all figures. The same
    command continues a run that was stopped.
    """
    try:
        from .evaluate import evaluate as run
        from .experiment import PROMPTS, Experiment, read_prompts, variants
        from .scorers import load_scorer
    except ModuleNotFoundError as error:
        raise AestheticError(f"{error.name} is missing: pip install '.[evaluate]'") from error
    from ..cli import library, out, progress

    all_: Library = library(ctx)
    model, prompts = options["model"], options["prompts"]
    settings = dataclasses.replace(Settings(), steps=options["steps"], epsilon=options["epsilon"])
    experiment = Experiment(
        model=model,
        aesthetics=tuple(all_.get(name) for name in aesthetics),
        variants=variants(options["variants"], settings),
        prompts=read_prompts(prompts) if prompts else pocket.PROMPTS if model == "pocket" else PROMPTS,
        images=options["images"],
        seed=options["seed"],
        sampler_steps=options["sampler_steps"],
        cfg=options["cfg"],
        size=options["size"],
    )
    encoder = options["encoder"] or (model if model == "pocket" or (Path(model) / "config.json").is_file() else None)
    with progress("images") as advance:
        page = run(
            experiment,
            options["output"],
            encoder=encoder,
            scorers={path.stem: load_scorer(path) for path in scorers},
            projection=options["projection"],
            jobs=options["jobs"],
            on_progress=advance,
        )
    out.print(str(page), soft_wrap=True)
