"""Pictures with captions and buttons, as HTML. Gradio's gallery has one line for each picture, and no buttons.

A button has a key and the name of an event of its component, `gr.HTML(js_on_load=CLICKS)`. A handler of that event gets
the key from `key(event)`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import gradio as gr
from PIL import Image, ImageOps

from ..aesthetics import pictures

CLICKS = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-event]');
  if (!button) return;
  if (button.hasAttribute('aria-pressed'))
    for (const each of element.querySelectorAll('[aria-pressed]')) each.setAttribute('aria-pressed', each === button);
  trigger(button.dataset.event, {key: button.dataset.key});
});
"""


def key(event: gr.EventData) -> str:
    """The key of the button that was clicked, as the browser sent it."""
    return str(event._data.get("key", ""))[:300]


def grid(tiles: Iterable[str]) -> str:
    return f"<div class='tiles'>{''.join(tiles)}</div>"


def removable_tile(picture: bytes, key: str, caption: str, name: str, is_outlier: bool) -> str:
    """A picture with a button that triggers the event `delete`."""
    badge = "<span class='mark'>unlike the others</span>" if is_outlier else ""
    return (
        f"<figure class='tile{' odd' if is_outlier else ''}'>{_image(picture)}"
        f"<figcaption><b>{escape(caption)}</b> {escape(name)}{badge}</figcaption>"
        f"<button type='button' class='cross' data-event='delete' data-key='{escape(key)}' "
        f"aria-label='Remove {escape(name)}' title='Remove'>×</button></figure>"
    )


def card(
    picture: bytes | None, name: str, lines: Sequence[str], chosen: bool, unreadable: bool, enabled: bool, hue: int
) -> str:
    """A picture with text that is a button and triggers the event `select`. hue: of the placeholder, in degrees."""
    text = "".join(f"<span>{escape(line)}</span>" for line in lines)
    letter = escape(name.split("/")[-1][:1].upper())
    placeholder = f"<span class='blank' style='filter: hue-rotate({hue}deg)' aria-hidden='true'>{letter}</span>"
    return (
        f"<button type='button' class='tile card{' odd' if unreadable else ''}' aria-pressed='{str(chosen).lower()}' "
        f"data-event='select' data-key='{escape(name)}'{'' if enabled else ' disabled'}>"
        f"{_image(picture) if picture else placeholder}<b>{escape(name)}</b>{text}</button>"
    )


def figure(picture: bytes, caption: str) -> str:
    return f"<figure class='figure'>{_image(picture, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def thumbnail(file: str | Path, size: int = 256) -> bytes:
    """A picture scaled down to `size` pixels, as WebP. Raises Pillow's errors for files that it cannot read."""
    return encoded(pictures.thumbnail(Path(file), size), "WEBP")


def mosaic(thumbnails: Sequence[bytes], size: int = 256) -> bytes:
    """Four pictures in one PNG. With fewer than four, it is the first alone."""
    images = [Image.open(io.BytesIO(data)) for data in (thumbnails[:4] if len(thumbnails) >= 4 else thumbnails[:1])]
    cell = size if len(images) == 4 else 2 * size
    mosaic_image = Image.new("RGB", (2 * size, 2 * size))
    for index, image in enumerate(images):
        mosaic_image.paste(ImageOps.fit(image, (cell, cell)), (index % 2 * cell, index // 2 * cell))
    return encoded(mosaic_image, "PNG")


def encoded(image: Image.Image, format: str) -> bytes:
    data = io.BytesIO()
    image.save(data, format)
    return data.getvalue()


def _image(data: bytes, alt: str = "") -> str:
    """An image with its data inside the page, so that no file is served for it."""
    format = "png" if data.startswith(b"\x89PNG") else "webp"
    return (
        f"<img src='data:image/{format};base64,{base64.b64encode(data).decode()}' alt='{escape(alt)}' loading='lazy'>"
    )
