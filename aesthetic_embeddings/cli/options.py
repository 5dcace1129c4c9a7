"""Options that several commands share, and their types."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .. import pocket
from ..engines import Ray
from ..settings import Settings
from .terminal import printable

Command = TypeVar("Command", bound=Callable[..., Any])

POCKET = "pocket"
DTYPES = ("float32", "float16", "bfloat16")
ENGINES = ("local", "ray")


class FiniteRange(click.FloatRange):
    """A range of numbers without `nan` and `inf`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


class NewName(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """The name of a new aesthetic. `dusk=0.7` is refused: other commands would read it as a name with a weight."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if weight := re.search(r"=\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?$", value):
            name = printable(value)
            self.fail(f"{name!r} reads as a name with the weight {weight[0][1:].strip()}: choose another.", param, ctx)
        return str(value)


class Device(click.ParamType):  # type: ignore[type-arg]
    """A torch device that works on this machine."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        import torch

        try:
            torch.zeros(1, device=value)
        except Exception as error:  # each kind of device raises its own errors
            reason = printable((str(error).splitlines() or [""])[0])
            self.fail(f"{printable(value)!r} is no device that torch can use here ({reason}).", param, ctx)
        return str(value)


class Model(click.ParamType):  # type: ignore[type-arg]
    """The folder, hub id or file of a model or an encoder. `pocket` is the bundled model."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(pocket.MODEL) if value == POCKET else str(value)


def model_name(model: str) -> str:
    """The model's name in the metadata of pictures and embeddings."""
    return POCKET if model == str(pocket.MODEL) else model


model = click.option("--model", type=Model(), default=POCKET, help="Diffusers folder, cached hub id, or checkpoint.")
projection = click.option(
    "--projection", type=click.Path(exists=True, path_type=Path), help="File or folder with the text projection."
)
sampler_steps = click.option("--sampler-steps", type=click.IntRange(1, 1000), default=20)
cfg = click.option("--cfg", type=FiniteRange(0, 100), default=5.0, help="Guidance scale.")
size = click.option(
    "--size",
    type=click.IntRange(8, 8192),
    nargs=2,
    default=None,
    metavar="W H",
    help="Width and height in pixels.",
    show_default="the model's own",
)
device = click.option(
    "--device", type=Device(), help="Such as cpu, cuda:1 or mps.", show_default="the GPU if there is one"
)
dtype = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Precision of the model's weights.",
    show_default="float16 with CUDA, else float32",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace an aesthetic of that name.")


def engine(command: Command) -> Command:
    """Add the options `--engine`, `--address` and `--gpus`, which `make_engine` takes."""
    where = click.option("--engine", type=click.Choice(ENGINES), default=ENGINES[0], help="This machine, or Ray Data.")
    address = click.option(
        "--address", help="Address of a Ray cluster; auto: the one of this machine.", show_default="this machine alone"
    )
    gpus = click.option("--gpus", type=click.IntRange(0), default=0, help="Number of GPUs for Ray.")
    return where(address(gpus(command)))


def make_engine(engine: str, address: str | None, gpus: int, per_gpu: int, jobs: int = 1) -> Ray | None:
    """The Ray that the options name, or None for this machine.

    per_gpu: the number of workers that share a GPU. jobs: the processes of this machine that a command asks for.
    """
    if engine == "ray":
        if jobs > 1:
            raise click.UsageError("--jobs is for this machine. Ray takes as many workers as the cluster has room for.")
        return Ray(address, gpus, per_gpu)
    if address or gpus:
        raise click.UsageError("--address and --gpus are for --engine ray.")
    return None


def seed(**kwargs: Any) -> Callable[[Command], Command]:
    """The option `--seed`. kwargs: further arguments, such as the default."""
    seed_type = click.IntRange(0, 2**32 - 1)
    return click.option("--seed", type=seed_type, help="First seed; increments per image.", **kwargs)


def settings(command: Command) -> Command:
    """Add an option for each field of `Settings`, with the field's type, choices and help."""
    for field in reversed(dataclasses.fields(Settings)):
        info, value_type = field.metadata, type(field.default)
        flag = f"--{field.name.replace('_', '-')}"
        if value_type is bool:
            option = click.option(flag, is_flag=True, help=info["help"])
        elif info["choices"]:
            option = click.option(flag, type=click.Choice(info["choices"]), default=field.default, help=info["help"])
        else:
            option = click.option(flag, type=value_type, default=field.default, help=info["help"])
        command = option(command)
    return command
