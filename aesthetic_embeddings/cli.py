"""The command line: `aesthetic-gradients --help`."""

from __future__ import annotations

import dataclasses
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from . import pocket
from .aesthetics.families import serves
from .aesthetics.library import Library, check_name, default_folders
from .aesthetics.mixes import from_arguments
from .errors import AestheticError
from .settings import Settings

out, notes = Console(highlight=False), Console(stderr=True, highlight=False)


class Commands(click.Group):
    """Shows errors that are meant for the user as one line, with exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AestheticError as error:
            if ctx.params.get("debug"):
                raise
            notes.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
            sys.exit(2)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--library", "folders", multiple=True, type=click.Path(path_type=Path), help="Folder of aesthetics; repeatable."
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def main(ctx: click.Context, folders: tuple[Path, ...], debug: bool) -> None:
    """Any prompt in the taste of a folder of pictures: aesthetic gradients for Stable Diffusion."""
    ctx.obj = list(folders) or default_folders()
    if not debug:
        hush()


def hush() -> None:
    """Keep the libraries' own warnings and bars off the terminal: they speak to developers, and --debug shows them."""
    warnings.simplefilter("ignore")
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")


def library(ctx: click.Context) -> Library:
    return Library(ctx.obj)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar on stderr; yields `advance(done=None, total=None)`, which sets the count, or adds one to it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def advance(done: int | None = None, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total, advance=1 if done is None else None)

        yield advance


@main.command()
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    default=[str(pocket.MODEL)],
    show_default="pocket",
    help="CLIP folder, or hub id in the local cache. Several times: a vector from each, for several model families.",
)
@click.option("--add", is_flag=True, help="Add to the aesthetic NAME, made of the same pictures.")
@click.option("--batch-size", default=8, type=click.IntRange(1), help="Pictures encoded at a time.")
@click.option("--overwrite", is_flag=True, help="Replace an aesthetic of that name.")
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    paths: Sequence[Path],
    encoders: Sequence[str],
    add: bool,
    batch_size: int,
    overwrite: bool,
) -> None:
    """Make the aesthetic NAME from pictures and folders of pictures."""
    from .aesthetics.creation import create_with_report
    from .aesthetics.embedding import merge

    all_ = library(ctx)
    parts = [all_.get(name)] if add else []
    check_name(name) if overwrite or add else all_.check_free(name)
    for encoder in encoders:
        with progress(f"looking at pictures ({Path(encoder).name})") as advance:
            found = create_with_report(list(paths), encoder, name=name, batch_size=batch_size, on_progress=advance)
        made, likeness = found.embedding, float(found.similarities.mean())
        if encoder == str(pocket.MODEL):  # whose folder is only called "model"
            made = dataclasses.replace(made, encoder="pocket")
        parts.append(made)
        (family,) = made.vectors
        out.print(f"{family}: {made.images} pictures, mean similarity to their mean {likeness:.2f}", soft_wrap=True)
    for skipped, reason in found.skipped:
        notes.print(f"skipped {skipped}: {reason}", markup=False, soft_wrap=True)
    out.print(str(all_.save(merge(parts, name), overwrite=overwrite or add)), soft_wrap=True)


@main.command("list")
@click.pass_context
def list_(ctx: click.Context) -> None:
    """List the aesthetics."""
    entries = library(ctx).entries
    if not entries:
        out.print(f"no aesthetics yet in {', '.join(map(str, ctx.obj))}; make one with `aesthetic-gradients create`")
        return
    table = Table("name", "families", "images", "created", "hash", box=None)
    for entry in entries:
        e = entry.embedding
        if e is None or entry.fault:
            notes.print(f"{entry.name}: {entry.fault}", style="red", markup=False, soft_wrap=True)
        else:
            name = entry.name + (f" (same as {entry.duplicate_of})" if entry.duplicate_of else "")
            table.add_row(name, ", ".join(e.vectors), str(e.images or "?"), e.created[:10], e.content_hash[:10])
    out.print(table)


@main.command()
@click.argument("name")
@click.pass_context
def show(ctx: click.Context, name: str) -> None:
    """Show what the aesthetic NAME is, which models it serves, and which others are like it."""
    all_ = library(ctx)
    e = all_.get(name)
    out.print(f"{name}   {e.content_hash[:10]}   {e.images or '?'} images   {e.created}", markup=False)
    out.print(f"encoder {e.encoder or 'unknown'}   {e.notes}", markup=False, soft_wrap=True)
    for family, vector in e.vectors.items():
        out.print(f"\n{family}: {len(vector)} numbers, norm {float(vector.norm()):.3f}; for {serves([family])}")
        for other, likeness in all_.nearest(e, family):
            out.print(f"  {likeness:+.2f}  {other}", markup=False)


@main.command("blend")
@click.argument("new")
@click.argument("parts", nargs=-1, required=True, metavar="NAME=WEIGHT...")
@click.option("--overwrite", is_flag=True)
@click.pass_context
def blend_(ctx: click.Context, new: str, parts: Sequence[str], overwrite: bool) -> None:
    """Save a weighted mix of aesthetics as NEW; a negative weight pushes away: blend dusk sac=0.7 gloom=-0.3"""
    all_ = library(ctx)
    mixed = all_.blend(from_arguments(parts, all_), new)
    out.print(all_.save(mixed, overwrite=overwrite), soft_wrap=True)


@main.command()
@click.argument("old")
@click.argument("new")
@click.pass_context
def rename(ctx: click.Context, old: str, new: str) -> None:
    """Rename the aesthetic OLD to NEW."""
    out.print(library(ctx).rename(old, new), soft_wrap=True)


@main.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def delete(ctx: click.Context, names: Sequence[str], yes: bool) -> None:
    """Delete aesthetics."""
    if not yes:
        click.confirm(f"Delete {', '.join(names)}?", abort=True)
    for name in names:
        out.print(f"deleted {library(ctx).delete(name)}", soft_wrap=True)


@main.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True)
@click.pass_context
def import_(ctx: click.Context, files: Sequence[Path], overwrite: bool) -> None:
    """Copy embedding files, such as .pt files of the old extension, into the library as safetensors."""
    for file in files:
        out.print(library(ctx).import_(file, overwrite=overwrite), soft_wrap=True)


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each field of `Settings`, from its own label, range and help."""
    for field in reversed(dataclasses.fields(Settings)):
        about, kind = field.metadata, type(field.default)
        flag = f"--{field.name.replace('_', '-')}"
        if kind is bool:
            option = click.option(flag, is_flag=True, help=about["help"])
        elif about["choices"]:
            option = click.option(flag, type=click.Choice(about["choices"]), default=field.default, help=about["help"])
        else:
            option = click.option(flag, type=kind, default=field.default, help=about["help"])
        command = option(command)
    return command


@main.command()
@click.argument("prompt")
@click.option(
    "--aesthetic", "aesthetics", multiple=True, required=True, metavar="NAME[=WEIGHT]", help="Repeat it for a mix."
)
@with_settings
@click.option("--negative-prompt", default="", help="Left plain: never personalised.")
@click.option(
    "--model", default=str(pocket.MODEL), show_default="pocket", help="Diffusers folder, cached hub id, or checkpoint."
)
@click.option(
    "--projection", type=click.Path(exists=True, path_type=Path), help="File or folder with the text projection."
)
@click.option(
    "--seed", type=int, default=None, help="Of the first picture; the next ones count up.", show_default="random"
)
@click.option("--count", type=click.IntRange(1, 1000), default=1)
@click.option("--sampler-steps", type=click.IntRange(1, 1000), default=20)
@click.option("--cfg", type=click.FloatRange(0), default=5.0, help="Guidance scale.")
@click.option("--size", type=int, nargs=2, default=None, metavar="W H", help="By default the model's own.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out"), help="PNG file, or folder.")
@click.option("--compare", is_flag=True, help="One sheet: original and personalised side by side.")
@click.pass_context
def generate(ctx: click.Context, /, prompt: str, aesthetics: Sequence[str], **options: Any) -> None:
    """Make pictures of PROMPT in the taste of an aesthetic."""
    from .diffusion.contact_sheet import sheet
    from .diffusion.pipelines import personalized_prompt
    from .diffusion.png_metadata import described, save_picture
    from .diffusion.sampling import load_pipeline, pictures

    settings = Settings(**{field.name: options[field.name] for field in dataclasses.fields(Settings)})
    all_ = library(ctx)
    embedding = all_.blend(from_arguments(aesthetics, all_))
    with notes.status("loading the model"):
        pipeline = load_pipeline(options["model"])
    with progress("tuning the text encoder", settings.steps) as advance:
        conditioning = personalized_prompt(
            pipeline,
            prompt,
            embedding,
            settings,
            negative_prompt=options["negative_prompt"],
            projection=options["projection"],
            on_step=lambda k, _: advance(k),
        )
    for note in conditioning.notes:
        notes.print(note, markup=False, soft_wrap=True)
    for family, similarities in conditioning.similarities.items():
        out.print(
            f"similarity to {embedding.name} ({family}): {similarities[0]:.3f} -> {similarities[-1]:.3f}", markup=False
        )

    first = random.randrange(2**32) if options["seed"] is None else options["seed"]
    seeds, steps = range(first, first + options["count"]), options["sampler_steps"]
    about = described(
        *(prompt, embedding, settings),
        model="pocket" if options["model"] == str(pocket.MODEL) else options["model"],
        negative_prompt=options["negative_prompt"],
        sampler_steps=steps,
        cfg=options["cfg"],
        similarities=conditioning.similarities,
    )

    columns: dict[str, dict[str, Any]] = {f"personalised: {embedding.name}": conditioning.arguments}
    if options["compare"]:
        columns = {"original": {"prompt": prompt, "negative_prompt": options["negative_prompt"]}, **columns}
    rows = []
    with progress("sampling", steps * len(seeds) * len(columns)) as advance:
        series = [
            pictures(pipeline, arguments, seeds, steps=steps, cfg=options["cfg"], size=options["size"], on_step=advance)
            for arguments in columns.values()
        ]
        for seed, *images in zip(seeds, *series, strict=True):
            if options["compare"]:
                rows.append(images)
                continue
            path = single_file(options["output"], f"{seed}.png")
            if len(seeds) > 1 and path == options["output"]:
                path = path.with_stem(f"{path.stem}-{seed}")
            out.print(save_picture(images[0], path, about | {"seed": seed, "size": images[0].size}), soft_wrap=True)
    if options["compare"]:
        path = single_file(options["output"], "compare.png")
        out.print(save_picture(sheet(rows, list(columns)), path, about | {"seeds": list(seeds)}), soft_wrap=True)


def single_file(output: Path, name: str) -> Path:
    """`output` itself where that is a PNG file, else the file `name` in the folder that it is."""
    return output if output.suffix.lower() == ".png" else output / name


@main.command("studio")
@click.option(
    "--model", default=str(pocket.MODEL), show_default="pocket", help="Diffusers folder, cached hub id, or checkpoint."
)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    show_default="the model's own kind",
    help="CLIP folder, or hub id in the local cache, that looks at pictures. Repeatable.",
)
@click.option(
    "--projection", type=click.Path(exists=True, path_type=Path), help="File or folder with the text projection."
)
@click.option(
    "--library",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of aesthetics; repeatable.",
    show_default="that of the other commands",
)
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=None, show_default="the first free one from 7860")
@click.option("--password", default="", help="Asked for by the page; needed where other machines can reach it.")
@click.pass_context
def studio_(ctx: click.Context, /, **options: Any) -> None:
    """Serve a page that shows the method in a browser, and makes aesthetics."""
    try:
        from .studio import app
    except ModuleNotFoundError as error:
        missing = "The studio is not installed"
        raise AestheticError(f"{missing} ({error.name} is missing): pip install '.[studio]'") from error

    host, port, password = (options.pop(name) for name in ("host", "port", "password"))
    app.check_host(host, password)
    folders = options.pop("folders") or ctx.obj
    with notes.status("loading the model"), ExitStack() as ending:
        studio = ending.enter_context(app.studio(folders=folders, **options))
        page = app.launch(studio, host, port, password)
        ending = ending.pop_all()
    with ending:
        out.print(f"The studio is at {page.local_url}, until Ctrl+C.", soft_wrap=True)
        page.block_thread()


@main.command("fetch-projection")
def fetch_projection_() -> None:
    """Download CLIP ViT-L/14's text projection (2.4 MB), which SD1 checkpoints lack, into the cache."""
    from .text_encoder.projection import fetch_projection

    with progress("fetching the text projection") as advance:
        path = fetch_projection(on_progress=advance)
    out.print(path, soft_wrap=True)


@main.command("fetch-last-layer")
def fetch_last_layer_() -> None:
    """Download the last layer of SD2's text encoder (55 MB), which models in diffusers' format lack, into the cache."""
    from .text_encoder.last_layer import fetch_last_layer

    with progress("fetching the last layer") as advance:
        path = fetch_last_layer(on_progress=advance)
    out.print(path, soft_wrap=True)


from .evaluation.command import evaluate  # noqa: E402

main.add_command(evaluate)
