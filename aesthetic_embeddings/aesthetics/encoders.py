"""The published CLIPs that encode pictures for the usual models: where to get them, and where they are here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import EncoderError


@dataclass(frozen=True)
class KnownEncoder:
    """A CLIP with a vision tower, as published on the hub.

    name: of its folder, and of the encoder in embeddings. family: of its vectors (see families.py). gigabytes: the size
    of its weights. files: the needed files of the repository, all in one folder, first the configuration and last the
    weights.
    """

    label: str
    name: str
    repository: str
    family: str
    gigabytes: float
    files: tuple[str, ...] = ("config.json", "preprocessor_config.json", "model.safetensors")

    @property
    def file_names(self) -> str:
        *others, last = (Path(file).name for file in self.files)
        return f"{', '.join(others)} and {last}"

    @property
    def download_command(self) -> str:
        """Downloads only the needed files: repositories hold the same weights in several formats."""
        return f"hf download {self.repository} {' '.join(self.files)} --local-dir ."

    def located(self, *folders: Path) -> Path | None:
        """Its folder: one of its name in `folders`, else the one in the hub's local cache; None if there is none."""
        from huggingface_hub import try_to_load_from_cache

        for folder in folders:
            place = folder / self.name
            if (place / "config.json").is_file() and any(place.glob("*.safetensors")):
                return place
        found = [try_to_load_from_cache(self.repository, name) for name in (self.files[0], self.files[-1])]
        return Path(found[0]).parent if all(isinstance(path, str) for path in found) else None  # type: ignore[arg-type]

    def folder(self) -> Path:
        """As `located`. Raises EncoderError, which says how to get it, if it is not on this machine."""
        if found := self.located():
            return found
        raise EncoderError(
            f"{self.label} is not on this machine yet. Download it once ({self.gigabytes:.2f} GB): "
            f"hf download {self.repository} {' '.join(self.files)}"
        )


ENCODERS = (
    KnownEncoder(
        label="CLIP ViT-L/14",
        name="clip-vit-large-patch14",
        repository="openai/clip-vit-large-patch14",
        family="clip-vit-l-14",
        gigabytes=1.71,
    ),
    KnownEncoder(
        label="OpenCLIP ViT-H/14",
        name="CLIP-ViT-H-14-laion2B-s32B-b79K",
        repository="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        family="open-clip-vit-h-14",
        gigabytes=3.94,
    ),
    KnownEncoder(
        label="OpenCLIP ViT-bigG/14",
        name="CLIP-ViT-bigG-14-laion2B-39B-b160k",
        repository="h94/IP-Adapter",  # its image encoder alone, in half precision: the whole CLIP is 10 GB
        family="open-clip-vit-bigg-14",
        gigabytes=3.69,
        files=("sdxl_models/image_encoder/config.json", "sdxl_models/image_encoder/model.safetensors"),
    ),
)


def encoder_of_family(family: str) -> KnownEncoder | None:
    """The encoder that makes vectors of this family; None if none does."""
    return next((encoder for encoder in ENCODERS if encoder.family == family), None)


def encoder_name(source: str) -> str:
    """The name of an encoder in its embeddings, from its folder or hub id.

    The hub's cache names folders by revisions, so the repository's name is used. A folder called "model", such as the
    pocket model's, takes the name of its parent folder.
    """
    folder = Path(source)
    if not folder.is_dir():
        return source
    folder = folder.resolve()
    cached = next((part for part in folder.parts if part.startswith("models--") and "snapshots" in folder.parts), None)
    if cached is None:
        return folder.parent.name if folder.name == "model" else folder.name
    repository = cached.removeprefix("models--").replace("--", "/")
    for known in ENCODERS:
        if known.repository == repository and folder.match(f"*/{PurePosixPath(known.files[0]).parent}"):
            return known.name
    return repository.rpartition("/")[2]
