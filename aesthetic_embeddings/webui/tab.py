"""The tab "Create aesthetic embedding": widgets and HTML for the actions of creation.py.

It uses only features that gradio 3.41 and 4.40 share, so one builder serves both hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr

from ..aesthetics.creation import FOR_MANY_PICTURES, MANY_PICTURES, Creation
from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.families import supported_models
from ..errors import AestheticError
from ..ui import scripts
from ..ui.facts import facts as embedding_facts
from ..ui.facts import nearest
from ..ui.messages import errors_as_text, status
from . import accordion, creation, host
from .creation import ENCODERS, IF_EXISTS, PARTS, KnownEncoder

MAX_FILES = 10_000  # of a dropped folder
FOLDERS = "With a folder, if you like: seas/dusk"
LABELS = {f"{encoder.label}, for {supported_models([encoder.family])}": encoder for encoder in ENCODERS}


def build() -> gr.Blocks:
    """Build the tab. Call it after the accordions are built, so that their dropdowns follow changes made here."""
    page = gr.Blocks(analytics_enabled=False)
    with page:
        created_name = gr.State("")  # of the embedding that was created last
        with gr.Tabs(elem_id=_id("parts")):
            with gr.TabItem("Create", elem_id=_id("create_part")):
                created, use_button = _build_create_part(page, created_name)
            with gr.TabItem("Manage", elem_id=_id("manage_part")):
                changed, chosen, cards = _build_manage_part()
        dropdowns, hints = list(host.dropdowns), list(host.hints)

        def update_page() -> list[Any]:
            host.library.refresh()
            names, hint = accordion.choices(host.library), accordion.hint(host.library)
            return [
                *accordion.choice_updates(dropdowns, names),
                *(gr.update(value=hint) for _ in hints),
                *accordion.choice_updates([chosen], creation.names()),
                creation.cards(),
            ]

        outputs = [*dropdowns, *hints, chosen, cards]
        for event in changed:
            event.then(update_page, inputs=[], outputs=outputs, show_progress="hidden")
        created.then(update_page, inputs=[], outputs=outputs, show_progress="hidden").then(
            lambda name: [gr.update(visible=bool(name)), gr.update(value=name or None)],
            inputs=[created_name],
            outputs=[use_button, chosen],  # Manage shows the new embedding
            show_progress="hidden",
        )
        # the page was built when the host started, and the library may have changed since
        page.load(update_page, inputs=[], outputs=outputs, show_progress="hidden")
    return page


def _id(name: str) -> str:
    return f"aesthetic_gradients_{name}"


# ---------------------------------------------------------------- Create


def _build_create_part(page: gr.Blocks, created_name: gr.State) -> tuple[Any, gr.Button]:
    """Build the part, and return the event that sets `created_name`, and the button "Use it in txt2img"."""
    with gr.Row():
        with gr.Column():
            pictures = gr.File(
                label="Drop pictures, or a folder of them", file_count="multiple", elem_id=_id("pictures")
            )
            folder = gr.UploadButton("Choose a folder", file_count="directory", size="sm", elem_id=_id("folder"))
            with gr.Row():
                name = gr.Textbox(
                    label="Name of the new embedding", info=FOLDERS, lines=1, max_lines=1, elem_id=_id("name")
                )
                if_exists = gr.Radio(
                    list(IF_EXISTS),
                    value=IF_EXISTS[0],
                    label="If the name exists",
                    info="Add: a vector by another encoder.",
                    elem_id=_id("taken"),
                )
            encoders = gr.CheckboxGroup(
                list(LABELS),
                value=[next(iter(LABELS))],
                label="Encoders",
                info="One vector from each, so that one embedding serves several models.",
                elem_id=_id("encoders"),
            )
            rows, encoders_html, download_button, part_buttons = _build_missing_parts()
            with gr.Row():
                create_button = gr.Button("Create", variant="primary", elem_id=_id("create"))
                interrupt_button = gr.Button("Interrupt", elem_id=_id("interrupt"))
            more_options = _build_more_options()
        with gr.Column():
            message = gr.HTML(elem_id=_id("created"), elem_classes="aesthetic-message")
            use_button = gr.Button("Use it in txt2img", visible=False, elem_id=_id("use"))
            gallery = gr.Gallery(label="Pictures, with their similarity to the mean", columns=4, elem_id=_id("gallery"))

    scripts.accept_folders(page, _id("pictures"), MAX_FILES)
    interrupt_button.click(creation.interrupt, inputs=[], outputs=[], show_progress="hidden")
    folder.upload(dropped_and_uploaded, inputs=[pictures, folder], outputs=[pictures], show_progress="hidden")
    pictures.change(many_pictures, inputs=[pictures], outputs=[message], show_progress="hidden")
    update_missing: dict[str, Any] = {
        "fn": missing_parts_state,
        "inputs": [encoders],
        "outputs": [encoders_html, *rows],
    }
    page.load(**update_missing, show_progress="hidden")
    encoders.change(**update_missing, show_progress="hidden")
    downloads = [download_button.click(download, inputs=[encoders], outputs=[message])]
    for part, button in zip(PARTS, part_buttons, strict=True):
        downloads.append(button.click(part_download_handler(part), inputs=[], outputs=[message]))
    for event in downloads:
        event.then(**update_missing, show_progress="hidden")
    if host.txt2img_widgets:
        use_button.click(
            lambda name: [True, name], inputs=[created_name], outputs=[*host.txt2img_widgets], show_progress="hidden"
        )
    inputs = [pictures, name, if_exists, encoders, *more_options]
    return create_button.click(create, inputs=inputs, outputs=[message, gallery, created_name]), use_button


def _build_missing_parts() -> tuple[list[gr.Row], gr.HTML, gr.Button, list[gr.Button]]:
    """Build a row for missing encoders and one for each other part that may be missing, with download buttons.

    Returns the rows, the HTML that lists missing encoders, the encoders' button, and the other parts' buttons.
    """
    rows, part_buttons = [], []
    with gr.Row(visible=False, elem_classes="aesthetic-missing") as row:
        encoders_html = gr.HTML(elem_id=_id("encoder_state"))
        download_button = gr.Button("Download missing encoders", size="sm", elem_id=_id("download"))
        rows.append(row)
    for index, part in enumerate(PARTS):
        with gr.Row(visible=False, elem_classes="aesthetic-missing") as row:
            gr.HTML(f"<p>The {part.label}, {part.needed_by}, is <b>missing</b>.</p>")
            part_buttons.append(gr.Button(f"Download ({part.size})", size="sm", elem_id=_id(f"download_{index}")))
            rows.append(row)
    return rows, encoders_html, download_button, part_buttons


def _build_more_options() -> list[Any]:
    """Build the fold of rarely needed options, and return them in the order in which `create` takes them."""
    allows_paths = host.allows_server_paths()
    path_field: dict[str, Any] = {"lines": 1, "max_lines": 1, "visible": allows_paths}
    with gr.Accordion("More", open=False, elem_id=_id("more")):
        path = gr.Textbox(label="Folder on the server", **path_field, elem_id=_id("path"))
        ordinary_files = gr.File(
            label="Ordinary pictures to tell them apart from", file_count="multiple", elem_id=_id("ordinary")
        )
        ordinary_path = gr.Textbox(
            label="Folder of ordinary pictures on the server",
            info="Optional, as the files above: what the setting Contrast takes out.",
            **path_field,
            elem_id=_id("ordinary_path"),
        )
        encoder_folder = gr.Textbox(
            label="Encoder folder",
            info="Another CLIP in transformers format, on the server. Empty: the encoders above.",
            **path_field,
            elem_id=_id("encoder_folder"),
        )
        batch_size = gr.Slider(
            minimum=1,
            maximum=64,
            value=8,
            step=1,
            label="Batch size",
            info="Pictures encoded at once. Halved when memory runs out.",
            elem_id=_id("batch_size"),
        )
    return [path, encoder_folder, batch_size, ordinary_files, ordinary_path]


def dropped_and_uploaded(dropped: list[Any] | None, folder: list[Any] | None) -> list[str]:
    """The files of the drop zone together with those of a chosen folder."""
    return [str(file) for file in creation.pictures([*(dropped or []), *(folder or [])])]


def many_pictures(files: list[Any] | None) -> str:
    """What to say of so many files, as HTML."""
    count = len(files or [])
    return status(f"{count} files. {FOR_MANY_PICTURES}") if count >= MANY_PICTURES else ""


def _on_progress(progress: gr.Progress) -> creation.OnProgress:
    def on_progress(done: float, total: float, text: str) -> None:
        progress(done / total if total else 0, desc=text)

    return on_progress


@errors_as_text(outputs=3)
def create(
    files: list[Any] | None,
    name: str,
    if_exists: str,
    encoders: list[str],
    path: str = "",
    encoder_folder: str = "",
    batch_size: int = 8,
    ordinary: list[Any] | None = None,
    ordinary_path: str = "",
    progress: Any = gr.Progress(),  # noqa: B008  # gradio passes a progress bar to this default
) -> list[Any]:
    """Create an embedding. Returns its summary as HTML, its pictures and its name."""
    creations, e, file = creation.create(
        name.strip(),
        creation.pictures(files or [], path),
        [LABELS[label] for label in encoders],
        encoder_folder,
        int(batch_size),
        if_exists,
        _on_progress(progress),
        against=creation.pictures(ordinary or [], ordinary_path),
    )
    return [summary(creations, e, str(file)), creation.thumbnails(creations[0]), e.name]


@errors_as_text(outputs=1)
def download(encoders: list[str], progress: Any = gr.Progress()) -> str:  # noqa: B008
    missing = [LABELS[label] for label in encoders if not creation.encoder_path(LABELS[label])]
    for encoder in missing:
        creation.download(encoder, _on_progress(progress))
    return "".join(f"<p>{encoder.label} is on this machine now.</p>" for encoder in missing)


def part_download_handler(part: Any) -> Callable[..., str]:
    """The handler of the button that downloads `part`."""

    @errors_as_text(outputs=1)
    def handle(progress: Any = gr.Progress()) -> str:  # noqa: B008
        file = creation.download_part(part, _on_progress(progress))
        return f"<p>The {part.label} is on this machine now: {_code(file)}.</p>"

    return handle


def missing_parts_state(labels: list[str]) -> list[Any]:
    """How to get the encoders that are missing, as HTML, and the visibility of each row of missing parts."""
    missing = [LABELS[label] for label in labels if not creation.encoder_path(LABELS[label])]
    instructions = "".join(f"<p>{_how_to_get(encoder)}</p>" for encoder in missing)
    rows = [bool(missing), *(not part.is_here(host.clip_folders()) for part in PARTS)]
    return [f"<div class='aesthetic-state'>{instructions}</div>", *(gr.update(visible=visible) for visible in rows)]


def _how_to_get(encoder: KnownEncoder) -> str:
    folder = host.encoder_folder() / encoder.name
    return (
        f"{encoder.label} is <b>missing: {encoder.gigabytes:.2f} GB to download</b>.<details><summary>Without a network"
        f"</summary>Put {encoder.file_names} into {_code(folder)}. On another machine, this fetches only these files: "
        f"{_code(encoder.download_command)}</details>"
    )


def summary(creations: Sequence[Creation], e: AestheticEmbedding, file: str) -> str:
    """A new embedding in words, as HTML: the similarity of its pictures, skipped files, and its nearest embeddings."""
    lines = [f"<b>{escape(e.name)}</b> was made from {e.images} pictures and saved as {_code(file)}."]
    duplicate_of = next((entry.duplicate_of for entry in host.library.entries if entry.name == e.name), "")
    if duplicate_of:
        lines.append(f"It equals <b>{escape(duplicate_of)}</b>, so the dropdowns show only that name.")
    for result in creations:
        similarities = result.similarities
        if len(similarities) > 1:
            lowest = _file_name(result.files[int(similarities.argmin())])
            by_encoder = f", by {escape(result.embedding.encoder)}" if len(creations) > 1 else ""
            mean, deviation = similarities.mean(), similarities.std()
            lines.append(
                f"Similarity to their mean{by_encoder}: <b>{mean:.2f} ± {deviation:.2f}</b>, "
                f"lowest {similarities.min():.2f} ({escape(lowest)})."
            )
    if len(creations[0].similarities) > 1:
        lines.append(
            "1 means identical pictures. The lower it is, and the more it varies, the less the pictures have in "
            "common, and the weaker the aesthetic."
        )
    lines.append(nearest(host.library, e))
    if creations[0].skipped:
        skipped = [f"<li>{escape(_file_name(name))}: {escape(reason)}</li>" for name, reason in creations[0].skipped]
        lines.append(f"Skipped: {len(skipped)}<ul>{''.join(skipped)}</ul>")
    return "".join(f"<div>{line}</div>" for line in lines)


# ---------------------------------------------------------------- Manage


def _build_manage_part() -> tuple[list[Any], gr.Dropdown, gr.Gallery]:
    """Build the part. Returns the events that may change the library, the dropdown of all names, and the cards."""
    cards = gr.Gallery(
        creation.cards(),
        label="Aesthetics",
        show_label=False,
        columns=8,
        height="auto",
        allow_preview=False,
        elem_id=_id("cards"),
    )
    with gr.Row():
        with gr.Column():
            chosen = gr.Dropdown(creation.names(), label="Aesthetic embedding", elem_id=_id("chosen"))
            facts_html = gr.HTML(elem_id=_id("facts"))
            export_button = gr.Button("Export", size="sm", elem_id=_id("export"))
            file = gr.File(label="Exported file", interactive=False, visible=False, elem_id=_id("exported"))
            message = gr.HTML(elem_id=_id("managed"), elem_classes="aesthetic-message")
        with gr.Column():
            picture = gr.Image(label="Preview picture", type="pil", height=256, elem_id=_id("preview"))
            save_preview_button = gr.Button("Save as preview", size="sm", elem_id=_id("save_preview"))
    with gr.Row():
        with gr.Column():
            new_name = gr.Textbox(label="New name", info=FOLDERS, lines=1, max_lines=1, elem_id=_id("new_name"))
            rename_button = gr.Button("Rename", size="sm", elem_id=_id("rename"))
            confirmed = gr.Checkbox(False, label="Confirm deletion", elem_id=_id("sure"))
            delete_button = gr.Button("Delete", size="sm", variant="stop", elem_id=_id("delete"))
        with gr.Column():
            recipe = gr.Textbox(
                label="Blend",
                info="Weighted; a negative weight pushes away.",
                placeholder="dusk:0.7 dawn:-0.3",
                lines=1,
                max_lines=1,
                elem_id=_id("recipe"),
            )
            blend_name = gr.Textbox(label="Name of the blend", lines=1, max_lines=1, elem_id=_id("blend_name"))
            overwrite = gr.Checkbox(False, label="Replace an existing embedding", elem_id=_id("blend_overwrite"))
            blend_button = gr.Button("Blend", size="sm", elem_id=_id("blend"))

    cards.select(clicked_card, inputs=[], outputs=[chosen], show_progress="hidden")
    chosen.change(show, inputs=[chosen], outputs=[facts_html, picture], show_progress="hidden")
    save_preview_button.click(save_preview, inputs=[chosen, picture], outputs=[message])
    export_button.click(export, inputs=[chosen], outputs=[message, file])
    return (
        [
            rename_button.click(rename, inputs=[chosen, new_name], outputs=[message, chosen]),
            delete_button.click(delete, inputs=[chosen, confirmed], outputs=[message, chosen, confirmed]),
            blend_button.click(blend, inputs=[blend_name, recipe, overwrite], outputs=[message, chosen]),
        ],
        chosen,
        cards,
    )


def clicked_card(event: gr.SelectData) -> str:
    """The name of the card that was clicked."""
    return str(creation.names()[event.index])


def show(name: str | None) -> list[Any]:
    """The facts of an embedding as HTML, and its preview."""
    if not name:
        return ["", None]
    return [facts(name), creation.preview(name)]


@errors_as_text(outputs=1)
def facts(name: str) -> str:
    host.library.get(name)  # raises if it is unknown or unreadable
    entry = next(entry for entry in host.library.entries if entry.name == name and entry.embedding)
    return embedding_facts(host.library, entry, show_path=True)


@errors_as_text(outputs=1)
def save_preview(name: str | None, picture: Any) -> str:
    return f"<p>The preview was saved as {_code(creation.set_preview(_required(name), picture))}.</p>"


@errors_as_text(outputs=2)
def export(name: str | None) -> list[Any]:
    return ["", gr.update(value=str(creation.export(_required(name))), visible=True)]


@errors_as_text(outputs=2)
def rename(name: str | None, new_name: str) -> list[Any]:
    path = host.library.rename(_required(name), new_name.strip())
    return [f"<p>The file is {_code(path)} now.</p>", _select(new_name.strip())]


@errors_as_text(outputs=3)
def delete(name: str | None, confirmed: bool) -> list[Any]:
    if not confirmed:
        raise AestheticError("Tick Confirm deletion first: a deleted file cannot be restored.")
    return [f"<p>Deleted {_code(host.library.delete(_required(name)))}.</p>", _select(None), gr.update(value=False)]


@errors_as_text(outputs=2)
def blend(name: str, recipe: str, overwrite: bool) -> list[Any]:
    path = creation.blend(name.strip(), recipe, overwrite)
    return [f"<p>The blend was saved as {_code(path)}.</p>", _select(name.strip())]


def _select(name: str | None) -> Any:
    return gr.update(choices=creation.names(), value=name)


def _required(name: str | None) -> str:
    if not name:
        raise AestheticError("Choose an aesthetic embedding first.")
    return name


# ---------------------------------------------------------------- HTML


def _file_name(path: str) -> str:
    """A file's name without its folder, since uploads are in temporary folders."""
    return path.replace("\\", "/").split("/")[-1]


def _code(x: object) -> str:
    return f"<code>{escape(str(x))}</code>"
