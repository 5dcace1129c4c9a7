"""The aesthetic embedding: one vector per CLIP family, and its file.

A file is safetensors: one tensor `[dim]` per family, named after it, fp32 and un-normalised, plus string metadata.
Where the aesthetic is told apart from ordinary pictures, their mean is there as well, as `FAMILY/against`.
Files of the old extension (`.pt`, `.bin`: one bare tensor) are read too. What a file is, its bytes say, not its suffix.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import AestheticError, FileError
from ..storage import legacy_pt
from ..storage.paths import write_atomically
from . import families, vectors

SUFFIX = ".safetensors"
SUFFIXES = (SUFFIX, ".pt", ".bin")  # in this order where one folder has the same name under several

_FORMAT, _VERSION = "aesthetic-embedding", "1"
_AGAINST = "/against"
_SIZE_LIMIT = 16 * 2**20  # a vector takes 3 to 5 kB; anything near this is something else


@dataclass(frozen=True, eq=False)
class AestheticEmbedding:
    """`e = mean_i CLIP_vis(x_i)` of some pictures (arXiv 2209.12330, section 3), once per CLIP family.

    Attributes:
        vectors: CLIP family -> `[dim]`, fp32, on the CPU, not normalized. Tensors of other dtypes and devices, and
            `[1, dim]`, are converted. They are copied, so later changes to them do not matter.
        name: The file's name without its suffix; folders below the library's are separated by slashes.
        images: The number of pictures behind it; 0 where unknown.
        created: ISO 8601 time, or empty.
        encoder: The CLIP that encoded the pictures, for people to read.
        notes: Anything else, for people to read.
        against: CLIP family -> `[dim]`, the mean of the ordinary pictures that these are told apart from, on the scale
            of `vectors`. Only the setting `contrast` uses it.
        clips: CLIP family -> which CLIP encoded the pictures (see families.clip_signature), where that is known.

    Raises:
        AestheticError: A vector is not finite, is zero, or has another dimension than its family.
    """

    vectors: Mapping[str, Tensor]
    name: str = ""
    images: int = 0
    created: str = ""
    encoder: str = ""
    notes: str = ""
    against: Mapping[str, Tensor] = field(default_factory=dict)
    clips: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.vectors:
            raise AestheticError("An aesthetic embedding needs at least one vector.")
        families = sorted(self.vectors)
        checked = {family: _checked(family, self.vectors[family]) for family in families}
        against = {
            family: _checked_side(self.against[family], checked[family])
            for family in families
            if family in self.against
        }
        clips = {family: self.clips[family] for family in families if family in self.clips}
        for name, value in {"vectors": checked, "against": against, "clips": clips}.items():
            object.__setattr__(self, name, value)

    @property
    def content_hash(self) -> str:
        """SHA-256 of families and numbers, hexadecimal. Renaming and new notes do not change it."""
        sha = hashlib.sha256()
        for family, vector in _tensors(self).items():
            sha.update(family.encode() + b"\0" + struct.pack(f"<{len(vector)}f", *vector.tolist()))
        return sha.hexdigest()

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the file atomically. Missing folders are made.

        Args:
            path: The new file, `*.safetensors`.
            overwrite: Whether an existing file may be replaced.

        Returns:
            The path.

        Raises:
            FileError: `path` has another suffix, exists and may not be replaced, or cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != SUFFIX:
            raise FileError(f"{path} should end in {SUFFIX}: aesthetic embeddings are saved in that format only.")
        if not overwrite and os.path.lexists(path):
            raise FileError(f"{path} exists already. Choose another name, or allow it to be overwritten.")
        about = {"name": self.name, "images": self.images, "created": self.created, "encoder": self.encoder}
        metadata = {"format": _FORMAT, "version": _VERSION, **about, "notes": self.notes}
        if self.clips:
            metadata["clips"] = json.dumps(self.clips)
        # a name that came from a file system can hold bytes that are not text; metadata must be text
        text = {key: str(value).encode("utf-8", "replace").decode() for key, value in metadata.items()}
        write_atomically(path, safetensors.torch.save(_tensors(self), text))
        return path


def load(path: str | os.PathLike[str]) -> AestheticEmbedding:
    """Read an aesthetic embedding: a safetensors file of ours, or a `.pt` of the old extension.

    No code from the file runs, whatever it holds. A bare vector, as in an old file, belongs to the CLIP family of its
    dimension (768: CLIP ViT-L/14, so SD1).

    Args:
        path: The file. Its content decides how it is read, not its suffix.

    Returns:
        The embedding, called as the file says, else as the file is called.

    Raises:
        FileError: The file is no aesthetic embedding. The text names it and says what to do.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(16)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise FileError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if size == 0:
        raise FileError(f"{path} is empty. Copy or download it again.")
    if size > _SIZE_LIMIT:
        raise FileError(
            f"{path} is too large for an aesthetic embedding ({size / 2**20:.0f} MB), so it is a model or another file."
        )
    if head[8:9] == b"{":  # first of all: the length that stands before it can look like any other file's mark
        return _named(path, *_read(path))
    if head.startswith(b"PK"):
        return _named(path, {"": legacy_pt.read_vector(path)}, {})
    if head.startswith(b"\x80"):
        raise FileError(
            f"{path} is a bare pickle, as torch wrote before version 1.6; it is not read, since it could run code. "
            "If you trust it, open it with torch and save it again."
        )
    raise FileError(
        f"{path} is neither a safetensors nor a .pt file. It may be a web page or a Git LFS pointer, saved in its "
        "place: download it again."
    )


def blend(parts: Sequence[tuple[AestheticEmbedding, float]], name: str = "") -> AestheticEmbedding:
    """A weighted mix, `sum_i w_i e_i / ||e_i||`, for every CLIP family that all parts have.

    Args:
        parts: Embeddings with their weights. A negative weight pushes away.
        name: The name of the result.

    Returns:
        The mix. Its notes list the parts.

    Raises:
        AestheticError: The parts have no family in common, were made with different CLIPs, or cancel.
    """
    if not parts:
        raise AestheticError("A blend needs at least one aesthetic.")
    common = set.intersection(*(set(e.vectors) for e, _ in parts))
    if not common:
        held = "; ".join(f"{e.name or 'one'} has {', '.join(e.vectors)}" for e, _ in parts)
        raise AestheticError(f"These aesthetics have no CLIP family in common ({held}), so they cannot be blended.")
    weights = [w for _, w in parts]
    told_apart = common.intersection(*(e.against for e, _ in parts))
    return AestheticEmbedding(
        {family: vectors.mix([e.vectors[family] for e, _ in parts], weights) for family in common},
        against={
            family: torch.stack([w * e.against[family] / e.vectors[family].norm() for e, w in parts]).sum(0)
            for family in told_apart
        },
        clips={family: clip for family in common if (clip := _one_clip([e for e, _ in parts], family))},
        name=name,
        images=sum(e.images for e, _ in parts),
        created=now(),
        encoder=", ".join(dict.fromkeys(e.encoder for e, _ in parts if e.encoder)),
        notes="blend of " + ", ".join(f"{e.name or e.content_hash[:10]} × {w:g}" for e, w in parts),
    )


def merge(parts: Sequence[AestheticEmbedding], name: str = "") -> AestheticEmbedding:
    """One embedding with the vectors that several CLIPs made of the same pictures.

    Args:
        parts: The embeddings. Of two vectors for one CLIP family the later part's is taken.
        name: The name of the result.

    Returns:
        The merged embedding.

    Raises:
        AestheticError: There are no parts.
    """
    if not parts:
        raise AestheticError("There is nothing to merge.")
    last = {family: e for e in parts for family in e.vectors}
    return AestheticEmbedding(
        {family: e.vectors[family] for family, e in last.items()},
        against={family: e.against[family] for family, e in last.items() if family in e.against},
        clips={family: e.clips[family] for family, e in last.items() if family in e.clips},
        name=name,
        images=max(e.images for e in parts),
        created=now(),
        encoder=", ".join(dict.fromkeys(e.encoder for e in parts if e.encoder)),
        notes="; ".join(dict.fromkeys(e.notes for e in parts if e.notes)),
    )


def contrast(embedding: AestheticEmbedding, neutral: AestheticEmbedding, share: float = 1.0) -> AestheticEmbedding:
    """What sets `embedding` apart from a neutral one: `e / ||e|| - share n / ||n||`, for every family that both have.

    The mean of any pictures lies in the narrow cone in which CLIP has all pictures (Liang et al. 2022, arXiv
    2203.02053), so most of it is not a matter of taste.

    Args:
        embedding: The aesthetic.
        neutral: An embedding of ordinary pictures, made with the same CLIP.
        share: How much of the neutral direction is subtracted.

    Returns:
        The difference. CLIP families that only `embedding` has are left out.

    Raises:
        AestheticError: There is no common family, or nothing is left.
    """
    common = [family for family in embedding.vectors if family in neutral.vectors]
    if not common:
        raise AestheticError(
            f"{embedding.name or 'The aesthetic'} has {', '.join(embedding.vectors)}, the neutral one only "
            f"{', '.join(neutral.vectors)}. Make both with the same CLIP."
        )
    mixed = {f: vectors.mix([embedding.vectors[f], neutral.vectors[f]], [1.0, -share]) for f in common}
    notes = f"{embedding.name or 'one'}, told apart from {neutral.name or 'ordinary pictures'} by {share:g}"
    return replace(embedding, vectors=mixed, against={}, notes=notes)


def with_neutral(embedding: AestheticEmbedding, neutral: AestheticEmbedding) -> AestheticEmbedding:
    """`embedding`, told apart from a neutral one for the families in which it says nothing itself."""
    found = {
        family: neutral.vectors[family] * (vector.norm() / neutral.vectors[family].norm())
        for family, vector in embedding.vectors.items()
        if family in neutral.vectors and family not in embedding.against
    }
    return replace(embedding, against={**embedding.against, **found}) if found else embedding


def now() -> str:
    """This second, ISO 8601, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _checked(family: str, vector: Tensor) -> Tensor:
    with torch.inference_mode(False):  # a tensor born in inference mode could not take part in tuning
        vector = vector.detach().to("cpu", torch.float32, copy=True)
    if vector.dim() == 2 and len(vector) == 1:
        vector = vector[0]
    dim = families.dimension(family)
    if vector.dim() != 1 or (dim is not None and len(vector) != dim):
        sizes = " × ".join(str(n) for n in vector.shape)
        raise AestheticError(f"The vector for {family} has the wrong dimensions: {sizes}, not {dim or 'one row'}.")
    norm = vector.norm()
    if not bool(torch.isfinite(norm)):
        raise AestheticError(f"The vector for {family} has values that are not finite, so it points nowhere.")
    if norm == 0:
        raise AestheticError(f"The vector for {family} is zero, so it points nowhere.")
    return vector.contiguous()


def _checked_side(vector: Tensor, of: Tensor) -> Tensor:
    """The other side of `of`. It may be zero: of a blend whose parts' other sides cancel."""
    with torch.inference_mode(False):
        vector = vector.detach().to("cpu", torch.float32, copy=True).flatten()
    if vector.shape != of.shape or not bool(torch.isfinite(vector).all()):
        raise AestheticError(
            f"What the aesthetic is told apart from should be {len(of)} finite numbers, as the aesthetic itself."
        )
    return vector.contiguous()


def _tensors(e: AestheticEmbedding) -> dict[str, Tensor]:
    """By name, as they are in the file."""
    return {**e.vectors, **{family + _AGAINST: vector for family, vector in e.against.items()}}


def _one_clip(parts: Sequence[AestheticEmbedding], family: str) -> str:
    """The CLIP behind all parts, as far as they know it. Raises AestheticError where there are several."""
    known = [e for e in parts if family in e.clips]
    for e in known[1:]:
        if not families.same_clip(e.clips[family], known[0].clips[family]):
            raise AestheticError(
                f"{known[0].name!r} and {e.name!r} were made with different CLIPs of the shape {family}, so they "
                "cannot be blended. Make them again with the same one."
            )
    return known[0].clips[family] if known else ""


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, and the metadata, of a safetensors file of ours, or of one with a single bare vector (named "")."""
    try:
        # safe_open, as Forge patches safetensors.torch.load_file to rename the files it dislikes
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
            ours = metadata.get("format") == _FORMAT
            if ours and metadata.get("version") != _VERSION:
                raise FileError(
                    f"{path} was made by a newer version of aesthetic gradients (its format is "
                    f"{metadata.get('version')!s:.20}, this version reads {_VERSION}). Update aesthetic gradients."
                )
            if not ours and (fault := _another_kind(names)):
                raise FileError(f"{path} {fault}")
            floats = {"F64", "F32", "F16", "BF16"}
            if any(file.get_slice(name).get_dtype() not in floats for name in names):
                raise FileError(f"{path} holds something else than floating-point numbers, so no aesthetic embedding.")
            return {name if ours else "": file.get_tensor(name) for name in names}, metadata
    except AestheticError:
        raise
    except Exception as error:  # SafetensorError for the most part; whatever it is, it is the file's fault
        raise FileError(f"{path} is damaged or cut short. Copy or download it again.") from error


def _another_kind(names: list[str]) -> str:
    """What a safetensors file without our metadata holds, if it is not a single bare vector."""
    if any("lora" in name.lower() for name in names):
        return "is a LoRA, not an aesthetic embedding. Move it to the folder models/Lora."
    if any(name in ("emb_params", "clip_l", "clip_g", "string_to_param") or name.startswith("<") for name in names):
        return "is a textual-inversion file, not an aesthetic embedding. Move it to the folder embeddings/."
    if not names:
        return "holds no vector, so it is not an aesthetic embedding."
    if len(names) > 1:
        return f"holds {len(names)} tensors, so it is a model of some kind, not an aesthetic embedding."
    return ""


def _named(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> AestheticEmbedding:
    if "" in tensors:  # a bare vector: its dimension is all that says whose it is
        bare = tensors.pop("")
        family = families.family_of_dimension(bare.shape[-1]) if bare.dim() == 1 or bare.shape[:-1] == (1,) else None
        if family is None:
            sizes = " × ".join(str(n) for n in bare.shape) or "1"
            raise FileError(
                f"{path} has the wrong dimensions: {sizes}. An aesthetic embedding is one row of 768, 1024 or 1280."
            )
        tensors[family] = bare
    about = {key: metadata.get(key, "") for key in ("name", "created", "encoder", "notes")}
    images = metadata.get("images", "")
    try:
        return AestheticEmbedding(
            {name: x for name, x in tensors.items() if not name.endswith(_AGAINST)},
            **(about | {"name": about["name"] or path.stem}),
            images=int(images) if images.isascii() and images.isdigit() and len(images) < 10 else 0,
            against={name.removesuffix(_AGAINST): x for name, x in tensors.items() if name.endswith(_AGAINST)},
            clips=_clips(metadata.get("clips", "")),
        )
    except AestheticError as error:
        raise FileError(f"{path}: {error} Make it anew, or download it again.") from error


def _clips(text: str) -> dict[str, str]:
    """From metadata; what makes no sense is left out, as if it were not known."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    read = read if isinstance(read, dict) else {}
    return {family: clip for family, clip in read.items() if families.is_clip_signature(clip)}
