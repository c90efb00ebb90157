"""Knows which file names a peer may give us; knows nothing of the file system.

A name from the network is a wish, not a path. `safe_name` turns any text into one component that means the same on
every system: it cannot climb out of the folder, hide, name a device, carry control characters or reorder what is
displayed. It is total and idempotent, so it may be applied on both ends.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_NAME_BYTES: Final = 200
"""In UTF-8. File systems allow 255; the rest is for the suffix of the temporary file."""

FALLBACK_NAME: Final = "file"

_MAX_RAW_LENGTH: Final = 1024
_MAX_EXTENSION_BYTES: Final = 32

# Joiners shape words in Persian and Indic scripts and hold emoji together; other format characters only deceive.
_JOINERS: Final = frozenset("\u200c\u200d")
_DROPPED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_NOT_PORTABLE: Final = re.compile(r'[<>:"|?*]')
_SEPARATORS: Final = re.compile(r"[/\\]")
# What Windows takes for a device, with any extension. The superscript digits are no mistake: it takes them too.
_DEVICE: Final = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)")


def printable(text: str) -> str:
    """Return `text` without what is invisible or changes how its neighbors are displayed."""
    return "".join(c for c in text if c in _JOINERS or unicodedata.category(c) not in _DROPPED_CATEGORIES)


def safe_name(name: str) -> str:
    r"""Turn any text into a file name that is safe to create in a folder of ours.

    The last component is kept, `/` and `\` both separating. The result is never empty, has at most
    `MAX_NAME_BYTES` bytes in UTF-8, is in Unicode normal form C, and neither starts with a dot nor ends with one.
    """
    components = _SEPARATORS.split(name[-_MAX_RAW_LENGTH:])
    last = next((c for c in map(_clean, reversed(components)) if c), FALLBACK_NAME)
    return _shorten(last)


def _clean(component: str) -> str:
    text = unicodedata.normalize("NFC", printable(component))
    text = _NOT_PORTABLE.sub("_", text)
    text = unicodedata.normalize("NFC", _trim(text))
    if text.startswith("-"):
        text = "_" + text  # or a shell's `rm *` would read it as an option
    if _DEVICE.match(text):
        text = "_" + text
    return text


def _trim(text: str) -> str:
    # Leading dots hide a file (and `.`, `..` are not files at all); Windows drops trailing dots and spaces.
    start, end = 0, len(text)
    while start < end and (text[start] == "." or text[start].isspace() or text[start] in _JOINERS):
        start += 1
    while end > start and (text[end - 1] == "." or text[end - 1].isspace() or text[end - 1] in _JOINERS):
        end -= 1
    return text[start:end]


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or len(extension.encode()) > _MAX_EXTENSION_BYTES:
        return _trim(_cut(name, MAX_NAME_BYTES))
    room = MAX_NAME_BYTES - len(extension.encode()) - 1
    return f"{_trim(_cut(stem, room))}.{extension}"


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
