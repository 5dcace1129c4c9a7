"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .. import pocket
from ..settings import Settings
from .terminal import printable

Command = TypeVar("Command", bound=Callable[..., Any])

POCKET = "pocket"
DTYPES = ("float32", "float16", "bfloat16")


class FiniteRange(click.FloatRange):
    """A range of numbers to which `nan` and `inf` do not belong."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


class NewName(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """A name for an aesthetic to be made. `dusk=0.7` is none: other commands read it as a name with its weight."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if found := re.search(r"=\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?$", value):
            shown = printable(value)
            self.fail(f"{shown!r} reads as a name with the weight {found[0][1:].strip()}: choose another.", param, ctx)
        return str(value)


class Device(click.ParamType):  # type: ignore[type-arg]
    """A device of torch's that works on this machine."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        import torch

        try:
            torch.zeros(1, device=value)
        except Exception as error:  # each kind of device has its own way to say so
            reason = printable((str(error).splitlines() or [""])[0])
            self.fail(f"{printable(value)!r} is no device that torch can use here ({reason}).", param, ctx)
        return str(value)


class Model(click.ParamType):  # type: ignore[type-arg]
    """A model's or an encoder's folder, hub id or file; `pocket` is the bundled model."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(pocket.MODEL) if value == POCKET else str(value)


def model_name(model: str) -> str:
    """What a picture or an embedding file says that it was made with."""
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
    "--device", type=Device(), help="Such as cpu, cuda:1 or mps.", show_default="the GPU where there is one"
)
dtype = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Precision of the model's weights.",
    show_default="float16 on a GPU of NVIDIA's kind, else float32",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace an aesthetic of that name.")


def seed(**default: Any) -> Callable[[Command], Command]:
    """The option `--seed`, with a default of the command's own."""
    kind = click.IntRange(0, 2**32 - 1)
    return click.option("--seed", type=kind, help="First seed; increments per image.", **default)


def settings(command: Command) -> Command:
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
