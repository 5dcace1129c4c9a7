"""The user's aesthetics: every embedding file below some folders, by name.

A name is the file's path below its folder, without suffix and with forward slashes: "moods/dark".
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import AestheticError, FileError, quoted
from ..storage.paths import data_folder, move_all, temporary_name, walk, write_atomically
from .embedding import SUFFIX, SUFFIXES, AestheticEmbedding, blend, common_families, load, merge, with_neutral
from .mixes import HASH, Mix
from .names import check_name, collision_key
from .neutral import NEUTRAL
from .scorers import load_scorer
from .vectors import without

_PREVIEW = ".preview.png"
#: Endings of files that hosts and downloaders put beside an embedding file: previews and descriptions.
SIDE_FILES = (
    _PREVIEW,
    ".preview.jpg",
    ".preview.jpeg",
    ".preview.webp",
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".json",
    ".civitai.info",
)


def default_folders() -> list[Path]:
    """The folders outside a WebUI: those in `AESTHETIC_EMBEDDINGS`, separated as in PATH, else one of the user's."""
    chosen = [Path(part) for part in os.environ.get("AESTHETIC_EMBEDDINGS", "").split(os.pathsep) if part]
    return chosen or [data_folder() / "embeddings"]


@dataclass(frozen=True)
class Entry:
    """One file.

    fault: why `name` does not lead to this file: it is unreadable, or another file has the name. Empty if it does.
    duplicate_of: the name of an earlier entry with the same content, or empty.
    """

    name: str
    path: Path
    embedding: AestheticEmbedding | None
    fault: str = ""
    duplicate_of: str = ""


class Library:
    """The embeddings in some folders and their subfolders, by name: the path below the folder, as "moods/dark".

    Links are followed. Subfolders with Python code are skipped, since WebUI users keep embeddings in the folder of an
    extension, too. If several files have one name, the earlier folder wins, and within a folder the safetensors file. A
    file is read again only when it changes.

    Args:
        folders: Where to look. New files go to the first one, which is created if needed. A missing folder counts as
            empty.
        neutral: Neutral embeddings, of ordinary pictures, that come with a model.

    Attributes:
        neutral: The ordinary pictures for aesthetics that were made without (see `Settings.contrast`). Per CLIP
            family, the aesthetic called `neutral` comes first, then the one fetched for CLIP ViT-L/14, then the given
            ones. None if there is none.

    Raises:
        AestheticError: There are no folders.
    """

    def __init__(self, folders: Sequence[str | os.PathLike[str]], neutral: Sequence[AestheticEmbedding] = ()) -> None:
        if not folders:
            raise AestheticError("A library needs at least one folder.")
        self.folders = [Path(folder).absolute() for folder in folders]
        self.entries: tuple[Entry, ...] = ()
        self.neutral: AestheticEmbedding | None = None
        self._known_neutral = tuple(neutral)
        self._read: dict[tuple[object, ...], AestheticEmbedding | FileError] = {}
        self.refresh()

    def refresh(self) -> None:
        """List the folders again, and read new and changed files."""
        read: dict[tuple[object, ...], AestheticEmbedding | FileError] = {}
        entries: list[Entry] = []
        named: dict[str, Entry] = {}
        first: dict[str, str] = {}  # content hash -> name
        all_found: list[tuple[str, Path, AestheticEmbedding | FileError]] = []
        for name, path in self._files():
            try:
                stat = path.stat()
            except OSError:
                continue  # deleted meanwhile, or a dangling link
            # clocks are coarse, so a new file can agree in time and size by chance, but not in inode
            key = (path, stat.st_mtime_ns, stat.st_size, stat.st_ino)
            read[key] = found = self._read.get(key) or _load(path)
            all_found.append((name, path, found))
        self.neutral = self._neutral(all_found)
        for name, path, found in all_found:
            if isinstance(found, FileError):
                entries.append(Entry(name, path, None, fault=str(found)))
                continue
            known = first.get(found.content_hash, "")
            embedding = with_neutral(dataclasses.replace(found, name=name), self.neutral)
            entry = Entry(name, path, embedding, duplicate_of=known)
            entries.append(entry)
            if name not in named:
                named[name] = entry
                first.setdefault(found.content_hash, name)
            elif not known:
                fault = f"{path} is hidden by {named[name].path}. Rename one of them."
                entries[-1] = dataclasses.replace(entry, fault=fault)
        self._read, self._named, self.entries = read, named, tuple(entries)

    def names(self) -> list[str]:
        """The names to choose from, in alphabetical order. Files with equal content appear once."""
        return sorted((e.name for e in self._named.values() if not e.duplicate_of), key=collision_key)

    def __contains__(self, name: object) -> bool:
        """Whether `get` knows this name."""
        return name in self._named

    def get(self, name: str) -> AestheticEmbedding:
        """The embedding called `name`. Its `.name` is that name, whatever the file says.

        Raises:
            FileError: Its file is unreadable.
            AestheticError: There is none. The text names similar ones.
        """
        entry = self._entry(name)
        if entry.embedding is None:
            raise FileError(entry.fault)
        return entry.embedding

    def find(self, content_hash: str) -> AestheticEmbedding | None:
        """The embedding whose content hash starts with these characters, at least 8; None if there is none."""
        whole = len(content_hash) >= 8
        usable = (e.embedding for e in self.entries if whole and e.embedding is not None)
        return next((e for e in usable if e.content_hash.startswith(content_hash.lower())), None)

    def check_free(self, name: str) -> None:
        """Check that a new aesthetic may have this name.

        Raises:
            AestheticError: The name is taken, or cannot be a file's on every system.
        """
        check_name(name)
        for other in self._same_name(name):
            raise _name_error(name, other, _OR_OVERWRITE)

    def save(self, embedding: AestheticEmbedding, *, overwrite: bool = False) -> Path:
        """Write an embedding into the first folder, under its name.

        Args:
            embedding: What to save.
            overwrite: Whether to replace one of that name. A file in another format or folder is not overwritten; the
                new file hides it.

        Returns:
            The file.

        Raises:
            AestheticError: The name is taken, or cannot be a file's on every system.
            FileError: The file cannot be written.
        """
        check_name(embedding.name)
        path = self.folders[0] / (embedding.name + SUFFIX)
        for other in self._same_name(embedding.name):
            twin = other.embedding is not None and other.embedding.content_hash == embedding.content_hash
            if other.name != embedding.name or not (overwrite or (twin and other.path != path)):
                raise _name_error(embedding.name, other, _OR_OVERWRITE)
        embedding.save(path, overwrite=overwrite)
        self.refresh()
        return path

    def nearest(self, embedding: AestheticEmbedding, family: str) -> list[tuple[str, float]]:
        """The other embeddings with a vector of this family, most similar first, with their cosines.

        The component along ordinary pictures is left out, if known: it makes all embeddings similar.
        """
        n = embedding.ordinary.get(family)
        direction = without(embedding.vectors[family], n)
        others = [self.get(name) for name in self.names() if name != embedding.name]
        own = {e.name: without(e.vectors[family], n) for e in others if family in common_families([embedding, e])}
        if direction is None:
            return []
        likeness = {name: float(direction @ x) for name, x in own.items() if x is not None}
        return sorted(likeness.items(), key=lambda pair: -pair[1])

    def nearest_in_words(self, embedding: AestheticEmbedding, count: int = 5) -> list[str]:
        """The most similar embeddings as text: a line for each CLIP family."""
        lines = []
        for family in embedding.vectors:
            nearest = [f"{name} {cosine:+.2f}" for name, cosine in self.nearest(embedding, family)[:count]]
            which = f" ({family})" if len(embedding.vectors) > 1 else ""
            lines += [f"Nearest{which}: {', '.join(nearest)}"] if nearest else []
            share = embedding.own_share(family)
            lines += [] if share is None else [f"Its own{which}: {share:.0%}. Ordinary pictures share the rest."]
        return lines

    def blend(self, mix: Mix, name: str = "") -> AestheticEmbedding:
        """The embedding of a mix. A single aesthetic is returned as it is.

        Args:
            mix: Names and weights (see mixes.py).
            name: The name of the result; by default the mix as text.

        Raises:
            AestheticError: An aesthetic is not in this library, or they cannot be blended.
        """
        mix = self.resolve(mix)
        made = self.get(mix.names[0]) if mix.is_single else blend([(self.get(each), w) for each, w in mix.parts])
        return dataclasses.replace(made, name=name or str(mix))

    def resolve(self, mix: Mix) -> Mix:
        """The mix with the names of this library: `dusk@1a2b3c4d5e` becomes the name of that content here.

        Raises:
            AestheticError: An aesthetic is not in this library.
        """
        return Mix(tuple((self._called(name), weight) for name, weight in mix.parts))

    def pinned(self, name: str, content: str) -> str:
        """A name for the aesthetic whose content hash starts with `content` and that was once called `name`."""
        found = self.find(content)
        for now in (name, found.name if found else ""):
            if now in self and self.get(now).content_hash.startswith(content):
                return now
        return f"{name}@{content}"

    def preview(self, name: str) -> Path | None:
        """The preview picture of the aesthetic `name`; None if there is none."""
        beside = self._beside(self._entry(name).path)
        return next((path for ending, path in beside.items() if ending not in (".json", ".civitai.info")), None)

    def set_preview(self, name: str, png: bytes) -> Path:
        """Save a preview picture of the aesthetic `name`, as `NAME.preview.png`, and return its path."""
        path = self._entry(name).path.with_suffix(_PREVIEW)
        write_atomically(path, png)
        return path

    def rename(self, old: str, new: str) -> Path:
        """Rename an aesthetic's file, and the files beside it (SIDE_FILES), within its folder of the library.

        Args:
            old: Its name.
            new: Its new name.

        Returns:
            The new path.

        Raises:
            AestheticError: There is no `old`, or `new` is taken or cannot be a file's on every system.
            FileError: A file cannot be renamed, or another file has the new name. No file has been renamed then.
        """
        entry = self._entry(old)
        root = next(folder for folder in self.folders if entry.path.is_relative_to(folder))
        check_name(new)
        path = root / (new + entry.path.suffix)
        for other in self._same_name(new):
            if other.path != entry.path:  # "dark" may become "Dark"
                raise _name_error(new, other)
        beside = self._beside(entry.path)
        moves = [(entry.path, path), *((side, path.with_suffix(ending)) for ending, side in beside.items())]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            move_all(moves)
        except FileExistsError as error:
            raise FileError(
                f"{error.filename2 or error.filename or path} exists already. Choose another name, or move that file."
            ) from error
        except OSError as error:
            raise FileError(f"{entry.path} cannot be renamed to {path}: {error.strerror or error}.") from error
        finally:
            self.refresh()
        return path

    def delete(self, name: str) -> Path:
        """Delete an aesthetic's file, readable or not, and the files beside it (SIDE_FILES). Returns its path.

        Raises:
            AestheticError: There is no such file.
            FileError: It cannot be deleted.
        """
        path = self._entry(name).path
        moves = [(file, temporary_name(file)) for file in (path, *self._beside(path).values())]
        try:
            move_all(moves)  # so that either all of them go, or none
            for _, file in moves:
                file.unlink()
        except OSError as error:
            raise FileError(f"{path} cannot be deleted: {error.strerror or error}.") from error
        finally:
            self.refresh()
        return path

    def import_(self, path: str | os.PathLike[str], name: str = "", *, overwrite: bool = False) -> Path:
        """Copy an embedding file, such as a `.pt`, into the first folder as safetensors.

        An aesthetic scorer (see `load_scorer`) becomes the direction in which its score grows; the notes say so.

        Args:
            path: The file.
            name: Its new name; by default the file's.
            overwrite: As for `save`.

        Returns:
            The new file.

        Raises:
            FileError: The file is no aesthetic embedding.
            AestheticError: The name is taken, or cannot be a file's on every system.
        """
        path = Path(path)
        embedding = _load_or_scorer(path)
        notes = embedding.notes or f"imported from {path.name}"
        return self.save(dataclasses.replace(embedding, name=name or path.stem, notes=notes), overwrite=overwrite)

    def _neutral(self, found: Sequence[tuple[str, Path, AestheticEmbedding | FileError]]) -> AestheticEmbedding | None:
        parts = list(self._known_neutral)
        with contextlib.suppress(FileError):  # a damaged one is as good as none: fetching it again replaces it
            parts += [e for e in [NEUTRAL.find()] if e is not None]
        named = [e for name, _, e in found if name == NEUTRAL.name and isinstance(e, AestheticEmbedding)]
        parts += named[:1]
        return merge(parts, NEUTRAL.name) if parts else None

    def _files(self) -> Iterator[tuple[str, Path]]:
        seen: set[tuple[int, int]] = set()  # one folder of the list may lie within another
        for folder in self.folders:
            found = [path for path in walk(folder, packages=False, seen=seen) if path.suffix.lower() in SUFFIXES]
            for path in sorted(found, key=lambda path: SUFFIXES.index(path.suffix.lower())):
                yield path.relative_to(folder).with_suffix("").as_posix(), path

    def _beside(self, path: Path) -> dict[str, Path]:
        """Ending -> side file of the embedding at `path`; empty if another embedding there has the same name."""
        # os.path, since pathlib raises an error where a longer suffix makes the name too long for the system
        if any(os.path.exists(path.with_suffix(suffix)) for suffix in SUFFIXES if suffix != path.suffix):
            return {}
        return {ending: side for ending in SIDE_FILES if os.path.isfile(side := path.with_suffix(ending))}

    def _entry(self, name: str) -> Entry:
        if name in self._named:
            return self._named[name]
        for entry in self.entries:
            if entry.name == name:
                return entry
        names = self.names()
        if not names:
            raise AestheticError(f"There is no aesthetic yet. Make one, or put its file into {self.folders[0]}.")
        close = difflib.get_close_matches(name[:255], names, n=3, cutoff=0.5)
        rest = ", ..." if len(names) > 5 else ""
        hint = f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(names[:5])}{rest}."
        raise AestheticError(f"There is no aesthetic called {quoted(name)}. {hint}")

    def _called(self, name: str) -> str:
        """The name in this library for a name that may be pinned to a content, as `dusk@1a2b3c4d5e`."""
        old, at, content = name.rpartition("@")
        if name in self or not at or not re.fullmatch(f"[0-9a-f]{{{HASH}}}", content):
            return self.get(name).name
        found = self.pinned(old, content)
        if found == name:
            other = " The one called so here is another: choose it to use it instead." if old in self else ""
            raise AestheticError(
                f"The aesthetic called {quoted(old)} of the pasted picture is not here.{other or ' Copy its file.'}"
            )
        return found

    def _same_name(self, name: str) -> list[Entry]:
        self.refresh()
        return [entry for entry in self.entries if collision_key(entry.name) == collision_key(name)]


_OR_OVERWRITE = "Choose another name, or overwrite it."


def _name_error(name: str, by: Entry, instead: str = "Choose another name.") -> AestheticError:
    if by.name != name:
        return AestheticError(
            f"{quoted(name)} and the existing {quoted(by.name)} would be one file on some systems. Choose another name."
        )
    return AestheticError(f"There is an aesthetic called {quoted(name)} already ({by.path}). {instead}")


def _load_or_scorer(path: Path) -> AestheticEmbedding:
    try:
        return load(path)
    except FileError as error:
        try:
            scorer = load_scorer(path)
        except FileError:
            raise error from None
        return scorer.as_aesthetic()


def _load(path: Path) -> AestheticEmbedding | FileError:
    try:
        return load(path)
    except FileError as error:
        return error
