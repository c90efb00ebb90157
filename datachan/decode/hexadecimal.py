"""Hexadecimal digits as users paste them: with or without spaces, colons, commas, 0x and quotation marks."""

from __future__ import annotations

import re
from typing import Final


class NotHexadecimal(ValueError):
    """The text is not hexadecimal; the message says what is wrong with it."""


_IGNORED: Final = re.compile(r"0[xX]|\\x|[\s:,;.\-_'\"\[\](){}]+")


def parse_hexadecimal(text: str) -> bytes:
    """Return the bytes of a hexadecimal text.

    Raises:
        NotHexadecimal: The text is empty, contains other characters, or has a byte with one digit.
    """
    digits = _IGNORED.sub("", text)
    if not digits:
        raise NotHexadecimal("there is nothing to decode")
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise NotHexadecimal(f"{wrong[0]!r} is not a hexadecimal digit")
    if len(digits) % 2:
        raise NotHexadecimal(f"{len(digits)} hexadecimal digits are not whole bytes")
    return bytes.fromhex(digits)
