"""Knows how a receiver reviews an offer and takes the stream apart; knows no disk, channel or event loop.

`ReceivingMachine` takes messages and returns actions, which the caller performs in order: writing pieces, finishing
files. The caller reports what was written, what is durable and what is stored, and the machine grants credit from that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from datachan.transfer.actions import (
    Action,
    FileMissing,
    FinishFile,
    Offered,
    Outcome,
    Restarted,
    Send,
    StartFile,
    WritePiece,
)
from datachan.transfer.digests import Hash, file_digest
from datachan.transfer.manifest import ManifestReader
from datachan.transfer.messages import (
    DIGEST_SIZE,
    MAX_ENTRIES,
    MAX_FILES_PER_MESSAGE,
    MAX_NUMBER,
    MAX_PIECE,
    MAX_RANGES_PER_MESSAGE,
    Accept,
    BadMessage,
    Complete,
    Credit,
    EndCode,
    Entries,
    Entry,
    Have,
    Message,
    Missing,
    Offer,
    Request,
    Resume,
    Sent,
    Size,
    Stored,
    Unwanted,
    serialize_message,
)
from datachan.transfer.messages import Offered as OfferedMessage
from datachan.transfer.names import safe_path
from datachan.transfer.transfer_machine import TransferMachine

WRITE_WINDOW: Final = 16 * 1024 * 1024
"""Bytes of the stream that may wait for being written: they are in memory."""

FLUSH_WINDOW: Final = 64 * 1024 * 1024
"""Bytes of the stream that may wait for being flushed: they are in the system's cache."""

MAX_DATA_MESSAGE: Final = 262_144
"""Bytes of one binary message."""


@dataclass(frozen=True, slots=True)
class ReceivingBounds:
    """What a receiver holds for one offer.

    Attributes:
        max_entries: Files and folders of an offer; larger offers are refused before their manifest is read.
        max_piece: Bytes of a piece; offers with larger ones are refused. A piece is held until its digest has arrived.
        write_window: Bytes of the stream that may wait for being written, at least two pieces.
        flush_window: Bytes of the stream that may wait for being flushed.
    """

    max_entries: int = MAX_ENTRIES
    max_piece: int = MAX_PIECE
    write_window: int = WRITE_WINDOW
    flush_window: int = FLUSH_WINDOW


class ReceivingState(Enum):
    """The state of the receiver, which goes through this list from top to bottom."""

    WAITING = "waiting"
    REVIEWING = "reviewing"
    RECEIVING = "receiving"
    ENDED = "ended"


class ReceivingMachine(TransferMachine):
    """One offer on one connection.

    Args:
        hashes: The hashes that this side has, by name.
        bounds: What this side holds for the offer.
    """

    BROKEN = "the connection closed before everything was received"

    def __init__(self, hashes: Mapping[str, Hash], bounds: ReceivingBounds | None = None) -> None:
        super().__init__()
        self.state = ReceivingState.WAITING
        self.offer: Offer | None = None
        self.entries: tuple[Entry, ...] = ()
        self.missing: dict[int, str] = {}
        self.received = 0
        self._hashes = hashes
        self._bounds = bounds or ReceivingBounds()
        self._requested: str | None = None
        self._manifest: ManifestReader | None = None
        self._wanted: list[int] = []
        self._next = 0
        self._have: dict[int, tuple[int, list[bytes]]] = {}
        self._file: int | None = None
        self._offset = 0
        self._pieces: list[bytes] = []
        self._needs_resume = False
        self._known_size: int | None = None
        self._buffer: list[bytes | memoryview] = []
        self._buffered = 0
        self._granted = 0
        self._written = 0
        self._durable = 0
        self._sent = False
        self._unstored: set[int] = set()
        self._digests: dict[int, bytes] = {}
        self._sizes: dict[int, int] = {}  # of files whose size was not known

    # -- the caller ----------------------------------------------------------------------------------------------------

    def request(self, name: str | None) -> list[Action]:
        """Ask the peer to offer the file or folder of this name, or everything that it has without a name."""
        self._requested = name
        return [Send(serialize_message(Request(name)))]

    def agreed_hash(self) -> Hash:
        """Return the hash that `accept` will agree on: the offer's first one that this side has."""
        return self._hashes[self._hash_name()]

    def accept(
        self, have: Mapping[int, tuple[int, list[bytes]]] | None = None, unwanted: Sequence[int] = ()
    ) -> list[Action]:
        """Accept the offer.

        Args:
            have: The beginnings of files that are here: the bytes, and the digests of their pieces.
            unwanted: The files not to send, ascending.
        """
        if self.state is not ReceivingState.REVIEWING or self.offer is None:
            return []
        self.hash = self.agreed_hash()
        self._have = dict(have or {})
        left_out = set(unwanted)
        self._wanted = [file for file in range(len(self.entries)) if file not in left_out]
        self._unstored = set(self._wanted)
        self.state = ReceivingState.RECEIVING
        self._granted = min(self._window(), self._bounds.flush_window + self._window())
        messages: list[Message] = []
        rows = [
            (file, offset, file_digest(self.hash, offset, pieces))
            for file, (offset, pieces) in sorted(self._have.items())
        ]
        messages += [
            Have(tuple(rows[i : i + MAX_FILES_PER_MESSAGE])) for i in range(0, len(rows), MAX_FILES_PER_MESSAGE)
        ]
        ranges = _ranges(unwanted)
        messages += [
            Unwanted(tuple(ranges[i : i + MAX_RANGES_PER_MESSAGE]))
            for i in range(0, len(ranges), MAX_RANGES_PER_MESSAGE)
        ]
        messages.append(Accept(self.offer.id, self._hash_name(), self._granted))
        return [*(Send(serialize_message(message)) for message in messages), *self._advance()]

    def written(self, stream_end: int) -> list[Action]:
        """Report that the stream is written up to this byte; grants credit."""
        self._written = max(self._written, stream_end)
        return self._grant()

    def flushed(self, stream_end: int) -> list[Action]:
        """Report that the stream is durable up to this byte; grants credit."""
        self._durable = max(self._durable, stream_end)
        return self._grant()

    def stored(self, files: Sequence[int]) -> list[Action]:
        """Report files that are in place, durable and verified."""
        if self.state is not ReceivingState.RECEIVING:
            return []
        self._unstored.difference_update(files)
        rows = [(file, self._digests.pop(file)) for file in files]
        actions: list[Action] = [
            Send(serialize_message(Stored(tuple(rows[i : i + MAX_FILES_PER_MESSAGE]))))
            for i in range(0, len(rows), MAX_FILES_PER_MESSAGE)
        ]
        return actions + self._check_complete()

    def size_of(self, file: int) -> int:
        """Return the bytes of a file that has been received."""
        return self._sizes.get(file) or self.entries[file].size or 0

    # -- the sender's messages -----------------------------------------------------------------------------------------

    def _receive(self, message: Message) -> list[Action]:
        if self.state is ReceivingState.WAITING:
            return self._receive_manifest(message)
        if self.state is ReceivingState.RECEIVING and not self._sent:
            if isinstance(message, Resume):
                return self._receive_resume(message)
            if isinstance(message, Size):
                return self._receive_size(message)
            if isinstance(message, Missing):
                return self._receive_missing(message)
            if isinstance(message, Sent):
                return self._receive_sent()
        raise BadMessage("a message of the sender does not fit the state of the transfer")

    def _receive_manifest(self, message: Message) -> list[Action]:
        if isinstance(message, Offer) and self._manifest is None:
            return self._receive_offer(message)
        if self._manifest is not None and isinstance(message, Entries):
            self._manifest.add_untrusted(message)
            return []
        if self._manifest is not None and isinstance(message, OfferedMessage):
            self.entries = self._manifest.finish_untrusted()
            self.offer = self._manifest.offer
            self._manifest = None
            if self._requested is not None and not self._is_requested(self._requested):
                raise BadMessage("the sender offers something else than was requested")
            self.state = ReceivingState.REVIEWING
            return [Offered(self.offer, self.entries)]
        raise BadMessage("an offer is expected here")

    def _receive_offer(self, offer: Offer) -> list[Action]:
        if offer.count > self._bounds.max_entries:
            reason = f"the receiver accepts at most {self._bounds.max_entries} files at once"
            return self.end(EndCode.TOO_LARGE, reason)
        if offer.piece > self._bounds.max_piece:
            return self.end(EndCode.TOO_LARGE, f"the receiver accepts pieces of at most {self._bounds.max_piece} bytes")
        self._manifest = ManifestReader(offer)
        return []

    def _is_requested(self, name: str) -> bool:
        return {safe_path(entry.path)[0] for entry in self.entries} == {safe_path(name)[0]}

    def _receive_resume(self, message: Resume) -> list[Action]:
        if message.file != self._file or not self._needs_resume:
            raise BadMessage("the sender resumes a file that is not next")
        offset, pieces = self._have[message.file]
        if message.offset not in (0, offset):
            raise BadMessage("the sender resumes at an offset that was not stated")
        self._needs_resume = False
        self._offset = message.offset
        self._pieces = list(pieces) if message.offset else []
        actions: list[Action] = [StartFile(message.file, message.offset)]
        if message.offset != offset:
            actions.insert(0, Restarted(message.file))
        return actions + self._check_file()

    def _receive_size(self, message: Size) -> list[Action]:
        if message.file != self._file or self._size() is not None or self._needs_resume:
            raise BadMessage("the sender states the size of another file")
        low, high = self._offset + self._buffered, self._offset + self._piece()
        if not low <= message.size <= high or (self._buffered and message.size == self._offset):
            raise BadMessage("the sender states a size that does not fit what it has sent")
        if self._buffered > message.size - self._offset + DIGEST_SIZE:
            raise BadMessage("the sender states a size that does not fit what it has sent")
        self._known_size = self._sizes[message.file] = message.size
        return self._check_file()

    def _receive_missing(self, message: Missing) -> list[Action]:
        if message.file != self._file:
            raise BadMessage("the sender gives up a file that is not being sent")
        self.missing[message.file] = message.reason
        self._unstored.discard(message.file)
        self._drop_buffer()
        action = FileMissing(message.file, message.code, message.reason, self.received)
        self._file = None
        return [action, *self._advance()]

    def _receive_sent(self) -> list[Action]:
        if self._file is not None:
            raise BadMessage("the sender stops before everything was sent")
        self._sent = True
        return self._check_complete()

    # -- the stream ----------------------------------------------------------------------------------------------------

    def _receive_data(self, data: bytes) -> list[Action]:
        if self.state is not ReceivingState.RECEIVING:
            raise BadMessage("data is not expected here")
        if not 0 < len(data) <= MAX_DATA_MESSAGE:
            raise BadMessage(f"a binary message has 1 to {MAX_DATA_MESSAGE} bytes")
        if self.received + len(data) > self._granted:
            raise BadMessage("the sender exceeds its credit")
        actions: list[Action] = []
        view: bytes | memoryview = data
        while view:
            if self._file is None or self._needs_resume:
                raise BadMessage("the sender sends bytes that belong to no file")
            needed = self._piece_length() + DIGEST_SIZE - self._buffered
            part = view if len(view) <= needed else memoryview(view)[:needed]
            self._buffer.append(part)
            self._buffered += len(part)
            self.received += len(part)
            view = memoryview(view)[len(part) :] if len(view) > len(part) else b""
            if len(part) == needed:
                actions += self._piece_arrived()
        return actions

    def _piece_arrived(self) -> list[Action]:
        file = self._file if self._file is not None else 0
        length = self._piece_length()
        digest = self._cut_digest()
        action = WritePiece(file, self._offset, self._buffer, digest, self.received)
        self._buffer, self._buffered = [], 0
        self._offset += length
        self._pieces.append(digest)
        return [action, *self._check_file()]

    def _cut_digest(self) -> bytes:
        """Remove the digest from the end of the buffer and return it."""
        parts: list[bytes] = []
        left = DIGEST_SIZE
        while left:
            last = self._buffer.pop()
            if len(last) > left:
                view = memoryview(last)
                self._buffer.append(view[: len(last) - left])
                last = view[len(last) - left :]
            parts.append(bytes(last))
            left -= len(last)
        return b"".join(reversed(parts))

    def _check_file(self) -> list[Action]:
        size = self._size()
        if self._file is None or self._needs_resume or size is None or self._offset < size:
            return []
        return [self._finish(self._file, size), *self._advance()]

    def _finish(self, file: int, size: int) -> Action:
        digest = self._digests[file] = file_digest(self._function(), size, self._pieces)
        self._file = None
        self._pieces = []
        return FinishFile(file, size, digest, self.received)

    def _advance(self) -> list[Action]:
        """Go on to the next file that has bytes or may have some; finish the empty ones before it."""
        actions: list[Action] = []
        while self._file is None and self._next < len(self._wanted):
            file = self._wanted[self._next]
            self._next += 1
            self._known_size = self.entries[file].size
            self._offset, self._pieces = 0, []
            if self._known_size == 0:
                actions += [StartFile(file, 0), self._finish(file, 0)]
                continue
            self._file = file
            self._needs_resume = file in self._have
            if not self._needs_resume:
                actions.append(StartFile(file, 0))
        return actions

    def _size(self) -> int | None:
        return self._known_size

    def _piece(self) -> int:
        return self.offer.piece if self.offer is not None else 0

    def _piece_length(self) -> int:
        left = (MAX_NUMBER if self._known_size is None else self._known_size) - self._offset
        return min(self._piece(), left)

    def _drop_buffer(self) -> None:
        self._buffer, self._buffered = [], 0

    # -- credit and the end --------------------------------------------------------------------------------------------

    def _window(self) -> int:
        return max(self._bounds.write_window, 2 * (self._piece() + DIGEST_SIZE) + MAX_DATA_MESSAGE)

    def _grant(self) -> list[Action]:
        if self.state is not ReceivingState.RECEIVING:
            return []
        window = self._window()
        credit = min(self._written + window, self._durable + self._bounds.flush_window + window)
        if credit - self._granted < window // 8:
            return []
        self._granted = credit
        return [Send(serialize_message(Credit(credit, self._durable)))]

    def _check_complete(self) -> list[Action]:
        if not self._sent or self._unstored:
            return []
        return [Send(serialize_message(Complete())), *self._ended(Outcome.COMPLETED)]

    def _hash_name(self) -> str:
        offered = self.offer.hashes if self.offer is not None else ("sha256",)
        return next((name for name in offered if name in self._hashes), "sha256")

    @property
    def is_over(self) -> bool:
        """Whether the transfer has ended."""
        return self.state is ReceivingState.ENDED

    def _enter_end(self) -> None:
        self.state = ReceivingState.ENDED
        self._drop_buffer()


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the runs of ascending numbers, each with its first and last one."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
