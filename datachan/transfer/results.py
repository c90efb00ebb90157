"""What the functions of `datachan.transfer` return and raise, and how progress is counted; knows no channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from datachan.transfer.actions import Ended, Outcome
from datachan.transfer.errors import TransferCancelled, TransferError, TransferFailed, TransferRefused
from datachan.transfer.manifest import count_pieces, total_size
from datachan.transfer.messages import DIGEST_SIZE, EndCode, Entry

Progress: TypeAlias = Callable[[int, int | None], object]
"""Called with the bytes of files that are done, and the bytes of all that is wanted: None if that is not known."""

_REFUSALS: Final = frozenset({EndCode.REFUSED, EndCode.TOO_LARGE, EndCode.NOT_FOUND, EndCode.BUSY})


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file that was offered and could not be sent: its path in the offer, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class SentFiles:
    """What the receiver has stored and verified.

    Attributes:
        paths: The paths in the offer of the files that are in place at the receiver.
        missing: The files that could not be sent.
    """

    paths: tuple[str, ...]
    missing: tuple[MissingFile, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A stored and verified file: where it is, and its bytes."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class ReceivedFiles:
    """What was received.

    Attributes:
        paths: The files and folders of the offer, without what is in the folders.
        files: All files that are in place.
        missing: The files that the sender could not send.
        text: The text, if the offer was one; it is not stored.
    """

    paths: tuple[Path, ...]
    files: tuple[ReceivedFile, ...]
    missing: tuple[MissingFile, ...] = ()
    text: str | None = None


def missing_files(entries: tuple[Entry, ...], reasons: Iterable[tuple[int, str]]) -> tuple[MissingFile, ...]:
    """Return the files that could not be sent, from their indexes and reasons."""
    return tuple(MissingFile(entries[file].path, reason) for file, reason in reasons)


def raise_for(ended: Ended) -> None:
    """Raise the exception for a transfer that did not complete.

    Raises:
        TransferError: The transfer did not complete.
    """
    if ended.outcome is not Outcome.COMPLETED:
        raise _error(ended)


def _error(ended: Ended) -> TransferError:
    code = None if ended.code is None else ended.code.value
    if ended.code in _REFUSALS:
        return TransferRefused(ended.reason, code)
    if ended.code is EndCode.CANCELLED and ended.outcome is Outcome.ENDED_BY_PEER:
        return TransferCancelled(ended.reason, code)
    return TransferFailed(ended.reason, code)


class Payload:
    """Converts a position in the stream to bytes of files: the stream has the digests of the pieces, too.

    Args:
        entries: The entries that are wanted.
        piece: Bytes of a piece.
    """

    def __init__(self, entries: Iterable[Entry], piece: int) -> None:
        wanted = list(entries)
        self.size = total_size(wanted)
        self._piece = piece
        self._digests = DIGEST_SIZE * count_pieces(wanted, piece)

    def done(self, stream: int, resumed: int) -> int:
        """Return the bytes of files that are done.

        Args:
            stream: Bytes of the stream.
            resumed: Bytes of files that were there before.
        """
        if self.size is None:
            return resumed + max(0, stream - DIGEST_SIZE * -(-stream // (self._piece + DIGEST_SIZE)))
        whole = self.size + self._digests
        return min(self.size, resumed + (stream * self.size // whole if whole else 0))
