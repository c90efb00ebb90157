"""A short code of both sides' fingerprints, which two people compare to find out whether descriptions were changed."""

from __future__ import annotations

import hashlib
import re
from typing import Final

ROUNDS: Final = 8192
"""Applications of SHA-256. They make it slow to search for certificates with which both sides show the same code."""

DIGITS: Final = 20
_GROUP: Final = 4

_FINGERPRINT: Final = re.compile(r"a=fingerprint:(\S+) ([0-9A-Fa-f:]+)")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


def verification_code(*descriptions: str) -> str:
    """Return the code of the two descriptions of a connection, the same on both sides and in either order.

    The code is the same exactly if both sides have the same fingerprints. A signaling server that put itself between
    them has replaced or added at least one. web/js/code.js computes the same code.

    Args:
        *descriptions: the local and the remote description, as text.

    Returns:
        Five groups of four digits, such as ``1234 5678 9012 3456 7890``: 66 bits.
    """
    digest = "\n".join(sorted({line for text in descriptions for line in fingerprint_lines(text)}))
    for _ in range(ROUNDS):
        digest = hashlib.sha256(digest.encode()).hexdigest()
    digits = f"{int(digest, 16) % 10**DIGITS:0{DIGITS}}"
    return " ".join(digits[start : start + _GROUP] for start in range(0, DIGITS, _GROUP))


def fingerprint_lines(description: str) -> frozenset[str]:
    """Return all lines of a description that name a fingerprint, each in one form."""
    return frozenset(_normalized(line) for line in _LINE_END.split(description) if _names_fingerprint(line))


def _names_fingerprint(line: str) -> bool:
    return "fingerprint" in line.lower()


def _normalized(line: str) -> str:
    """Return a line with a fingerprint in the form that all stacks write.

    A line of another form stays as it is: a parser might accept it, so it has to change the code.
    """
    match = _FINGERPRINT.fullmatch(line)
    return line if match is None else f"{match[1].lower()} {match[2].upper()}"
