"""Valid names of aesthetics: those that can be files within the library's folder on Linux, macOS and Windows.

People copy libraries from one system to another, so Windows' rules, the strictest, hold everywhere.
"""

from __future__ import annotations

import re
import unicodedata

from ..errors import AestheticError, quoted

_LONGEST = 255  # bytes of a name
_LONGEST_PART = 200  # bytes of a part; leaves room for endings such as .civitai.info
_MOST_PARTS = 8

_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f\ud800-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])( *\..*)?", re.IGNORECASE)
#: Invisible letters outside of Unicode's category Cf. With them, two names that look the same would be two files.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U0001d159\U000e0000-\U000e0fff]"
)
_EMOJI_STYLE = "\ufe0f"  # behind a symbol it can be seen: it makes an emoji of it


def check_name(name: str) -> None:
    """Raise AestheticError unless a new aesthetic can have this name. Slashes separate folders."""
    size = len(name) if len(name) > _LONGEST else len(name.encode("utf-8", "surrogatepass"))
    if size > _LONGEST:
        raise _wrong(name, f"it is longer than {_LONGEST} bytes")
    parts = name.split("/")
    if len(parts) > _MOST_PARTS:
        raise _wrong(name, f"it has more than {_MOST_PARTS} parts between slashes")
    for part in parts:
        _check_part(name, part)


def collision_key(name: str) -> str:
    """Equal for names that mean one file on Windows, which ignores case, or on macOS, which also composes accents."""
    return unicodedata.normalize("NFC", name).casefold()


def _check_part(name: str, part: str) -> None:
    if not part:
        raise _wrong(name, "it is empty, or has an empty part between slashes")
    if part.startswith("."):
        raise _wrong(name, "no part of it may start with a dot")
    if part != part.strip() or part.endswith("."):
        raise _wrong(name, "no part of it may start or end with a space, or end with a dot")
    if bad := _NOT_ON_WINDOWS.search(part):
        raise _wrong(name, f"Windows does not allow {bad[0]!r} in it")
    if bad_letter := next((b for a, b in zip(" " + part, part, strict=False) if _is_invisible(b, behind=a)), None):
        raise _wrong(name, f"the letter U+{ord(bad_letter):04X} in it is invisible, or reverses the text")
    if _DEVICE.fullmatch(part):
        raise _wrong(name, f"Windows keeps {part!r} for a device")
    if len(part.encode()) > _LONGEST_PART:
        raise _wrong(name, f"a part of it is longer than {_LONGEST_PART} bytes")


def _is_invisible(letter: str, behind: str) -> bool:
    if letter == _EMOJI_STYLE and unicodedata.category(behind) == "So":
        return False
    return bool(_INVISIBLE.match(letter)) or unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")


def _wrong(name: str, why: str) -> AestheticError:
    return AestheticError(f"{quoted(name)} cannot be a name: {why}.")
