"""The pictures uploaded on one page: checks, embeds and compares them."""

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
TOO_MANY = "too many"  # how the reason begins
MAX_PIXELS = 64_000_000  # of one picture, 0.2 GB in memory


@dataclass(frozen=True)
class Pictures:
    """The embedded pictures of a page.

    creations: one for each encoder. thumbnails: file -> WebP. refused: (file, reason) of those not embedded.
    """

    creations: tuple[Creation, ...] = ()
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    refused: tuple[tuple[str, str], ...] = ()

    def aesthetic(self, name: str) -> AestheticEmbedding:
        """Their aesthetic, with a vector from each encoder."""
        return merge([creation.embedding for creation in self.creations], name)

    def preview(self) -> bytes:
        """A mosaic of the most typical pictures, as PNG."""
        first = self.creations[0]
        ranked = [first.files[i] for i in first.similarities.argsort(descending=True).tolist()]
        return picture_html.mosaic([self.thumbnails[file] for file in ranked if file in self.thumbnails])

    def without(self, files: Collection[str]) -> Pictures:
        remaining = {file: picture for file, picture in self.thumbnails.items() if file not in files}
        if not remaining:
            return Pictures()
        return Pictures(tuple(combine([creation], files) for creation in self.creations), remaining, self.refused)

    def outliers(self) -> list[str]:
        """The files that are unlike the others."""
        if not self.creations:
            return []
        first = self.creations[0]
        return [file for file, is_odd in zip(first.files, first.outliers(), strict=True) if is_odd]


def add(
    current: Pictures, files: Sequence[str], encoders: Sequence[Encoder], on_progress: Callable[[str, int, int], None]
) -> Pictures:
    """Embed more files with every encoder. Raises AestheticError if none can be read.

    on_progress: called with an encoder's name, the number of pictures done, and their total.
    """
    new = [file for file in dict.fromkeys(files) if file not in current.thumbnails and not _hidden(file)]
    if not new:
        raise AestheticError("These pictures are here already.")
    accepted, refused = split_readable(new, MAX_PICTURES - len(current.thumbnails))
    if not accepted:
        file, reason = refused[0]
        raise AestheticError(f"All {len(refused)} pictures were refused. {Path(file).name}: {reason}.")
    try:
        new_creations = create_each(accepted, encoders, on_progress=on_progress)
        creations = [
            combine([*current.creations[index : index + 1], creation]) for index, creation in enumerate(new_creations)
        ]
    except AestheticError as error:
        text = str(error)
        for file in accepted:  # users do not know the folders of uploads
            text = text.replace(file, Path(file).name)
        raise type(error)(text) from error
    thumbnails = dict(current.thumbnails)
    for file in creations[0].files:
        if file not in thumbnails:
            with suppress(OSError):  # the file may have changed since it was embedded
                thumbnails[file] = picture_html.thumbnail(file)
    return Pictures(tuple(creations), thumbnails, (*current.refused, *refused))


def mean_vectors(files: Sequence[str], encoders: Sequence[Encoder]) -> Mapping[str, Tensor]:
    """CLIP family -> the mean vector of these pictures. Raises AestheticError if none can be read."""
    accepted, refused = split_readable(files, MAX_PICTURES)
    if not accepted:
        raise AestheticError(f"All {len(refused)} ordinary pictures were refused: {refused[0][1]}.")
    return merge([creation.embedding for creation in create_each(accepted, encoders)]).vectors


def split_readable(files: Sequence[str], limit: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The files that are small enough, up to `limit` of them, and (file, reason) of the others."""
    accepted: list[str] = []
    refused: list[tuple[str, str]] = []
    for file in files:
        width = height = 0
        with suppress(Exception), Image.open(file) as image:  # reads only the size; other errors are reported later
            width, height = image.size
        if width * height > MAX_PIXELS:
            refused.append((file, f"too large: {width} × {height} pixels"))
        elif len(accepted) >= limit:
            refused.append((file, f"{TOO_MANY}: the limit is {MAX_PICTURES}"))
        else:
            accepted.append(file)
    return accepted, refused


def key(file: str) -> str:
    """A file's key on the page: its name and its folder's, which gradio names by the file's content."""
    return "/".join(Path(file).parts[-2:])


def samples() -> list[str]:
    """A dozen bundled pictures of one kind, and one of another."""
    return [*map(str, sorted((pocket.SAMPLES / "cloudcore").iterdir())), str(pocket.SAMPLES / "gloomcore" / "01.png")]


def _hidden(file: str) -> bool:
    return Path(file).name.startswith(".")
