"""The tab Library: what there is, blends of it, and how alike it is."""

from __future__ import annotations

import functools
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from ..aesthetics.embedding import SUFFIX, SUFFIXES, AestheticEmbedding
from ..aesthetics.families import family_of_dimension
from ..aesthetics.library import SIDE_FILES, Entry, Library
from ..aesthetics.mixes import Mix
from ..errors import AestheticError
from ..storage.paths import write_atomically
from ..ui.facts import facts as embedding_facts
from ..ui.facts import nearest
from ..ui.messages import error, errors_as_text, status
from . import picture_html, plots
from .engine import Cell, Job
from .state import Studio, elem_id

MAX_FILES = 50  # at one import
MAX_PARTS = 4  # of a blend
MAPPED = 60  # at most: the map has the square of it
PROMPT = "a castle in a meadow"

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_CHANGING = {**_QUIET, "concurrency_id": "library", "concurrency_limit": 1}
#: On a phone the chosen one's facts lie below the cards.
_INTO_VIEW = "() => document.getElementById('studio_chosen')?.scrollIntoView({block: 'nearest', behavior: 'smooth'})"


@dataclass(frozen=True)
class Deleted:
    """What brings a deleted aesthetic back."""

    name: str = ""
    files: tuple[tuple[Path, bytes], ...] = ()


def build(studio: Studio, page: gr.Blocks) -> None:
    """Draw it, inside its tab."""
    library = studio.library
    chosen, deleted = gr.State(""), gr.State(Deleted())
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            cards = gr.HTML(js_on_load=picture_html.CLICKS, elem_id=elem_id("cards"))
            with gr.Row():
                importing = gr.UploadButton(
                    "Import .safetensors or .pt files", file_count="multiple", size="sm", elem_id=elem_id("import")
                )
                undo = gr.Button("Undo", size="sm", visible=False, elem_id=elem_id("undo"))
            message = gr.HTML(elem_id=elem_id("library_message"))
        with gr.Column(scale=2, min_width=300, visible=False, elem_id=elem_id("chosen")) as panel:
            about = gr.HTML(elem_id=elem_id("facts"))
            small: dict[str, Any] = {"size": "sm", "min_width": 80}
            with gr.Row():
                export = gr.DownloadButton("Download", **small, elem_id=elem_id("export"))
                legacy = gr.DownloadButton("Download as .pt", **small, elem_id=elem_id("export_legacy"))
                delete = gr.Button("Delete", **small, variant="stop", elem_id=elem_id("delete"))
            new = gr.Textbox(label="New name", max_lines=1, elem_id=elem_id("rename_to"))
            rename = gr.Button("Rename", **small, elem_id=elem_id("rename"))
    _blend(studio, page)
    _map(studio, page)

    def choose(name: str) -> list[Any]:
        """The updates of `details`."""
        entry = _entry(library.entries, name)
        if entry is None:
            return ["", gr.update(visible=False), "", None, None, ""]
        e = entry.embedding
        files = [exported(studio.folder, e, suffix) for suffix in (SUFFIX, ".pt")] if e else [None, None]
        downloads = [gr.update(visible=file is not None, value=file and str(file)) for file in files]
        return [name, gr.update(visible=True), facts(library, entry), *downloads, ""]

    details = [chosen, panel, about, export, legacy, new]
    changed = [message, studio.version, undo, deleted, *details]

    @errors_as_text(outputs=1 + len(details))
    def selected(event: gr.EventData) -> list[Any]:
        library.refresh()
        name = picture_html.key(event)
        if _entry(library.entries, name) is None:
            library.get(name)  # says what there is instead: another page may have deleted it
        return ["", *choose(name)]

    @errors_as_text(outputs=len(changed))
    def remove(name: str) -> list[Any]:
        gone = deletion(library, name)
        label = gr.update(visible=True, value=f"Undo: bring {name} back")
        return [status(f"Deleted {name}."), studio.changed(), label, gone, *choose("")]

    @errors_as_text(outputs=len(changed))
    def bring_back(gone: Deleted) -> list[Any]:
        restore(library, gone)
        hidden = gr.update(visible=False)
        return [status(f"{gone.name} is back."), studio.changed(), hidden, Deleted(), *choose(gone.name)]

    @errors_as_text(outputs=len(changed))
    def call(name: str, new: str) -> list[Any]:
        if not new.strip():
            raise AestheticError("Write the new name first.")
        library.rename(name, new.strip())
        said = status(f"{name} is called {new.strip()} now.")
        return [said, studio.changed(), gr.skip(), gr.skip(), *choose(new.strip())]

    @errors_as_text(outputs=2)
    def take_in(files: list[str] | None) -> list[Any]:
        return [taken_in(library, [Path(file) for file in files or ()]), studio.changed()]

    def shown(name: str) -> str:
        library.refresh()
        return listed(studio, name)

    cards.select(selected, None, [message, *details], **_QUIET).then(None, js=_INTO_VIEW)
    delete.click(remove, chosen, changed, **_CHANGING)
    undo.click(bring_back, deleted, changed, **_CHANGING)
    gr.on([rename.click, new.submit], call, [chosen, new], changed, **_CHANGING)
    importing.upload(take_in, importing, [message, studio.version], **_CHANGING)
    gr.on([page.load, studio.version.change], shown, chosen, cards, **_QUIET)


def _blend(studio: Studio, page: gr.Blocks) -> None:
    gr.Markdown("### Blend")
    before, made = gr.State([]), gr.State(None)  # whose sliders are shown; the picture, and what it is of
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            parts = gr.Dropdown(
                label=f"Of up to {MAX_PARTS} aesthetics",
                multiselect=True,
                max_choices=MAX_PARTS,
                elem_id=elem_id("blend_parts"),
            )
            weights = [
                gr.Slider(-1, 1, 0.5, step=0.05, visible=False, elem_id=elem_id(f"blend_weight_{i}"))
                for i in range(MAX_PARTS)
            ]
            prompt = gr.Textbox(PROMPT, label="Prompt of the preview", max_lines=1, elem_id=elem_id("blend_prompt"))
            with gr.Row():
                name = gr.Textbox(
                    label="Name of the blend", max_lines=1, scale=3, min_width=160, elem_id=elem_id("blend_name")
                )
                save = gr.Button("Save", variant="primary", scale=1, min_width=80, elem_id=elem_id("blend_save"))
            outcome = gr.HTML(elem_id=elem_id("blend_saved"))
        with gr.Column(scale=2, min_width=260):
            picture = gr.HTML(elem_id=elem_id("blend_preview"))
            message = gr.HTML(elem_id=elem_id("blend_message"))

    def named(parts: list[str], before: list[str], *weights: float) -> list[Any]:
        """A slider for each part; one that stays keeps its weight, though its place be another."""
        known = dict(zip(before, weights, strict=False))
        shown = [gr.update(visible=True, label=part, value=known.get(part, 0.5)) for part in parts]
        return [parts, *shown, *[gr.update(visible=False, value=0.5)] * (MAX_PARTS - len(parts))]

    def mixed(parts: Sequence[str], weights: Sequence[float], name: str = "") -> AestheticEmbedding:
        if not parts:
            raise AestheticError("Choose what to blend first.")
        return studio.library.blend(Mix(tuple(zip(parts, weights, strict=False))), name)

    @errors_as_text(outputs=3)
    def preview(parts: list[str], prompt: str, *weights: float) -> Iterator[list[Any]]:
        if not parts:
            yield ["", "", None]
            return
        e = mixed(parts, weights)
        about = nearest(studio.library, e)
        yield [about, gr.skip(), gr.skip()]
        *_, last = studio.engine.run(Job(((Cell(prompt, 1, e),),)))
        ((image,),) = last.pictures
        words = f"{prompt}: {e.notes.removeprefix('blend of ')}"
        yield [about, picture_html.figure(picture_html.encoded(image, "WEBP"), words), (e.content_hash, image)]

    @errors_as_text(outputs=2)
    def keep(name: str, made: Any, parts: list[str], *weights: float) -> list[Any]:
        if not name.strip():
            raise AestheticError("Give the blend a name first.")
        e = mixed(parts, weights, name.strip())
        picture = picture_html.encoded(made[1], "PNG") if made and made[0] == e.content_hash else None
        return [saved(studio.library, e, picture), studio.changed()]

    def offered(parts: list[str]) -> Any:
        studio.library.refresh()
        names = studio.library.names()
        return gr.update(choices=names, value=[part for part in parts or () if part in names])

    inputs = [parts, prompt, *weights]
    parts.change(named, [parts, before, *weights], [before, *weights], **_QUIET)
    gr.on(
        [parts.change, prompt.submit, *(weight.change for weight in weights)],
        *(preview, inputs, [message, picture, made]),
        trigger_mode="always_last",
        **_QUIET,
    )
    gr.on([save.click, name.submit], keep, [name, made, parts, *weights], [outcome, studio.version], **_CHANGING)
    gr.on([page.load, studio.version.change], offered, parts, parts, **_QUIET)


def _map(studio: Studio, page: gr.Blocks) -> None:
    gr.Markdown("### How alike they are")
    family = gr.Radio(label="To models with a", visible=False, elem_id=elem_id("family"))
    table = gr.HTML(elem_id=elem_id("map"))

    def drawn(family: str | None) -> list[Any]:
        studio.library.refresh()
        vectors = [studio.library.get(name).vectors for name in studio.library.names()]
        counts = Counter(family for each in vectors for family in each)
        among = sorted(counts, key=lambda each: (each not in studio.engine.families, -counts[each]))
        family = family if family in among else next(iter(among), None)
        return [gr.update(choices=among, value=family, visible=len(among) > 1), likenesses(studio.library, family)]

    gr.on([page.load, studio.version.change, family.input], drawn, family, [family, table], **_QUIET)


# ---- what there is --------------------------------------------------------------------------------------------------


def listed(studio: Studio, chosen: str) -> str:
    """A card for each file, those that are no good too."""
    cards, library = [], studio.library
    entries = library.entries  # another page may refresh the library at any time
    for entry in sorted(entries, key=lambda entry: entry.name.casefold()):
        e, meant = entry.embedding, _entry(entries, entry.name) is entry
        if e is None or entry.fault:
            lines = ["cannot be used" if meant else "hidden: another file has this name"]
        else:
            count = f"{e.images} picture{'s' * (e.images != 1)}" if e.images else ""
            lines = [line for line in (count, ", ".join(e.vectors), e.created[:10]) if line]
            lines += [f"the same as {entry.duplicate_of}"] if entry.duplicate_of else []
            lines += [] if studio.engine.serves(e) else ["for other models"]
        picture = _preview(library, entry) if meant else None
        hue = int(e.content_hash[:2], 16) if e else 0
        cards.append(
            picture_html.card(picture, entry.name, lines, chosen == entry.name and meant, bool(entry.fault), meant, hue)
        )
    return (
        picture_html.grid(cards)
        if cards
        else "<p>There is no aesthetic yet. Make one under Create, or import files.</p>"
    )


def facts(library: Library, entry: Entry) -> str:
    unusable = entry.embedding is None or bool(entry.fault)
    about = error(entry.fault) if unusable else embedding_facts(library, entry, show_path=False)
    return f"<h3>{escape(entry.name)}</h3>{about}"


def likenesses(library: Library, family: str | None) -> str:
    """The cosine of each with each, as a heat map."""
    all_ = [e for e in map(library.get, library.names()) if family in e.vectors]
    if len(all_) < 2:
        return "<p>With two aesthetics and more, how alike they are is shown here.</p>"
    those = all_[:MAPPED]
    rest = f"<p>The first {MAPPED} of {len(all_)} are shown.</p>" if len(all_) > MAPPED else ""
    return plots.heat_map([e.name for e in those], torch.stack([e.vectors[family] for e in those])) + rest


def _entry(entries: Sequence[Entry], name: str) -> Entry | None:
    """The file that a name leads to."""
    same = [entry for entry in entries if entry.name == name]
    return next((entry for entry in same if entry.embedding and not entry.fault), next(iter(same), None))


def _preview(library: Library, entry: Entry) -> bytes | None:
    with suppress(OSError, AestheticError):
        path = library.preview(entry.name)
        return path and _reduced(path, path.stat().st_mtime_ns)
    return None


@functools.lru_cache(maxsize=512)
def _reduced(path: Path, _: int) -> bytes | None:
    """Small, as a card shows it; kept while the file stays as it is."""
    with suppress(Exception):  # Pillow's readers raise whatever a damaged file leads them to
        return picture_html.thumbnail(path)
    return None


# ---- what is done with it -------------------------------------------------------------------------------------------


def saved(library: Library, e: AestheticEmbedding, preview: bytes | None, overwrite: bool = False) -> str:
    """Save it with its preview, and return what to say of it."""
    library.save(e, overwrite=overwrite)
    if preview:
        library.set_preview(e.name, preview)
    twin = next((entry.duplicate_of for entry in library.entries if entry.name == e.name), "")
    where = f"It equals {twin}, and is listed under Compare by that name." if twin else "Choose it under Compare."
    return status(f"Saved as {e.name}, from {e.images} pictures. {where}")


def deletion(library: Library, name: str) -> Deleted:
    """Delete it, and keep what brings it back."""
    stems = [entry.path for entry in library.entries if entry.name == name]
    files = {path.with_suffix(ending) for path in stems for ending in (*SUFFIXES, *SIDE_FILES)}
    kept = [(file, file.read_bytes()) for file in sorted(files) if file.is_file()]
    library.delete(name)
    return Deleted(name, tuple((file, data) for file, data in kept if not file.exists()))


def restore(library: Library, gone: Deleted) -> None:
    if any(file.exists() for file, _ in gone.files):
        raise AestheticError(f"There is another {gone.name} by now. Rename that one, and undo again.")
    for file, data in gone.files:
        write_atomically(file, data)
    library.refresh()


def taken_in(library: Library, files: Sequence[Path]) -> str:
    """Import embedding files; returns what became of each, as HTML. A name that is taken gets a number."""
    lines = []
    for file in files[:MAX_FILES]:
        try:
            name = _free(library, file.stem)
            library.import_(file, name)
            twin = next(entry.duplicate_of for entry in library.entries if entry.name == name)
            lines.append(status(f"Imported {name}." + (f" It equals {twin}." if twin else "")))
        except AestheticError as fault:
            lines.append(error(str(fault).replace(str(file), file.name)))
    if len(files) > MAX_FILES:
        lines.append(error(f"The first {MAX_FILES} files were taken, of {len(files)}."))
    return "".join(lines)


def _free(library: Library, name: str) -> str:
    """`name`, or with the first number that is free."""
    taken = {entry.name.casefold() for entry in library.entries}
    numbered = (name, *(f"{name} {i}" for i in range(2, 1000)))
    return next((each for each in numbered if each.casefold() not in taken), name)


def exported(folder: Path, e: AestheticEmbedding, suffix: str) -> Path | None:
    """A file of it to download; None where the old extension's format cannot say which CLIP its vector belongs to.

    Equal ones share a file, so there are never more than aesthetics were shown.
    """
    path = folder / "exports" / e.content_hash[:16] / (e.name.split("/")[-1] + suffix)
    if suffix == SUFFIX:
        return e.save(path, overwrite=True)
    vector = next((x for x in e.vectors.values() if family_of_dimension(len(x))), None)
    if vector is None:
        return None
    data = io.BytesIO()
    torch.save(vector[None].clone(), data)
    write_atomically(path, data.getvalue())
    return path
