"""Pictures with words and buttons, as HTML: gradio's gallery has one line for each picture, and no buttons.

A button names an event of the component that it stands in (`gr.HTML(js_on_load=CLICKS)`) and a key; a handler finds the
key by `key(event)`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import gradio as gr
from PIL import Image, ImageOps

from ..aesthetics.creation import to_rgb

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
    """The key of the tile whose button was clicked, as the browser sent it."""
    return str(event._data.get("key", ""))[:300]


def grid(tiles: Iterable[str]) -> str:
    return f"<div class='tiles'>{''.join(tiles)}</div>"


def removable(picture: bytes, key: str, caption: str, name: str, odd: bool) -> str:
    """A picture with a button that triggers `delete`."""
    mark = "<span class='mark'>unlike the others</span>" if odd else ""
    return (
        f"<figure class='tile{' odd' if odd else ''}'>{_image(picture)}"
        f"<figcaption><b>{escape(caption)}</b> {escape(name)}{mark}</figcaption>"
        f"<button type='button' class='cross' data-event='delete' data-key='{escape(key)}' "
        f"aria-label='Remove {escape(name)}' title='Remove'>×</button></figure>"
    )


def card(
    picture: bytes | None, name: str, lines: Sequence[str], chosen: bool, faulty: bool, enabled: bool, hue: int
) -> str:
    """A button that is a picture with words, and triggers `select`. hue: in degrees, of what stands for a picture."""
    words = "".join(f"<span>{escape(line)}</span>" for line in lines)
    letter = escape(name.split("/")[-1][:1].upper())
    blank = f"<span class='blank' style='filter: hue-rotate({hue}deg)' aria-hidden='true'>{letter}</span>"
    return (
        f"<button type='button' class='tile card{' odd' if faulty else ''}' aria-pressed='{str(chosen).lower()}' "
        f"data-event='select' data-key='{escape(name)}'{'' if enabled else ' disabled'}>"
        f"{_image(picture) if picture else blank}<b>{escape(name)}</b>{words}</button>"
    )


def figure(picture: bytes, words: str) -> str:
    return f"<figure class='figure'>{_image(picture, words)}<figcaption>{escape(words)}</figcaption></figure>"


def thumbnail(file: str | Path, size: int = 256) -> bytes:
    """A picture reduced to `size` pixels, as WebP. Raises what Pillow raises for files that it cannot read."""
    with Image.open(file) as image:
        image.draft("RGB", (2 * size, 2 * size))  # JPEGs are unpacked no larger than that
        small = to_rgb(image)
    small.thumbnail((size, size))
    return encoded(small, "WEBP")


def mosaic(thumbnails: Sequence[bytes], size: int = 256) -> bytes:
    """Four pictures as one, or the first alone where there are less; as PNG."""
    shown = [Image.open(io.BytesIO(data)) for data in (thumbnails[:4] if len(thumbnails) >= 4 else thumbnails[:1])]
    side = size if len(shown) == 4 else 2 * size
    page = Image.new("RGB", (2 * size, 2 * size))
    for i, image in enumerate(shown):
        page.paste(ImageOps.fit(image, (side, side)), (i % 2 * side, i // 2 * side))
    return encoded(page, "PNG")


def encoded(image: Image.Image, format: str) -> bytes:
    data = io.BytesIO()
    image.save(data, format)
    return data.getvalue()


def _image(data: bytes, words: str = "") -> str:
    """Within the page, so that no file is served for it."""
    kind = "png" if data.startswith(b"\x89PNG") else "webp"
    return (
        f"<img src='data:image/{kind};base64,{base64.b64encode(data).decode()}' alt='{escape(words)}' loading='lazy'>"
    )
