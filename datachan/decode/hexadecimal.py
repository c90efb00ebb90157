"""Hexadecimal text as users paste it: digits with or without separators, or a hex dump with offsets."""

from __future__ import annotations

import re
from typing import Final


class NotHexadecimal(ValueError):
    """The text is not hexadecimal; the message says what is wrong with it."""


# "0000  11 5c c6 68 …  .\.h": an offset, two spaces or a colon, bytes, and perhaps the same as characters.
_DUMP_LINE: Final = re.compile(
    r"^\s*(?:0x)?[0-9a-fA-F]{3,8}(?::\s*|\s{2,})((?:[0-9a-fA-F]{2,8}\s{1,2})*[0-9a-fA-F]{2,8})(?:\s{2,}.*)?\s*$"
)
_IGNORED: Final = re.compile(r"0[xX]|\\x|[\s:,;.\-_'\"\[\](){}]+")


def parse_hexadecimal(text: str) -> bytes:
    """Return the bytes that a hexadecimal text stands for.

    Raises:
        NotHexadecimal: The text contains anything else, nothing, or half a byte.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    dump = [_DUMP_LINE.match(line) for line in lines]
    if dump and all(dump):
        text = " ".join([match[1] for match in dump if match])
    digits = _IGNORED.sub("", text)
    if not digits:
        raise NotHexadecimal("there is nothing to decode")
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise NotHexadecimal(f"{wrong[0]!r} is no hexadecimal digit")
    if len(digits) % 2:
        raise NotHexadecimal(f"{len(digits)} hexadecimal digits are not whole bytes")
    return bytes.fromhex(digits)
