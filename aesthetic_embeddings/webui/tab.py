"""The page "Create aesthetic embedding": what creation.py does, as widgets and HTML.

Only what gradio 3.41 and 4.40 both have is used, so one builder serves both hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr

from ..aesthetics.creation import Creation
from ..aesthetics.embedding import AestheticEmbedding
from ..aesthetics.families import supported_models
from ..errors import AestheticError
from ..ui import scripts
from ..ui.facts import facts as embedding_facts
from ..ui.facts import nearest
from ..ui.messages import errors_as_text
from . import accordion, creation, host
from .creation import ENCODERS, IF_EXISTS, PARTS, KnownEncoder

MAX_FILES = 10_000  # that a dropped folder brings
FOLDERS = "With a folder, if you like: seas/dusk"
LABELS = {f"{encoder.label}, for {supported_models([encoder.family])}": encoder for encoder in ENCODERS}


def build() -> gr.Blocks:
    """Draw it. To be called after the accordions are drawn: their dropdowns follow the changes made here."""
    page = gr.Blocks(analytics_enabled=False)
    with page:
        made = gr.State("")  # the name of what was created last
        with gr.Tabs(elem_id=_id("parts")):
            with gr.TabItem("Create", elem_id=_id("create_part")):
                created, use = _create(page, made)
            with gr.TabItem("Manage", elem_id=_id("manage_part")):
                changed, chosen, cards = _manage()
        dropdowns, hints = list(host.dropdowns), list(host.hints)

        def update_page() -> list[Any]:
            host.library.refresh()
            names, hint = accordion.choices(host.library), accordion.hint(host.library)
            return [
                *accordion.offered(dropdowns, names),
                *(gr.update(value=hint) for _ in hints),
                *accordion.offered([chosen], creation.names()),
                creation.cards(),
            ]

        shown = [*dropdowns, *hints, chosen, cards]
        for event in changed:
            event.then(update_page, inputs=[], outputs=shown, show_progress="hidden")
        created.then(update_page, inputs=[], outputs=shown, show_progress="hidden").then(
            lambda name: [gr.update(visible=bool(name)), gr.update(value=name or None)],
            inputs=[made],
            outputs=[use, chosen],  # Manage shows what was just made
            show_progress="hidden",
        )
        # the page that a browser loads is the one that was built at the start
        page.load(update_page, inputs=[], outputs=shown, show_progress="hidden")
    return page


def _id(name: str) -> str:
    return f"aesthetic_gradients_{name}"


# ---------------------------------------------------------------- Create


def _create(page: gr.Blocks, made: gr.State) -> tuple[Any, gr.Button]:
    """Draw it, and return the event after which `made` is the name of what was created, and the button that uses it."""
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
                taken = gr.Radio(
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
            rows, state, fetch, parts = _what_is_missing()
            with gr.Row():
                go = gr.Button("Create", variant="primary", elem_id=_id("create"))
                stop = gr.Button("Interrupt", elem_id=_id("interrupt"))
            more = _more()
        with gr.Column():
            message = gr.HTML(elem_id=_id("created"), elem_classes="aesthetic-message")
            use = gr.Button("Use it in txt2img", visible=False, elem_id=_id("use"))
            gallery = gr.Gallery(label="Pictures, with their similarity to the mean", columns=4, elem_id=_id("gallery"))

    scripts.accept_folders(page, _id("pictures"), MAX_FILES)
    stop.click(creation.interrupt, inputs=[], outputs=[], show_progress="hidden")
    folder.upload(uploaded, inputs=[pictures, folder], outputs=[pictures], show_progress="hidden")
    state_of: dict[str, Any] = {"fn": encoder_state, "inputs": [encoders], "outputs": [state, *rows]}
    page.load(**state_of, show_progress="hidden")
    encoders.change(**state_of, show_progress="hidden")
    fetched = [fetch.click(download, inputs=[encoders], outputs=[message])]
    for part, button in zip(PARTS, parts, strict=True):
        fetched.append(button.click(downloading(part), inputs=[], outputs=[message]))
    for event in fetched:
        event.then(**state_of, show_progress="hidden")
    if host.txt2img:
        use.click(lambda name: [True, name], inputs=[made], outputs=[*host.txt2img], show_progress="hidden")
    inputs = [pictures, name, taken, encoders, *more]
    return go.click(create, inputs=inputs, outputs=[message, gallery, made]), use


def _what_is_missing() -> tuple[list[gr.Row], gr.HTML, gr.Button, list[gr.Button]]:
    """Draw a row for each part that may be missing, with the button that fetches it.

    Returns the rows, what says which encoders are missing, their button, and the other parts' buttons.
    """
    rows, parts = [], []
    with gr.Row(visible=False, elem_classes="aesthetic-missing") as row:
        state = gr.HTML(elem_id=_id("encoder_state"))
        fetch = gr.Button("Download missing encoders", size="sm", elem_id=_id("download"))
        rows.append(row)
    for i, part in enumerate(PARTS):
        with gr.Row(visible=False, elem_classes="aesthetic-missing") as row:
            gr.HTML(f"<p>The {part.label}, {part.needed_by}, is <b>missing</b>.</p>")
            parts.append(gr.Button(f"Download ({part.size})", size="sm", elem_id=_id(f"download_{i}")))
            rows.append(row)
    return rows, state, fetch, parts


def _more() -> list[Any]:
    """Draw what few people need, and return it in the order in which `create` takes it."""
    open_paths = host.paths_are_open()
    line: dict[str, Any] = {"lines": 1, "max_lines": 1, "visible": open_paths}
    with gr.Accordion("More", open=False, elem_id=_id("more")):
        path = gr.Textbox(label="Folder on the server", **line, elem_id=_id("path"))
        ordinary = gr.File(
            label="Ordinary pictures to tell them apart from", file_count="multiple", elem_id=_id("ordinary")
        )
        ordinary_path = gr.Textbox(
            label="Folder of ordinary pictures on the server",
            info="Optional, as the files above: what the setting Contrast takes out.",
            **line,
            elem_id=_id("ordinary_path"),
        )
        other = gr.Textbox(
            label="Encoder folder",
            info="Another CLIP in transformers format, on the server. Empty: the encoders above.",
            **line,
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
    return [path, other, batch_size, ordinary, ordinary_path]


def uploaded(before: list[Any] | None, more: list[Any] | None) -> list[str]:
    """The files of the drop zone, and a chosen folder's."""
    return [str(file) for file in creation.pictures([*(before or []), *(more or [])])]


def _report(progress: gr.Progress) -> creation.Report:
    def report(done: float, total: float, words: str) -> None:
        progress(done / total if total else 0, desc=words)

    return report


@errors_as_text(outputs=3)
def create(
    files: list[Any] | None,
    name: str,
    taken: str,
    encoders: list[str],
    path: str = "",
    encoder_folder: str = "",
    batch_size: int = 8,
    ordinary: list[Any] | None = None,
    ordinary_path: str = "",
    progress: Any = gr.Progress(),  # noqa: B008  # gradio's way to ask for it
) -> list[Any]:
    """What was made, in words; its pictures; and its name."""
    seen, e, file = creation.create(
        name.strip(),
        creation.pictures(files or [], path),
        [LABELS[label] for label in encoders],
        encoder_folder,
        int(batch_size),
        taken,
        _report(progress),
        against=creation.pictures(ordinary or [], ordinary_path),
    )
    return [summary(seen, e, str(file)), creation.thumbnails(seen[0]), e.name]


@errors_as_text(outputs=1)
def download(encoders: list[str], progress: Any = gr.Progress()) -> str:  # noqa: B008
    absent = [LABELS[label] for label in encoders if not creation.located(LABELS[label])]
    for encoder in absent:
        creation.download(encoder, _report(progress))
    return "".join(f"<p>{encoder.label} is on this machine now.</p>" for encoder in absent)


def downloading(part: Any) -> Callable[..., str]:
    """The handler of the button that fetches it."""

    @errors_as_text(outputs=1)
    def handle(progress: Any = gr.Progress()) -> str:  # noqa: B008
        file = creation.download_part(part, _report(progress))
        return f"<p>The {part.label} is on this machine now: {_code(file)}.</p>"

    return handle


def encoder_state(labels: list[str]) -> list[Any]:
    """What it takes to get the encoders that are missing; and which rows of missing parts to show."""
    missing = [LABELS[label] for label in labels if not creation.located(LABELS[label])]
    said = "".join(f"<p>{_how_to_get(encoder)}</p>" for encoder in missing)
    rows = [bool(missing), *(not part.is_here(host.clip_folders()) for part in PARTS)]
    return [f"<div class='aesthetic-state'>{said}</div>", *(gr.update(visible=shown) for shown in rows)]


def _how_to_get(encoder: KnownEncoder) -> str:
    folder = host.encoder_folder() / encoder.name
    return (
        f"{encoder.label} is <b>missing: {encoder.gigabytes:.2f} GB to download</b>.<details><summary>Without a network"
        f"</summary>Put {encoder.file_names} into {_code(folder)}. On another machine, this fetches only these files: "
        f"{_code(encoder.download_command)}</details>"
    )


def summary(seen: Sequence[Creation], e: AestheticEmbedding, file: str) -> str:
    """How similar each encoder found the pictures, what was skipped, and which embeddings are near."""
    lines = [f"<b>{escape(e.name)}</b> was made from {e.images} pictures and saved as {_code(file)}."]
    twin = next((entry.duplicate_of for entry in host.library.entries if entry.name == e.name), "")
    if twin:
        lines.append(f"It equals <b>{escape(twin)}</b>, so the dropdowns show only that name.")
    for found in seen:
        each = found.similarities
        if len(each) > 1:
            least = _file_name(found.files[int(each.argmin())])
            who = f", by {escape(found.embedding.encoder)}" if len(seen) > 1 else ""
            lines.append(
                f"Similarity to their mean{who}: <b>{each.mean():.2f} ± {each.std():.2f}</b>, lowest {each.min():.2f} "
                f"({escape(least)})."
            )
    if len(seen[0].similarities) > 1:
        lines.append(
            "1 means identical pictures. The lower it is, and the more it varies, the less the pictures have in "
            "common, and the weaker the aesthetic."
        )
    lines.append(nearest(host.library, e))
    if seen[0].skipped:
        skipped = [f"<li>{escape(_file_name(name))}: {escape(reason)}</li>" for name, reason in seen[0].skipped]
        lines.append(f"Skipped: {len(skipped)}<ul>{''.join(skipped)}</ul>")
    return "".join(f"<div>{line}</div>" for line in lines)


# ---------------------------------------------------------------- Manage


def _manage() -> tuple[list[Any], gr.Dropdown, gr.Gallery]:
    """Draw it, and return the events that may change the library, the dropdown of all names, and their cards."""
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
            about = gr.HTML(elem_id=_id("facts"))
            export_it = gr.Button("Export", size="sm", elem_id=_id("export"))
            file = gr.File(label="Exported file", interactive=False, visible=False, elem_id=_id("exported"))
            message = gr.HTML(elem_id=_id("managed"), elem_classes="aesthetic-message")
        with gr.Column():
            picture = gr.Image(label="Preview picture", type="pil", height=256, elem_id=_id("preview"))
            keep = gr.Button("Save as preview", size="sm", elem_id=_id("save_preview"))
    with gr.Row():
        with gr.Column():
            new = gr.Textbox(label="New name", info=FOLDERS, lines=1, max_lines=1, elem_id=_id("new_name"))
            rename_it = gr.Button("Rename", size="sm", elem_id=_id("rename"))
            sure = gr.Checkbox(False, label="Confirm deletion", elem_id=_id("sure"))
            delete_it = gr.Button("Delete", size="sm", variant="stop", elem_id=_id("delete"))
        with gr.Column():
            recipe = gr.Textbox(
                label="Blend",
                info="Weighted; a negative weight pushes away.",
                placeholder="dusk:0.7 dawn:-0.3",
                lines=1,
                max_lines=1,
                elem_id=_id("recipe"),
            )
            blended = gr.Textbox(label="Name of the blend", lines=1, max_lines=1, elem_id=_id("blend_name"))
            again = gr.Checkbox(False, label="Replace an existing embedding", elem_id=_id("blend_overwrite"))
            blend_it = gr.Button("Blend", size="sm", elem_id=_id("blend"))

    cards.select(card_name, inputs=[], outputs=[chosen], show_progress="hidden")
    chosen.change(show, inputs=[chosen], outputs=[about, picture], show_progress="hidden")
    keep.click(save_preview, inputs=[chosen, picture], outputs=[message])
    export_it.click(export, inputs=[chosen], outputs=[message, file])
    return (
        [
            rename_it.click(rename, inputs=[chosen, new], outputs=[message, chosen]),
            delete_it.click(delete, inputs=[chosen, sure], outputs=[message, chosen, sure]),
            blend_it.click(blend, inputs=[blended, recipe, again], outputs=[message, chosen]),
        ],
        chosen,
        cards,
    )


def card_name(event: gr.SelectData) -> str:
    """The name of the card that was clicked."""
    return str(creation.names()[event.index])


def show(name: str | None) -> list[Any]:
    """The facts of an embedding, and its preview."""
    if not name:
        return ["", None]
    return [facts(name), creation.preview(name)]


@errors_as_text(outputs=1)
def facts(name: str) -> str:
    host.library.get(name)  # raises where it is unknown or unreadable
    entry = next(entry for entry in host.library.entries if entry.name == name and entry.embedding)
    return embedding_facts(host.library, entry, show_path=True)


@errors_as_text(outputs=1)
def save_preview(name: str | None, picture: Any) -> str:
    return f"<p>The preview was saved as {_code(creation.set_preview(_named(name), picture))}.</p>"


@errors_as_text(outputs=2)
def export(name: str | None) -> list[Any]:
    return ["", gr.update(value=str(creation.export(_named(name))), visible=True)]


@errors_as_text(outputs=2)
def rename(name: str | None, new: str) -> list[Any]:
    path = host.library.rename(_named(name), new.strip())
    return [f"<p>The file is {_code(path)} now.</p>", _choose(new.strip())]


@errors_as_text(outputs=3)
def delete(name: str | None, sure: bool) -> list[Any]:
    if not sure:
        raise AestheticError("Tick Confirm deletion first: a deleted file cannot be restored.")
    return [f"<p>Deleted {_code(host.library.delete(_named(name)))}.</p>", _choose(None), gr.update(value=False)]


@errors_as_text(outputs=2)
def blend(new: str, recipe: str, overwrite: bool) -> list[Any]:
    path = creation.blend(new.strip(), recipe, overwrite)
    return [f"<p>The blend was saved as {_code(path)}.</p>", _choose(new.strip())]


def _choose(name: str | None) -> Any:
    return gr.update(choices=creation.names(), value=name)


def _named(name: str | None) -> str:
    if not name:
        raise AestheticError("Choose an aesthetic embedding first.")
    return name


# ---------------------------------------------------------------- HTML


def _file_name(path: str) -> str:
    """Without its folder: uploads lie in temporary ones."""
    return path.replace("\\", "/").split("/")[-1]


def _code(x: object) -> str:
    return f"<code>{escape(str(x))}</code>"
