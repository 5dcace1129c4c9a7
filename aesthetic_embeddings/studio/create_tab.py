"""The tab Create: pictures in; how alike they are; and, without those that do not belong, saved as an aesthetic."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from .. import pocket
from ..aesthetics.creation import Creation, combine, create_each
from ..aesthetics.embedding import AestheticEmbedding, merge
from ..aesthetics.families import serves
from ..aesthetics.image_encoder import Encoder
from ..aesthetics.library import check_name
from ..errors import AestheticError, Interrupted
from ..ui.messages import errors_as_text
from . import picture_html, plots
from .library_tab import saved
from .state import Studio, elem_id

MAX_PICTURES = 500
MAX_PIXELS = 64_000_000  # of one picture: 0.2 GB once unpacked
SHOWN = 100

#: Gradio's drop zone takes files alone; of a dropped folder it would send the folder's name.
FOLDERS = """() => {
const add = async (entry, all) => {
  if (all.items.length > %d || entry.name.startsWith('.')) return;
  if (entry.isFile) return all.items.add(await new Promise((resolve, reject) => entry.file(resolve, reject)));
  const reader = entry.createReader();
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;)
    for (const each of some) await add(each, all);
};
document.addEventListener('drop', async event => {
  const input = event.target.closest('#%s')?.querySelector('input[type=file]');
  const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry()).filter(Boolean);
  if (!input || !entries.some(entry => entry.isDirectory)) return;
  event.preventDefault();
  event.stopPropagation();
  const all = new DataTransfer();
  for (const entry of entries) await add(entry, all);
  input.files = all.files;
  input.dispatchEvent(new Event('change'));
}, true);
}"""


@dataclass(frozen=True)
class Pictures:
    """What one page has been given so far.

    seen: by each encoder. thumbnails: file -> WebP. refused: (file, reason) of what no encoder was shown.
    """

    seen: tuple[Creation, ...] = ()
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    refused: tuple[tuple[str, str], ...] = ()


@dataclass
class UploadState:
    """One for each page, and the same for all its handlers: files that are yet to be looked at, and whether to stop."""

    waiting: list[str] = field(default_factory=list)
    cancelled: bool = False


def build(studio: Studio, page: gr.Blocks) -> None:
    """Draw it, inside its tab."""
    pictures, desk = gr.State(Pictures(), time_to_live=3600), gr.State(UploadState())
    gr.Markdown("Pictures in one taste: five or more, better twenty. What they show matters less than how they look.")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            zone = gr.File(
                label="Drop pictures, or a folder of them", file_count="multiple", height=200, elem_id=elem_id("zone")
            )
            with gr.Row():
                folder = gr.UploadButton(
                    "Choose a folder", file_count="directory", size="sm", elem_id=elem_id("choose_folder")
                )
                samples = gr.Button("Try sample pictures", size="sm", elem_id=elem_id("samples"))
                cancel = gr.Button("Cancel", size="sm", variant="stop", visible=False, elem_id=elem_id("create_cancel"))
            message = gr.HTML(elem_id=elem_id("create_message"))
            with gr.Column(visible=False) as saving:
                name = gr.Textbox(
                    label="Name of the new aesthetic", placeholder="dusk", max_lines=1, elem_id=elem_id("new_name")
                )
                replace = gr.Checkbox(False, label="Replace one of that name", elem_id=elem_id("replace"))
                save = gr.Button("Save", variant="primary", elem_id=elem_id("create_save"))
                outcome = gr.HTML(elem_id=elem_id("saved"))
        with gr.Column(scale=3, min_width=300, visible=False) as seen:
            with gr.Row():
                tidy = gr.Button(visible=False, variant="primary", size="sm", elem_id=elem_id("tidy"))
                clear = gr.Button("Start anew", size="sm", elem_id=elem_id("clear"))
            about = gr.HTML(elem_id=elem_id("alike"))
            plot = plots.likeness_plot(elem_id("likeness"))
            shown = gr.HTML(js_on_load=picture_html.CLICKS, elem_id=elem_id("pictures"))

    def shows(chosen: Pictures) -> list[Any]:
        """The updates of `outputs` but the message."""
        if not chosen.seen:
            hidden = gr.update(visible=False)
            return [chosen, hidden, hidden, "", hidden, None, ""]
        first = chosen.seen[0]
        odd = sum(first.outliers())
        label = f"Remove the {odd} that are unlike the others" if odd > 1 else "Remove the one unlike the others"
        return [
            chosen,
            gr.update(visible=True),
            gr.update(visible=True),
            found(chosen),
            gr.update(visible=odd > 0, value=label),
            plots.likeness([Path(file).name for file in first.files], first.similarities, first.outliers()),
            removable(chosen),
        ]

    outputs = [message, pictures, saving, seen, about, tidy, plot, shown]

    def begin(files: Any, desk: UploadState) -> list[Any]:
        desk.waiting += [str(file) for file in files or ()]
        desk.cancelled = False
        return [gr.update(visible=True), None]  # and the frame is free for more

    @errors_as_text(outputs=len(outputs))
    def add(before: Pictures, desk: UploadState, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        files, desk.waiting = desk.waiting, []
        if not files:
            return [gr.skip()] * len(outputs)  # those before took them along

        def on_progress(encoder: str, done: int, total: int) -> None:
            if desk.cancelled:
                raise Interrupted("Cancelled. The pictures before are still here." if before.seen else "Cancelled.")
            words = f"{done} of {total} pictures" if done else "Loading the encoder"
            progress(done / max(total, 1), desc=f"{encoder}: {words}" if len(studio.encoders) > 1 else words)

        return ["", *shows(added(before, files, studio.encoders, on_progress))]

    @errors_as_text(outputs=len(outputs))
    def remove(before: Pictures, event: gr.EventData) -> list[Any]:
        gone = [file for file in before.thumbnails if _key(file) == picture_html.key(event)]
        return ["", *shows(without(before, gone))]

    @errors_as_text(outputs=len(outputs))
    def remove_outliers(before: Pictures) -> list[Any]:
        odd = [zip(first.files, first.outliers(), strict=True) for first in before.seen[:1]]
        return ["", *shows(without(before, [file for pairs in odd for file, is_odd in pairs if is_odd]))]

    @errors_as_text(outputs=2)
    def keep(chosen: Pictures, name: str, replace: bool) -> list[Any]:
        if not chosen.seen:
            raise AestheticError("There are no pictures yet. Drop some into the frame above.")
        if not name.strip():
            raise AestheticError("Give the new aesthetic a name first.")
        check_name(name.strip())
        e = aesthetic(chosen, name.strip())
        return [saved(studio.library, e, preview(chosen), overwrite=replace), studio.changed()]

    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    for event, files in ((zone.upload, zone), (folder.upload, folder), (samples.click, gr.State(_samples()))):
        (
            event(begin, [files, desk], [cancel, zone], queue=False, **quiet)
            .then(
                *(add, [pictures, desk], outputs),
                show_progress_on=[message],
                concurrency_id="create",
                concurrency_limit=1,
                api_visibility="private",
            )
            .then(lambda: gr.update(visible=False), None, cancel, queue=False, **quiet)
        )
    cancel.click(_cancel, desk, None, queue=False, **quiet)
    shown.delete(remove, pictures, outputs, **quiet)
    tidy.click(remove_outliers, pictures, outputs, **quiet)
    clear.click(lambda: ["", *shows(Pictures())], None, outputs, **quiet)
    gr.on(
        [save.click, name.submit],
        *(keep, [pictures, name, replace], [outcome, studio.version]),
        concurrency_id="library",
        concurrency_limit=1,
        **quiet,
    )
    page.load(None, js=FOLDERS % (MAX_PICTURES, elem_id("zone")))


def _cancel(desk: UploadState) -> None:
    desk.cancelled = True


# ---- pictures -------------------------------------------------------------------------------------------------------


def added(before: Pictures, files: Sequence[str], encoders: Sequence[Encoder], on_progress: Any) -> Pictures:
    """With more files, each looked at by every encoder. Raises AestheticError where none of them can be read."""
    new = [file for file in dict.fromkeys(files) if file not in before.thumbnails and not _hidden(file)]
    if not new:
        raise AestheticError("These pictures are here already.")
    taken, refused = admitted(new, MAX_PICTURES - len(before.thumbnails))
    if not taken:
        file, reason = refused[0]
        raise AestheticError(f"None of the pictures was taken, {len(refused)} in all. {Path(file).name}: {reason}.")
    try:
        now = create_each(taken, encoders, on_progress=on_progress)
        seen = [combine([*before.seen[i : i + 1], each]) for i, each in enumerate(now)]
    except AestheticError as error:
        said = str(error)
        for file in taken:  # the folders that uploads lie in mean nothing to people
            said = said.replace(file, Path(file).name)
        raise type(error)(said) from error
    thumbnails = dict(before.thumbnails)
    for file in seen[0].files:
        if file not in thumbnails:
            with suppress(OSError):  # it could be read a moment ago
                thumbnails[file] = picture_html.thumbnail(file)
    return Pictures(tuple(seen), thumbnails, (*before.refused, *refused))


def admitted(files: Sequence[str], room: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Those files that may be looked at, and (file, reason) of the others."""
    taken, refused = [], []
    for file in files:
        width = height = 0
        with suppress(Exception), Image.open(file) as image:  # reads the size alone; what is no picture is told later
            width, height = image.size
        if width * height > MAX_PIXELS:
            refused.append((file, f"too large: {width} × {height} pixels"))
        elif len(taken) >= room:
            refused.append((file, f"too many: {MAX_PICTURES} are taken at most"))
        else:
            taken.append(file)
    return taken, refused


def without(before: Pictures, files: Collection[str]) -> Pictures:
    rest = {file: picture for file, picture in before.thumbnails.items() if file not in files}
    if not rest:
        return Pictures()
    return Pictures(tuple(combine([each], files) for each in before.seen), rest, before.refused)


def aesthetic(chosen: Pictures, name: str) -> AestheticEmbedding:
    return merge([each.embedding for each in chosen.seen], name)


def preview(chosen: Pictures) -> bytes:
    """The most typical pictures."""
    first = chosen.seen[0]
    ranked = [first.files[i] for i in first.similarities.argsort(descending=True).tolist()]
    return picture_html.mosaic([chosen.thumbnails[file] for file in ranked if file in chosen.thumbnails])


# ---- in words -------------------------------------------------------------------------------------------------------


def found(chosen: Pictures) -> str:
    """How alike the pictures are, what they serve, and what was left out."""
    lines = []
    for each in chosen.seen:
        x = each.similarities
        who = f"By {escape(each.embedding.encoder)}: " if len(chosen.seen) > 1 else ""
        if len(x) == 1:
            lines.append(f"{who}<b>One picture.</b> A few more make the taste clearer.")
            continue
        lines.append(f"{who}<b>{len(x)} pictures</b>, similarity to their mean <b>{x.mean():.2f} ± {x.std():.2f}</b>.")
    if len(chosen.seen[0].files) > 1:
        lines.append("At 1 all would be the same picture; the lower it is, the less they have in common.")
    lines.append(f"For {escape(serves(family for each in chosen.seen for family in each.embedding.vectors))}.")
    skipped = dict([*chosen.refused, *chosen.seen[0].skipped])
    if skipped:
        listed = [f"<li>{escape(Path(file).name)}: {escape(why)}</li>" for file, why in skipped.items()][:SHOWN]
        listed += [f"<li>and {len(skipped) - SHOWN} more</li>"] if len(skipped) > SHOWN else []
        opened = " open" if len(skipped) <= 5 else ""
        lines.append(f"<details{opened}><summary>Skipped: {len(skipped)}</summary><ul>{''.join(listed)}</ul></details>")
    return "".join(f"<div>{line}</div>" for line in lines)


def removable(chosen: Pictures) -> str:
    """The pictures, the least typical first."""
    first = chosen.seen[0]
    odd, order = first.outliers(), first.similarities.argsort().tolist()
    some = [
        picture_html.removable(
            *(chosen.thumbnails[file], _key(file), f"{first.similarities[i]:.2f}", Path(file).name, odd[i])
        )
        for i in order[:SHOWN]
        if (file := first.files[i]) in chosen.thumbnails
    ]
    rest = len(order) - SHOWN
    return picture_html.grid(some) + (f"<p>And {rest} that are more typical.</p>" if rest > 0 else "")


def _key(file: str) -> str:
    """What stands for a file in the page: its name, and that of the folder that gradio made for it of its content."""
    return "/".join(Path(file).parts[-2:])


def _hidden(file: str) -> bool:
    return Path(file).name.startswith(".")


def _samples() -> list[str]:
    """A dozen pictures of one kind, and one of another."""
    return [*map(str, sorted((pocket.SAMPLES / "aivazovsky").iterdir())), str(pocket.SAMPLES / "glowwave" / "01.png")]
