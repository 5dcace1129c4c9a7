"""The page of the tab Library, and its event handlers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from ...aesthetics.embedding import SUFFIX
from ...errors import AestheticError
from ...ui import text_fields
from ...ui.messages import errors_as_text, status
from .. import picture_html
from ..state import CHANGES_LIBRARY, INTERNAL_EVENT, Studio, elem_id
from . import blend, cards, files, similarity
from .files import Deleted

#: On a phone the facts of the chosen aesthetic are below the cards.
_SCROLL_TO_FACTS = (
    "() => document.getElementById('studio_chosen')?.scrollIntoView({block: 'nearest', behavior: 'smooth'})"
)


def build(studio: Studio, page: gr.Blocks) -> None:
    """Build the tab inside the current block."""
    library = studio.library
    chosen, deleted = gr.State(""), gr.State(Deleted())
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            cards_html = gr.HTML(js_on_load=picture_html.CLICKS, elem_id=elem_id("cards"))
            with gr.Row():
                upload = gr.UploadButton(
                    "Import .safetensors or .pt files", file_count="multiple", size="sm", elem_id=elem_id("import")
                )
                undo = gr.Button("Undo", size="sm", visible=False, elem_id=elem_id("undo"))
            message = gr.HTML(elem_id=elem_id("library_message"))
        with gr.Column(scale=2, min_width=300, visible=False, elem_id=elem_id("chosen")) as panel:
            facts_html = gr.HTML(elem_id=elem_id("facts"))
            button_options: dict[str, Any] = {"size": "sm", "min_width": 80}
            with gr.Row():
                export = gr.DownloadButton("Download", **button_options, elem_id=elem_id("export"))
                export_pt = gr.DownloadButton("Download as .pt", **button_options, elem_id=elem_id("export_legacy"))
                delete = gr.Button("Delete", **button_options, variant="stop", elem_id=elem_id("delete"))
            new_name = gr.Textbox(
                label="New name", max_lines=1, max_length=text_fields.NAME, elem_id=elem_id("rename_to")
            )
            rename = gr.Button("Rename", **button_options, elem_id=elem_id("rename"))
    blend.build(studio, page)
    similarity.build(studio, page)

    details = [chosen, panel, facts_html, export, export_pt, new_name]
    outputs = [message, studio.version, undo, deleted, *details]

    def detail_updates(name: str) -> list[Any]:
        """The updates of the components in `details`."""
        entry = cards.find(library.entries, name)
        if entry is None:
            return ["", gr.update(visible=False), "", None, None, ""]
        e = entry.embedding
        exports = [files.export(studio.folder, e, suffix) for suffix in (SUFFIX, ".pt")] if e else [None, None]
        downloads = [gr.update(visible=file is not None, value=str(file) if file else None) for file in exports]
        return [name, gr.update(visible=True), cards.facts(library, entry), *downloads, ""]

    @errors_as_text(outputs=1 + len(details))
    def on_select(event: gr.EventData) -> list[Any]:
        library.refresh()
        name = picture_html.key(event)
        if cards.find(library.entries, name) is None:
            library.get(name)  # raises a fitting error: another page may have deleted it
        return ["", *detail_updates(name)]

    @errors_as_text(outputs=len(outputs))
    def on_delete(name: str) -> list[Any]:
        deleted_aesthetic = files.delete(library, name)
        undo_update = gr.update(visible=True, value=f"Undo: bring {name} back")
        return [status(f"Deleted {name}."), studio.next_version(), undo_update, deleted_aesthetic, *detail_updates("")]

    @errors_as_text(outputs=len(outputs))
    def on_undo(deleted_aesthetic: Deleted) -> list[Any]:
        files.restore(library, deleted_aesthetic)
        hidden = gr.update(visible=False)
        return [
            status(f"{deleted_aesthetic.name} is back."),
            studio.next_version(),
            hidden,
            Deleted(),
            *detail_updates(deleted_aesthetic.name),
        ]

    @errors_as_text(outputs=len(outputs))
    def on_rename(name: str, new: str) -> list[Any]:
        new = text_fields.text(new, "A name", text_fields.NAME)
        if not new:
            raise AestheticError("Write the new name first.")
        library.rename(name, new)
        sentence = status(f"{name} is called {new} now.")
        return [sentence, studio.next_version(), gr.skip(), gr.skip(), *detail_updates(new)]

    @errors_as_text(outputs=2)
    def on_import(paths: list[str] | None) -> list[Any]:
        return [files.import_files(library, [Path(path) for path in paths or ()]), studio.next_version()]

    def show_cards(name: str) -> str:
        library.refresh()
        return cards.cards(studio, name)

    cards_html.select(on_select, None, [message, *details], **INTERNAL_EVENT).then(None, js=_SCROLL_TO_FACTS)
    delete.click(on_delete, chosen, outputs, **CHANGES_LIBRARY)
    undo.click(on_undo, deleted, outputs, **CHANGES_LIBRARY)
    gr.on([rename.click, new_name.submit], on_rename, [chosen, new_name], outputs, **CHANGES_LIBRARY)
    upload.upload(on_import, upload, [message, studio.version], **CHANGES_LIBRARY)
    gr.on([page.load, studio.version.change], show_cards, chosen, cards_html, **INTERNAL_EVENT)
