"""Knows which file names a peer may choose; knows nothing of the file system.

`safe_name` turns any text into one path component that means the same on every system. The component cannot leave the
folder, hide, name a device, contain control characters or reorder what is displayed. The function accepts every text
and is idempotent, so both ends may apply it.
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
# Windows takes these for devices, with any extension. It also takes the superscript digits for digits.
_DEVICE: Final = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)")


def printable(text: str) -> str:
    """Return `text` without characters that are invisible or change how others are displayed."""
    return "".join(c for c in text if c in _JOINERS or unicodedata.category(c) not in _DROPPED_CATEGORIES)


def safe_name(name: str) -> str:
    r"""Turn any text into a file name that is safe to create in a local folder.

    The last component is kept; both `/` and `\` are separators. The result is never empty, has at most
    `MAX_NAME_BYTES` bytes in UTF-8, is in Unicode normal form C, and neither starts nor ends with a dot.
    """
    components = _SEPARATORS.split(name[-_MAX_RAW_LENGTH:])
    last = next((c for c in map(_clean, reversed(components)) if c), FALLBACK_NAME)
    return _shorten(last)


def safe_component(component: str, *, hidden: bool) -> str:
    r"""Turn one component of a path into a safe name, as `safe_name` does; `/` and `\` become `_`.

    Args:
        component: Any text.
        hidden: Whether the name may begin with a dot, which hides a file.

    Returns:
        The name; empty if nothing is left, as of `..`.
    """
    cleaned = _clean(_SEPARATORS.sub("_", component[:_MAX_RAW_LENGTH]), hidden=hidden)
    return _shorten(cleaned, hidden=hidden) if cleaned else ""


def _clean(component: str, *, hidden: bool = False) -> str:
    text = unicodedata.normalize("NFC", printable(component))
    text = _NOT_PORTABLE.sub("_", text)
    text = unicodedata.normalize("NFC", _trim(text, hidden=hidden))
    if text.startswith("-"):
        text = "_" + text  # a command such as `rm *` would take the name for an option
    if _DEVICE.match(text):
        text = "_" + text
    return text


def _trim(text: str, *, hidden: bool = False) -> str:
    # A leading dot hides a file, and `.` and `..` are folders; Windows removes trailing dots and spaces.
    start, end = 0, len(text)
    while start < end and ((text[start] == "." and not hidden) or text[start].isspace() or text[start] in _JOINERS):
        start += 1
    while end > start and (text[end - 1] == "." or text[end - 1].isspace() or text[end - 1] in _JOINERS):
        end -= 1
    return text[start:end]


def _shorten(name: str, *, hidden: bool = False) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or len(extension.encode()) > _MAX_EXTENSION_BYTES:
        return _trim(_cut(name, MAX_NAME_BYTES), hidden=hidden)
    room = MAX_NAME_BYTES - len(extension.encode()) - 1
    return f"{_trim(_cut(stem, room), hidden=hidden)}.{extension}"


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
