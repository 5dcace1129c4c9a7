"""The aesthetic embedding: one vector per CLIP family, and its file.

The file is safetensors: one tensor `[dim]` per family, named after it, fp32 and not normalized, plus string metadata.
If the aesthetic was made against ordinary pictures, their mean is there as well, as `FAMILY/against`. Files of the old
extension (`.pt`, `.bin`: one bare tensor) are read too. The content decides what a file is, not its suffix.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from ..errors import AestheticError, FileError, quoted
from ..storage import legacy_pt
from ..storage.paths import open_regular, write_atomically
from ..storage.small_safetensors import is_safetensors, read_header, read_tensors
from . import families, vectors

SUFFIX = ".safetensors"
SUFFIXES = (SUFFIX, ".pt", ".bin")  # the first wins if a folder has one name with several

_FORMAT, _VERSION = "aesthetic-embedding", "1"
_AGAINST = "/against"
_SIZE_LIMIT = 16 * 2**20  # a vector takes 3 to 5 kB; such a file is something else
_FAMILIES_LIMIT = 32
_DIMENSION_LIMIT = 2**14
_LENGTHS = {"name": 255, "created": 64, "encoder": 1000, "notes": 10_000}  # characters; the rest is cut off


@dataclass(frozen=True, eq=False)
class AestheticEmbedding:
    """`e = mean_i CLIP_vis(x_i)` of some pictures (arXiv 2209.12330, section 3), once per CLIP family.

    Attributes:
        vectors: CLIP family -> `[dim]`, fp32, on the CPU, not normalized. Tensors of other dtypes and devices, and of
            shape `[1, dim]`, are converted. All are copied.
        name: The file's name without its suffix; folders below the library's are separated by slashes.
        images: The number of pictures; 0 if unknown.
        created: ISO 8601 time, or empty.
        encoder: The CLIP that encoded the pictures, for people to read.
        notes: Anything else, for people to read.
        against: CLIP family -> `[dim]`, the mean of ordinary pictures, on the scale of `vectors`. Only the setting
            `contrast` uses it.
        clips: CLIP family -> signature of the CLIP that encoded the pictures (see families.clip_signature), if known.
        neutral: CLIP family -> `[dim]`, the substitute for families that `against` lacks (see `Library.neutral`). It
            is part neither of the file nor of the content.

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
    neutral: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.vectors:
            raise AestheticError("An aesthetic embedding needs at least one vector.")
        families = sorted(self.vectors)
        checked = {family: _checked(family, self.vectors[family]) for family in families}
        object.__setattr__(self, "vectors", checked)
        for side in ("against", "neutral"):
            given = getattr(self, side)
            known = {family: _checked_side(given[family], checked[family]) for family in families if family in given}
            object.__setattr__(self, side, known)
        object.__setattr__(self, "clips", {family: self.clips[family] for family in families if family in self.clips})

    def __repr__(self) -> str:
        held = [f"{family} [{len(vector)}]" for family, vector in self.vectors.items()]
        more = {f"{self.images} pictures": self.images, "told apart from ordinary ones": self.against}
        return f"<AestheticEmbedding {self.name!r}: {', '.join([*held, *(text for text in more if more[text])])}>"

    @property
    def content_hash(self) -> str:
        """SHA-256 of families and vectors, hexadecimal. Renaming and new notes do not change it."""
        return _sha(_tensors(self))

    @property
    def tuning_hash(self) -> str:
        """SHA-256 of everything that tuning uses: the content, the neutral vectors, and the CLIPs' signatures."""
        return _sha({**_tensors(self), **{f"{family}/neutral": x for family, x in self.neutral.items()}}, self.clips)

    @property
    def ordinary(self) -> Mapping[str, Tensor]:
        """CLIP family -> `[dim]`, the mean of ordinary pictures: from `against`, else from `neutral`."""
        return {**self.neutral, **self.against}

    def own_share(self, family: str) -> float | None:
        """The share of e that ordinary pictures n do not have, `1 - cos^2(e, n)`; None if n is unknown."""
        n = self.ordinary.get(family)
        if n is None or not bool(n.norm()):
            return None
        return 1 - float(torch.cosine_similarity(self.vectors[family], n, dim=0)) ** 2

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the file atomically. Missing folders are created.

        Args:
            path: The new file, `*.safetensors`.
            overwrite: Whether to replace an existing file.

        Returns:
            The path.

        Raises:
            FileError: `path` has another suffix, exists and is not to be replaced, or cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != SUFFIX:
            raise FileError(f"{path} should end in {SUFFIX}: aesthetic embeddings are saved in that format only.")
        about = {key: getattr(self, key)[:limit] for key, limit in _LENGTHS.items()}
        metadata = {"format": _FORMAT, "version": _VERSION, **about, "images": self.images}
        if self.clips:
            metadata["clips"] = json.dumps(self.clips)
        # a name that came from a file system can hold bytes that are not text; metadata must be text
        text = {key: str(value).encode("utf-8", "replace").decode() for key, value in metadata.items()}
        try:
            write_atomically(path, safetensors.torch.save(_tensors(self), text), overwrite)
        except FileExistsError:
            raise FileError(f"{path} exists already. Choose another name, or pass overwrite=True.") from None
        return path


def load(path: str | os.PathLike[str]) -> AestheticEmbedding:
    """Read an aesthetic embedding: a safetensors file of this format, or a `.pt` of the old extension.

    No code in the file is run. A bare vector, as in an old file, belongs to the CLIP family of its dimension (768: CLIP
    ViT-L/14, so SD1).

    Args:
        path: The file. Its content decides how it is read, not its suffix.

    Returns:
        The embedding. Its name is the one in the metadata, else the file's.

    Raises:
        FileError: The file is not an aesthetic embedding. The text names it and says what to do.
    """
    path = Path(path)
    with open_regular(path) as file:
        try:
            data = file.read(_SIZE_LIMIT + 1)
            size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not data:
        raise FileError(f"{path} is empty. Copy or download it again.")
    if len(data) > _SIZE_LIMIT:
        raise FileError(
            f"{path} is too large for an aesthetic embedding ({size / 2**20:.0f} MB), so it is a model or another file."
        )
    if is_safetensors(data[:9]):  # first, since its leading length can look like another format's magic bytes
        return _embedding(path, *_read(path, data))
    if data.startswith(b"PK"):
        return _embedding(path, {"": legacy_pt.read_vector(io.BytesIO(data), path)}, {})
    if data.startswith(b"\x80"):
        raise FileError(
            f"{path} is a bare pickle, as torch wrote before version 1.6. It is not read, since it could run code. "
            "If you trust it, open it with torch and save it again."
        )
    raise FileError(
        f"{path} is neither a safetensors nor a .pt file. It may be a web page or a Git LFS pointer, saved in its "
        "place: download it again."
    )


def blend(parts: Sequence[tuple[AestheticEmbedding, float]], name: str = "") -> AestheticEmbedding:
    """The weighted mix `sum_i w_i e_i / ||e_i||` for every CLIP family that all parts have.

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
    common = common_families([e for e, _ in parts])
    if not common:
        held = "; ".join(f"{e.name or 'one'} has {', '.join(e.vectors)}" for e, _ in parts)
        raise AestheticError(f"These aesthetics have no CLIP family in common ({held}), so they cannot be blended.")
    weights = [w for _, w in parts]

    def mixed(side: str) -> dict[str, Tensor]:
        sides = [(getattr(e, side), e, w) for e, w in parts]
        return {
            family: torch.stack([w * of[family] / e.vectors[family].norm() for of, e, w in sides]).sum(0)
            for family in common
            if all(family in of for of, *_ in sides)
        }

    return AestheticEmbedding(
        {family: vectors.mix([e.vectors[family] for e, _ in parts], weights) for family in common},
        against=mixed("against"),
        neutral=mixed("ordinary"),
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
        parts: The embeddings. If several have a vector for one CLIP family, the last one wins.
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
        neutral={family: e.neutral[family] for family, e in last.items() if family in e.neutral},
        name=name,
        images=max(e.images for e in parts),
        created=now(),
        encoder=", ".join(dict.fromkeys(e.encoder for e in parts if e.encoder)),
        notes="; ".join(dict.fromkeys(e.notes for e in parts if e.notes)),
    )


def contrast(embedding: AestheticEmbedding, neutral: AestheticEmbedding, share: float = 1.0) -> AestheticEmbedding:
    """The difference `e / ||e|| - share n / ||n||` to a neutral embedding n, for every CLIP family that both have.

    CLIP puts all pictures into a narrow cone (Liang et al. 2022, arXiv 2203.02053), so most of the mean of any pictures
    is not a matter of taste.

    Args:
        embedding: The aesthetic.
        neutral: An embedding of ordinary pictures, made with the same CLIP.
        share: How much of the neutral direction is subtracted.

    Returns:
        The difference, without the CLIP families that only `embedding` has.

    Raises:
        AestheticError: There is no common family, or nothing is left.
    """
    common = common_families([embedding, neutral])
    if not common:
        raise AestheticError(
            f"{embedding.name or 'The aesthetic'} has {', '.join(embedding.vectors)}, the neutral one only "
            f"{', '.join(neutral.vectors)}. Make both with the same CLIP."
        )
    mixed = {f: vectors.mix([embedding.vectors[f], neutral.vectors[f]], [1.0, -share]) for f in common}
    notes = f"{embedding.name or 'one'} less {share:g} × {neutral.name or 'ordinary pictures'}"
    return replace(embedding, vectors=mixed, against={}, notes=notes)


def with_neutral(embedding: AestheticEmbedding, neutral: AestheticEmbedding | None) -> AestheticEmbedding:
    """`embedding` with the vectors of a neutral one of the same CLIPs, scaled to its own, as its `neutral`."""
    if neutral is None:
        return embedding
    found = {
        family: neutral.vectors[family] * (embedding.vectors[family].norm() / neutral.vectors[family].norm())
        for family in common_families([embedding, neutral])
        if _may_be_one_clip(embedding.clips.get(family), neutral.clips.get(family))
    }
    return replace(embedding, neutral={family: n for family, n in found.items() if bool(torch.isfinite(n).all())})


def common_families(parts: Sequence[AestheticEmbedding]) -> list[str]:
    """The CLIP families for which all parts have a vector of the same length, which not every family's name tells."""
    first, *others = parts
    return [
        family
        for family, vector in first.vectors.items()
        if all(family in e.vectors and len(e.vectors[family]) == len(vector) for e in others)
    ]


def now() -> str:
    """This second, ISO 8601, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _checked(family: str, vector: Tensor) -> Tensor:
    with torch.inference_mode(False):  # autograd refuses tensors that were made in inference mode
        vector = vector.detach().to("cpu", torch.float32, copy=True)
    if vector.dim() == 2 and len(vector) == 1:
        vector = vector[0]
    dim = families.dimension(family)
    if vector.dim() != 1 or (dim is not None and len(vector) != dim):
        sizes = " × ".join(str(n) for n in vector.shape)
        raise AestheticError(
            f"The vector for {quoted(family)} has the wrong dimensions: {sizes}, not {dim or 'one row'}."
        )
    norm = vector.norm()
    if not bool(torch.isfinite(norm)):
        raise AestheticError(f"The vector for {quoted(family)} has values that are not finite, so it points nowhere.")
    if norm == 0:
        raise AestheticError(f"The vector for {quoted(family)} is zero, so it points nowhere.")
    return vector.contiguous()


def _checked_side(vector: Tensor, of: Tensor) -> Tensor:
    """A vector of ordinary pictures, for the aesthetic `of`. It may be zero: in a blend they can cancel."""
    with torch.inference_mode(False):
        vector = vector.detach().to("cpu", torch.float32, copy=True).flatten()
    if vector.shape != of.shape or not bool(torch.isfinite(vector).all()):
        raise AestheticError(
            f"The vector of ordinary pictures should be {len(of)} finite numbers, like the aesthetic itself."
        )
    return vector.contiguous()


def _tensors(e: AestheticEmbedding) -> dict[str, Tensor]:
    """The tensors of the file, by name."""
    return {**e.vectors, **{family + _AGAINST: vector for family, vector in e.against.items()}}


def _sha(tensors: Mapping[str, Tensor], more: Mapping[str, str] | None = None) -> str:
    sha = hashlib.sha256()
    for name, vector in tensors.items():
        sha.update(name.encode() + b"\0" + struct.pack(f"<{len(vector)}f", *vector.tolist()))
    for item in (more or {}).items():
        sha.update("\0".join(item).encode())
    return sha.hexdigest()


def _may_be_one_clip(a: str | None, b: str | None) -> bool:
    return not a or not b or families.same_clip(a, b)


def _one_clip(parts: Sequence[AestheticEmbedding], family: str) -> str:
    """The signature of the CLIP of all parts, if any knows it. Raises AestheticError if there are several."""
    known = [e for e in parts if family in e.clips]
    for e in known[1:]:
        if not families.same_clip(e.clips[family], known[0].clips[family]):
            raise AestheticError(
                f"{known[0].name!r} and {e.name!r} were made with different CLIPs of the shape {family}, so they "
                "cannot be blended. Make them again with the same one."
            )
    return known[0].clips[family] if known else ""


def _read(path: Path, data: bytes) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Tensors and metadata of a safetensors file of this format, or of one with a single bare vector (named "")."""
    try:
        metadata, described = read_header(data)
        ours = metadata.get("format") == _FORMAT
        if ours and metadata.get("version") != _VERSION:
            raise FileError(
                f"{path} was made by a newer version of aesthetic gradients (its format is "
                f"{metadata.get('version')!s:.20}, this version reads {_VERSION}). Update aesthetic gradients."
            )
        if fault := _too_many(described) if ours else _another_kind(list(described)):
            raise FileError(f"{path} {fault}")
        for dtype, shape in described.values():
            if dtype not in ("F64", "F32", "F16", "BF16"):
                raise FileError(f"{path} does not hold floating-point numbers, so it is not an aesthetic embedding.")
            _check_shape(path, shape)
        return {name if ours else "": vector for name, vector in read_tensors(data).items()}, metadata
    except AestheticError:
        raise
    except Exception as error:  # mostly SafetensorError; whatever it is, the file is at fault
        raise FileError(f"{path} is damaged or cut short. Copy or download it again.") from error


def _too_many(names: Iterable[str]) -> str:
    """What is wrong with the tensor names in a file of this format; empty if nothing is."""
    names = [name.removesuffix(_AGAINST) for name in names]
    if len(set(names)) > _FAMILIES_LIMIT:
        return f"has vectors for more than {_FAMILIES_LIMIT} CLIP families, so it is damaged. Download it again."
    if bad := next((name for name in names if not families.is_family(name)), None):
        return f"has a vector for {quoted(bad)}, which is not the name of a CLIP family. Download it again."
    return ""


def _check_shape(path: Path, shape: Sequence[int]) -> None:
    """Raise FileError unless this is the shape of one row of numbers."""
    if not (1 <= len(shape) <= 2 and (len(shape) == 1 or shape[0] == 1) and 0 < shape[-1] <= _DIMENSION_LIMIT):
        sizes = " × ".join(str(n) for n in shape) or "1"
        raise FileError(
            f"{path} has the wrong dimensions: {sizes}. An aesthetic embedding is one row of 768, 1024 or 1280."
        )


def _another_kind(names: list[str]) -> str:
    """What a safetensors file without our metadata is; empty if it is a single bare vector."""
    if any("lora" in name.lower() for name in names):
        return "is a LoRA, not an aesthetic embedding. Move it to the folder models/Lora."
    if any(name in ("emb_params", "clip_l", "clip_g", "string_to_param") or name.startswith("<") for name in names):
        return "is a textual-inversion file, not an aesthetic embedding. Move it to the folder embeddings/."
    if not names:
        return "holds no vector, so it is not an aesthetic embedding."
    if len(names) > 1:
        return f"holds {len(names)} tensors, so it is a model of some kind, not an aesthetic embedding."
    return ""


def _embedding(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> AestheticEmbedding:
    if "" in tensors:  # only the dimension of a bare vector tells its CLIP
        bare = tensors.pop("")
        _check_shape(path, bare.shape)
        family = families.family_of_dimension(bare.shape[-1])
        if family is None:
            raise FileError(
                f"{path} has the wrong dimensions: {bare.shape[-1]}. An aesthetic embedding is one row of 768, 1024 or "
                "1280."
            )
        tensors[family] = bare
    about = {key: metadata.get(key, "")[:limit] for key, limit in _LENGTHS.items()}
    images = metadata.get("images", "")
    try:
        return AestheticEmbedding(
            {name: x for name, x in tensors.items() if not name.endswith(_AGAINST)},
            name=about["name"] or path.stem,
            images=int(images) if images.isascii() and images.isdigit() and len(images) < 10 else 0,
            created=about["created"],
            encoder=about["encoder"],
            notes=about["notes"],
            against={name.removesuffix(_AGAINST): x for name, x in tensors.items() if name.endswith(_AGAINST)},
            clips=_clips(metadata.get("clips", "")),
        )
    except AestheticError as error:
        raise FileError(f"{path}: {error} Create it again, or download it again.") from error


def _clips(text: str) -> dict[str, str]:
    """Signatures from metadata. Invalid ones are left out."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    read = read if isinstance(read, dict) else {}
    return {family: clip for family, clip in read.items() if families.is_clip_signature(clip)}
