"""Knows what a receiver remembers of a partial file, and its text; knows no disk.

A journal is text: a line of JSON that says which file it is, then a line with the digest of each piece that is durable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from datachan.transfer.messages import DIGEST_SIZE

PARTIAL_FOLDER: Final = ".datachan-partial"
"""The folder for partial files, in the folder that is received into. No peer's path begins with a dot."""

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class JournalHead:
    """What a partial file belongs to.

    Attributes:
        path: The place of the complete file, with `/` between components.
        size: Bytes of the complete file.
        piece: Bytes of a piece.
        hash: The name of the hash.
    """

    path: str
    size: int
    piece: int
    hash: str

    def line(self) -> bytes:
        """Return the first line of the journal."""
        return json.dumps({"version": _VERSION, **asdict(self)}).encode() + b"\n"


def partial_name(place: Sequence[str], size: int | None) -> str:
    """Return the name of the partial file, without its suffix: the same for the same place and size."""
    text = "/".join(place) + f"\0{size}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def digest_lines(pieces: Sequence[bytes]) -> bytes:
    """Return the lines for pieces that have become durable."""
    return b"".join(piece.hex().encode() + b"\n" for piece in pieces)


def read_journal(text: bytes, head: JournalHead) -> list[bytes]:
    """Return the digests in a journal; none if it belongs to another file or was written with another hash.

    A line that is cut off, as a power failure leaves it, ends the list.
    """
    first, _, rest = text.partition(b"\n")
    if first + b"\n" != head.line():
        return []
    pieces: list[bytes] = []
    for line in rest.split(b"\n")[:-1]:
        try:
            piece = bytes.fromhex(line.decode("ascii"))
        except ValueError:
            break
        if len(piece) != DIGEST_SIZE:
            break
        pieces.append(piece)
    return pieces
