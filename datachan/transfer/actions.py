"""The actions that the machines of a transfer return, for their callers to perform in order; knows no machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from datachan.transfer.messages import EndCode, Entry, Offer
from datachan.transfer.pake import Keys


class Outcome(Enum):
    """How a transfer ended."""

    COMPLETED = "completed"
    """Everything wanted is stored, apart from files that the sender could not read."""
    ENDED_HERE = "ended here"
    ENDED_BY_PEER = "ended by the peer"
    BROKEN = "broken"
    """The channel closed before the end."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message on the channel."""

    message: str | bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The last action of a machine."""

    outcome: Outcome
    code: EndCode | None = None
    reason: str = ""
    missing: int | None = None


@dataclass(frozen=True, slots=True)
class Proven:
    """Both sides know the code, and there is no third party between them.

    Attributes:
        keys: The keys of this session.
        words: Four words that both people may compare.
        verify: The peer's person compares the words.
    """

    keys: Keys
    words: tuple[str, ...]
    verify: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """For the sender: the receiver has accepted, and these are the files it wants."""

    wanted: int
    size: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """For the sender: the receiver has made this many bytes of the stream durable."""

    durable: int


@dataclass(frozen=True, slots=True)
class Continued:
    """The receiver has the beginning of this file: `offset` bytes are not sent again."""

    file: int
    offset: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """The beginning of this file at the receiver is not that of the source: it is sent from its first byte."""

    file: int


@dataclass(frozen=True, slots=True)
class FilesStored:
    """For the sender: these files are in place at the receiver, and their digests agree."""

    files: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """For the receiver: decide, then call `accept` or `end`."""

    offer: Offer
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class StartFile:
    """For the receiver: the bytes of this file follow, from `offset` on."""

    file: int
    offset: int


@dataclass(frozen=True, slots=True)
class WritePiece:
    """For the receiver: check that the bytes have this digest, write them at `offset`, then call `written`."""

    file: int
    offset: int
    data: Sequence[bytes | memoryview]
    digest: bytes
    stream_end: int


@dataclass(frozen=True, slots=True)
class FinishFile:
    """For the receiver: all pieces were given. Flush the file, move it into place, then call `stored`."""

    file: int
    size: int
    digest: bytes
    stream_end: int


@dataclass(frozen=True, slots=True)
class FileMissing:
    """The sender cannot send this file, or not all of it."""

    file: int
    code: str
    reason: str
    stream_end: int = 0


Action: TypeAlias = (
    Send
    | Ended
    | Proven
    | Accepted
    | Progress
    | Continued
    | Restarted
    | FilesStored
    | Offered
    | StartFile
    | WritePiece
    | FinishFile
    | FileMissing
)
