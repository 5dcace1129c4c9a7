"""The pictures that one page was given: which are taken, what encoders make of them, which are unlike the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor

from ... import pocket
from ...aesthetics.creation import Creation, combine, create_each
from ...aesthetics.embedding import AestheticEmbedding, merge
from ...aesthetics.image_encoder import Encoder
from ...errors import AestheticError
from .. import picture_html

MAX_PICTURES = 500
MAX_PIXELS = 64_000_000  # of one picture: 0.2 GB once unpacked


@dataclass(frozen=True)
class Pictures:
    """creations: one for each encoder. thumbnails: file -> WebP. refused: (file, reason) of what was not embedded."""

    creations: tuple[Creation, ...] = ()
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    refused: tuple[tuple[str, str], ...] = ()

    def aesthetic(self, name: str) -> AestheticEmbedding:
        """With a vector from each encoder."""
        return merge([creation.embedding for creation in self.creations], name)

    def preview(self) -> bytes:
        """The most typical pictures as one, a PNG."""
        first = self.creations[0]
        ranked = [first.files[i] for i in first.similarities.argsort(descending=True).tolist()]
        return picture_html.mosaic([self.thumbnails[file] for file in ranked if file in self.thumbnails])

    def without(self, files: Collection[str]) -> Pictures:
        rest = {file: picture for file, picture in self.thumbnails.items() if file not in files}
        if not rest:
            return Pictures()
        return Pictures(tuple(combine([each], files) for each in self.creations), rest, self.refused)

    def outliers(self) -> list[str]:
        """The files that are unlike the others."""
        if not self.creations:
            return []
        first = self.creations[0]
        return [file for file, is_odd in zip(first.files, first.outliers(), strict=True) if is_odd]


def add(
    before: Pictures, files: Sequence[str], encoders: Sequence[Encoder], on_progress: Callable[[str, int, int], None]
) -> Pictures:
    """The pictures with more files, each embedded by every encoder. Raises AestheticError where none can be read.

    on_progress: called with an encoder's name, the number of pictures done, and of all.
    """
    new = [file for file in dict.fromkeys(files) if file not in before.thumbnails and not _hidden(file)]
    if not new:
        raise AestheticError("These pictures are here already.")
    accepted, refused = select(new, MAX_PICTURES - len(before.thumbnails))
    if not accepted:
        file, reason = refused[0]
        raise AestheticError(f"All {len(refused)} pictures were refused. {Path(file).name}: {reason}.")
    try:
        now = create_each(accepted, encoders, on_progress=on_progress)
        creations = [combine([*before.creations[i : i + 1], each]) for i, each in enumerate(now)]
    except AestheticError as error:
        text = str(error)
        for file in accepted:  # the folders of uploads mean nothing to people
            text = text.replace(file, Path(file).name)
        raise type(error)(text) from error
    thumbnails = dict(before.thumbnails)
    for file in creations[0].files:
        if file not in thumbnails:
            with suppress(OSError):  # it could be read a moment ago
                thumbnails[file] = picture_html.thumbnail(file)
    return Pictures(tuple(creations), thumbnails, (*before.refused, *refused))


def mean(files: Sequence[str], encoders: Sequence[Encoder]) -> Mapping[str, Tensor]:
    """CLIP family -> the mean of pictures that are not shown. Raises AestheticError where none can be read."""
    accepted, refused = select(files, MAX_PICTURES)
    if not accepted:
        raise AestheticError(f"All {len(refused)} ordinary pictures were refused: {refused[0][1]}.")
    return merge([each.embedding for each in create_each(accepted, encoders)]).vectors


def select(files: Sequence[str], room: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The files that may be read, and (file, reason) of the others."""
    accepted: list[str] = []
    refused: list[tuple[str, str]] = []
    for file in files:
        width = height = 0
        with suppress(Exception), Image.open(file) as image:  # reads the size alone; other faults are reported later
            width, height = image.size
        if width * height > MAX_PIXELS:
            refused.append((file, f"too large: {width} × {height} pixels"))
        elif len(accepted) >= room:
            refused.append((file, f"too many: the limit is {MAX_PICTURES}"))
        else:
            accepted.append(file)
    return accepted, refused


def key(file: str) -> str:
    """What identifies a file in the page: its name, and that of the folder that gradio named by its content."""
    return "/".join(Path(file).parts[-2:])


def samples() -> list[str]:
    """A dozen bundled pictures of one kind, and one of another."""
    return [*map(str, sorted((pocket.SAMPLES / "cloudcore").iterdir())), str(pocket.SAMPLES / "gloomcore" / "01.png")]


def _hidden(file: str) -> bool:
    return Path(file).name.startswith(".")
