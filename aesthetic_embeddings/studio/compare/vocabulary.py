"""The subjects that the pocket model knows, and the words of a prompt that it may not know."""

from __future__ import annotations

import re
from typing import Any

KNOWN = (
    "castles, ships, lighthouses, pyramids, trees, mountains, cities, flowers, fountains, jellyfish, chairs, astronauts"
)


def warning(prompt: str, tokenizer: Any) -> str:
    """A sentence about the words that the pocket model may not know. Empty if it knows all."""
    unknown = [word if len(word) <= 30 else word[:30] + "..." for word in unknown_words(prompt, tokenizer)[:5]]
    return f"The pocket model may not know: {', '.join(unknown)}. It knows {KNOWN}." if unknown else ""


def unknown_words(prompt: str, tokenizer: Any) -> list[str]:
    """The words that the tokenizer splits into several tokens.

    Its vocabulary was learned from the captions of the training pictures, so all but rare words of these are one token.
    """
    words = dict.fromkeys(re.findall(r"[^\W\d_]+", prompt.lower()))
    return [word for word in words if len(tokenizer.tokenize(word)) > 1]
