"""The command `aesthetic-gradients evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .. import pocket
from ..aesthetics.scorers import load_scorer
from ..evaluation.evaluate import evaluate as run_evaluation
from ..evaluation.experiment import PROMPTS, Experiment, read_prompts, variants
from ..evaluation.scoring import default_encoder
from ..settings import Settings
from . import options
from .library import Folders
from .terminal import note, progress, say


@click.command()
@click.option("--aesthetic", "aesthetics", multiple=True, required=True, metavar="NAME", help="Repeatable.")
@click.option("--model", default=options.POCKET, help="Diffusers folder, cached hub id, or checkpoint.")
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
    help="Among original, keyword, personalized, presets (safe-start, strong), NAME:steps=20:epsilon=2e-4.",
)
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    metavar="NAME|FILE",
    help="Aesthetic scorer: one that `fetch` downloaded, such as simulacra-l14 (the paper's), or a file. Repeatable.",
)
@click.option(
    "--encoder",
    help="Complete CLIP that scores the images: folder, or hub id in the local cache.",
    show_default="the model's own if it is complete, else the one that the aesthetic is for",
)
@click.option("--steps", type=int, default=Settings.steps, help="Tuning steps of `personalized`.")
@click.option("--epsilon", type=float, default=Settings.epsilon, help="Step size of `personalized`.")
@options.projection
@options.sampler_steps
@options.cfg
@options.size
@options.seed(default=0)
@click.option("--jobs", type=click.IntRange(1, 64), default=1, help="Processes that share the work.")
@options.engine
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results."
)
@click.pass_obj
def evaluate(folders: Folders, /, aesthetics: Sequence[str], scorers: Sequence[str], **values: Any) -> None:
    """Compare original and personalized images over many prompts: the paper's experiment, on any model.

    Writes every image with its settings and scores, results.jsonl, results.csv, and a page with all figures. The same
    command continues an interrupted run.
    """
    engine = options.make_engine(values["engine"], values["address"], values["gpus"], per_gpu=1, jobs=values["jobs"])
    library = folders.library()
    model, prompts = values["model"], values["prompts"]
    settings = dataclasses.replace(Settings(), steps=values["steps"], epsilon=values["epsilon"])
    experiment = Experiment(
        model=model,
        aesthetics=tuple(library.get(name) for name in aesthetics),
        variants=variants(values["variants"], settings),
        prompts=read_prompts(prompts) if prompts else pocket.PROMPTS if model == "pocket" else PROMPTS,
        images=values["images"],
        seed=values["seed"],
        sampler_steps=values["sampler_steps"],
        cfg=values["cfg"],
        size=values["size"],
    )
    loaded_scorers = {Path(source).stem: load_scorer(source) for source in scorers}
    encoder = values["encoder"] or default_encoder(model, experiment.aesthetics[0].vectors, needed=bool(loaded_scorers))
    if encoder is None:
        note("No CLIP on this machine can score the images, so there will be images and curves, but no scores.")
    with progress("images") as advance:
        page = run_evaluation(
            experiment,
            values["output"],
            encoder=encoder,
            scorers=loaded_scorers,
            projection=values["projection"],
            jobs=values["jobs"],
            engine=engine,
            on_progress=advance,
        )
    say(page)
