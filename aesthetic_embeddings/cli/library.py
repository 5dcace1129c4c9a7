"""The commands for aesthetics: create, list, show, blend, rename, delete, import."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .. import pocket
from ..aesthetics.embedding import load
from ..aesthetics.library import Entry, Library
from ..aesthetics.mixes import from_arguments
from ..aesthetics.sums import Skipped
from ..engines import local
from ..errors import AestheticError
from ..ui.family_names import models
from . import options, terminal
from .terminal import note, printable, progress, say


@dataclass(frozen=True)
class Folders:
    """The folders of aesthetics. chosen: whether `--library` names them, so that a missing one is an error."""

    paths: Sequence[Path]
    chosen: bool = False

    def library(self, *, new: bool = False) -> Library:
        """The library of these folders. new: whether the first folder may be missing, since the command creates it.

        Raises AestheticError if a chosen folder does not exist.
        """
        missing = [path for path in self.paths[int(new) :] if not path.is_dir()] if self.chosen else []
        if missing:
            raise AestheticError(f"The folder {missing[0]} does not exist. Give the one that holds your aesthetics.")
        return Library(self.paths, [load(pocket.NEUTRAL)])


@click.command()
@click.argument("name", type=options.NewName())
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option(
    "--encoder",
    "encoders",
    type=options.Model(),
    multiple=True,
    default=[options.POCKET],
    help="CLIP folder, or hub id in the local cache. Repeatable: a vector from each, for several model families.",
)
@click.option("--add", is_flag=True, help="Add the vectors to the existing aesthetic NAME of the same pictures.")
@click.option(
    "--against", multiple=True, help="Source of ordinary pictures to tell the aesthetic apart from; repeatable."
)
@click.option("--where", default="", help="Filter on metadata, in SQL: 'AESTHETIC_SCORE > 7 AND width >= 512'.")
@click.option("--against-where", default="", help="Filter for the pictures to tell the aesthetic apart from.")
@options.engine
@click.option("--resume", is_flag=True, help="Continue an interrupted run of the same command.")
@click.option("--batch-size", default=8, type=click.IntRange(1), help="Pictures encoded at a time.")
@click.option("--device", type=options.Device(), default="cpu", help="Such as cpu, cuda:1 or mps.")
@click.option("--allow-pickle", is_flag=True, help="Load an encoder's pytorch_model.bin, which can run code.")
@options.overwrite
@click.pass_obj
def create(
    folders: Folders,
    /,
    name: str,
    sources: Sequence[str],
    encoders: Sequence[str],
    add: bool,
    engine: str,
    address: str | None,
    gpus: int,
    overwrite: bool,
    **kwargs: Any,
) -> None:
    """Create the aesthetic NAME from pictures: folders, files, archives, tables, lists, addresses, features.

    docs/large-sets.md describes each kind of source.
    """
    from ..large_sets.creation import create_in_library

    ray = options.make_engine(engine, address, gpus, per_gpu=4)
    with progress("encoding pictures") as advance:
        creations, path = create_in_library(
            folders.library(new=True),
            name,
            sources,
            encoders,
            lambda _, done, total: advance(done, total),
            if_exists="add" if add else "replace" if overwrite else "refuse",
            engine=ray or local,
            **kwargs,
        )
    for creation in creations:
        (family,) = creation.embedding.vectors
        if kwargs["resume"]:
            note(f"{creation.resumed} parts were done before" if creation.resumed else "there was nothing to resume")
        similarity = f"mean similarity to their mean {creation.similarity_to_mean:.2f}"
        say(f"{family}: {creation.embedding.images} pictures, {similarity}")
    _report_skipped(creations[-1].skipped)
    say(path)


def _report_skipped(skipped: Skipped) -> None:
    for file, reason in skipped.examples:
        note(f"skipped {file}: {reason}")
    if skipped.count > len(skipped.examples):
        for reason, count in skipped.reasons.items():
            note(f"skipped {count} in all: {reason}")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with unreadable files.")
@click.pass_obj
def list_(folders: Folders, as_json: bool) -> None:
    """List the aesthetics."""
    entries = folders.library().entries
    if as_json:
        say(json.dumps([_as_json(entry) for entry in entries]))
        return
    if not entries:
        say(f"no aesthetics yet in {', '.join(map(str, folders.paths))}; make one with `aesthetic-gradients create`")
        return
    rows = []
    for entry in entries:
        e = entry.embedding
        if e is None or entry.fault:
            terminal.error(f"{entry.name}: {entry.fault}")
        else:
            name = entry.name + (f" (same as {entry.duplicate_of})" if entry.duplicate_of else "")
            rows.append((name, ", ".join(e.vectors), str(e.images or "?"), e.created[:10], e.content_hash[:10]))
    terminal.table(("name", "families", "images", "created", "hash"), rows)


@click.command()
@click.argument("name")
@click.pass_obj
def show(folders: Folders, name: str) -> None:
    """Show the aesthetic NAME, the models that it works with, and the most similar aesthetics."""
    library = folders.library()
    e = library.get(name)
    say(f"{name}   {e.content_hash[:10]}   {e.images or '?'} images   {e.created}")
    say(f"encoder {e.encoder or 'unknown'}   {e.notes}")
    for family, vector in e.vectors.items():
        say("")
        say(f"{family}: {len(vector)} numbers, norm {float(vector.norm()):.3f}; for {models([family])}")
        own_share = e.own_share(family)
        if own_share is None:
            say("  there are no ordinary pictures to compare it with, so similarities include what all pictures share")
        else:
            ordinary = "the pictures it is told apart from" if family in e.against else "the neutral embedding"
            say(f"  {own_share:.0%} of it is its own; similarities are without the rest, which {ordinary} also has")
        for other, similarity in library.nearest(e, family):
            say(f"  {similarity:+.2f}  {other}")


@click.command()
@click.argument("new", type=options.NewName())
@click.argument("parts", nargs=-1, required=True, metavar="NAME=WEIGHT...")
@options.overwrite
@click.pass_obj
def blend(folders: Folders, new: str, parts: Sequence[str], overwrite: bool) -> None:
    """Save a weighted mix of aesthetics as NEW; a negative weight pushes away.

    For example: aesthetic-gradients blend dusk sac=0.7 gloom=-0.3
    """
    library = folders.library(new=True)
    say(library.save(library.blend(from_arguments(parts, library), new), overwrite=overwrite))


@click.command()
@click.argument("old")
@click.argument("new", type=options.NewName())
@click.pass_obj
def rename(folders: Folders, old: str, new: str) -> None:
    """Rename the aesthetic OLD to NEW."""
    say(folders.library().rename(old, new))


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def delete(folders: Folders, names: Sequence[str], yes: bool) -> None:
    """Delete aesthetics."""
    library = folders.library()
    if not yes:
        click.confirm(f"Delete {', '.join(map(printable, names))}?", abort=True)
    for name in names:
        say(f"deleted {library.delete(name)}")


@click.command("import")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@options.overwrite
@click.pass_obj
def import_(folders: Folders, files: Sequence[Path], overwrite: bool) -> None:
    """Copy embedding files, such as .pt files of the old extension, into the library as safetensors.

    The file of an aesthetic scorer becomes the direction in which its score grows.
    """
    library = folders.library(new=True)
    for file in files:
        path = library.import_(file, overwrite=overwrite)
        say(path)
        note(library.get(path.stem).notes)


def _as_json(entry: Entry) -> dict[str, Any]:
    e = entry.embedding
    fields = {"name": entry.name, "path": str(entry.path), "fault": entry.fault, "duplicate_of": entry.duplicate_of}
    if e is None:
        return fields
    return fields | {
        "hash": e.content_hash,
        "families": {family: len(vector) for family, vector in e.vectors.items()},
        "images": e.images,
        "created": e.created,
        "encoder": e.encoder,
        "notes": e.notes,
    }
