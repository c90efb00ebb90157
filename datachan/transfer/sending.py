"""Knows how a sender offers files and sends their bytes within the credit; knows no disk, channel or event loop.

`SendingMachine` takes messages and returns actions. It names the pieces that it needs next (`next_work`); the caller
reads and hashes them, in order, and gives them back. `messages_to_send` drains the stream as far as the receiver's
credit allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from datachan.transfer.actions import Accepted, Action, Continued, FilesStored, Outcome, Progress, Restarted, Send
from datachan.transfer.digests import Hash, file_digest
from datachan.transfer.manifest import pages, total_size
from datachan.transfer.messages import (
    Accept,
    BadMessage,
    Complete,
    Credit,
    EndCode,
    Entry,
    Have,
    Kind,
    Message,
    Missing,
    Offer,
    Offered,
    Resume,
    Sent,
    Size,
    Stored,
    Unwanted,
    clean_reason,
    serialize_message,
)
from datachan.transfer.transfer_machine import TransferMachine

PIECE: Final = 1024 * 1024
"""Bytes of a piece that datachan's sender uses."""

DATA_MESSAGE: Final = 64 * 1024
"""Bytes of one binary message, unless the peer accepts less."""

LONG_DATA_MESSAGE: Final = 256 * 1024
"""Bytes of one binary message on a connection without other channels, whose messages would wait for it."""

READ_AHEAD: Final = 4
"""Pieces that are read before they are sent: a thread that reads waits 5 ms for a busy interpreter."""

MAX_WORK: Final = 64
"""Pieces that may be read at the same time, when they are small."""


@dataclass(frozen=True, slots=True)
class CheckPrefix:
    """Hash the pieces of the first `offset` bytes, then call `prefix_hashed`."""

    file: int
    offset: int


@dataclass(frozen=True, slots=True)
class ReadPiece:
    """Read `length` bytes at `offset` and hash them, then call `piece_read`. A file of unknown size may have fewer."""

    file: int
    offset: int
    length: int


Work: TypeAlias = CheckPrefix | ReadPiece


class SendingState(Enum):
    """The state of the sender, which goes through this list from top to bottom."""

    NEW = "new"
    OFFERED = "offered"
    SENDING = "sending"
    SENT = "sent"
    ENDED = "ended"


class SendingMachine(TransferMachine):
    """One offer to one receiver on one connection.

    Args:
        offer_id: Names the offer: 1 to 64 letters, digits, `-` or `_`.
        entries: The manifest.
        hashes: The hashes that this side has, by name, the preferred one first.
        piece: Bytes of a piece.
        data_message: Bytes of a binary message, at most.

    Attributes:
        wanted: The files that the receiver has accepted.
        missing: The files that were given up.
        stored: The files that are in place at the receiver.
        resumed: Bytes of files that the receiver had before.
        queued: Bytes of the stream that wait for credit.
        sent_bytes: Bytes of the stream that were sent.
    """

    BROKEN = "the connection closed before everything was stored"

    def __init__(
        self,
        offer_id: str,
        entries: Sequence[Entry],
        hashes: dict[str, Hash],
        *,
        piece: int = PIECE,
        data_message: int = DATA_MESSAGE,
    ) -> None:
        super().__init__()
        self.state = SendingState.NEW
        self.entries = tuple(entries)
        self.missing: dict[int, Missing] = {}
        self.wanted: list[int] = []
        self.stored: set[int] = set()
        self._id = offer_id
        self._hashes = hashes
        self._piece = piece
        self._data_message = data_message
        self._have: dict[int, tuple[int, bytes]] = {}
        self._last_have = -1
        self._unwanted: set[int] = set()
        self._plan: deque[int] = deque()
        self._file: int | None = None
        self._offset = 0
        self._waiting = False
        self._ends: dict[int, int] = {}
        self._pieces: dict[int, list[bytes]] = {}
        self._digests: dict[int, bytes] = {}
        self._credit = 0
        self._durable = 0
        self._in_work = 0
        self._work_bytes = 0
        self._outbox: deque[str | bytearray | memoryview] = deque()
        self.resumed = 0
        self.queued = 0
        self.sent_bytes = 0

    # -- the caller ----------------------------------------------------------------------------------------------------

    def start(self) -> list[Action]:
        """Offer everything."""
        self.state = SendingState.OFFERED
        offer = Offer(self._id, len(self.entries), total_size(self.entries), tuple(self._hashes), self._piece)
        messages = [serialize_message(offer), *pages(self.entries), serialize_message(Offered())]
        return [Send(message) for message in messages]

    @property
    def wants_more(self) -> bool:
        """Whether the caller should do the next work: `READ_AHEAD` pieces are being read or wait for credit."""
        return (
            self.state is SendingState.SENDING
            and self._in_work < MAX_WORK
            and self.queued + self._work_bytes < READ_AHEAD * self._piece
        )

    def next_work(self) -> Work | None:
        """Return the next piece to read, in order; None if there is none now."""
        if self.state is not SendingState.SENDING or self._waiting:
            return None
        if self._file is None and not self._next_file():
            return None
        file = self._file if self._file is not None else 0
        if file in self._have and file not in self._pieces:
            self._waiting = True
            return CheckPrefix(file, self._have[file][0])
        size = self.entries[file].size
        offset = self._offset
        self._in_work += 1
        if size is None:
            self._waiting = True
            self._work_bytes += self._piece
            return ReadPiece(file, offset, self._piece)
        length = min(self._piece, size - offset)
        self._work_bytes += length
        self._offset += length
        if self._offset == size:
            self._file = None
        return ReadPiece(file, offset, length)

    def prefix_hashed(self, work: CheckPrefix, pieces: list[bytes]) -> list[Action]:
        """Take the digests of the pieces of the first `work.offset` bytes; empty if the source is shorter now."""
        if self.state is not SendingState.SENDING:
            return []
        self._waiting = False
        offset, digest = self._have[work.file]
        agrees = file_digest(self._function(), offset, pieces) == digest
        self._offset = offset if agrees else 0
        self.resumed += self._offset
        self._pieces[work.file] = list(pieces) if agrees else []
        self._put_control(Resume(work.file, self._offset))
        if self._offset == self.entries[work.file].size:
            self._finish_file(work.file, self._offset)
            self._file = None
        self._check_sent()
        return [Continued(work.file, offset)] if agrees else [Restarted(work.file)]

    def piece_read(self, work: ReadPiece, data: bytes, digest: bytes) -> None:
        """Take the bytes that were read, and their digest. Fewer bytes than asked for end a file of unknown size."""
        if self.state is not SendingState.SENDING:
            return
        self._in_work -= 1
        self._work_bytes -= work.length
        if work.file in self.missing:
            self._check_sent()
            return
        entry = self.entries[work.file]
        if entry.size is None:
            self._waiting = False
            self._offset += len(data)
            if len(data) < work.length:
                self._put_control(Size(work.file, work.offset + len(data)))
                self._file = None
        elif len(data) < work.length:
            self._give_up(work.file, "changed", "the file became shorter while it was being sent")
            return
        if data:
            self._pieces.setdefault(work.file, []).append(digest)
            self._put_data(data)
            self._put_data(digest)
        end = work.offset + len(data)
        if end == entry.size or (entry.size is None and len(data) < work.length):
            self._finish_file(work.file, end)
        self._check_sent()

    def unreadable(self, work: Work, code: str, reason: str) -> None:
        """Give up a file that cannot be read or has changed; the others are sent."""
        if self.state is not SendingState.SENDING:
            return
        if isinstance(work, ReadPiece):
            self._in_work -= 1
            self._work_bytes -= work.length
        if work.file not in self.missing:
            self._give_up(work.file, code, reason)
        else:
            self._check_sent()

    def messages_to_send(self) -> list[str | bytes]:
        """Drain the messages that the credit allows."""
        messages: list[str | bytes] = []
        while self._outbox and self.state is not SendingState.ENDED:
            first = self._outbox[0]
            if isinstance(first, str):
                messages.append(first)
                self._outbox.popleft()
                continue
            left = min(len(first), self._credit - self.sent_bytes)
            if left <= 0:
                break
            messages.append(bytes(first[:left]))
            self.sent_bytes += left
            self.queued -= left
            self._outbox.popleft()
            if left < len(first):
                self._outbox.appendleft(first[left:])
        return messages

    # -- the receiver's messages ---------------------------------------------------------------------------------------

    def _receive(self, message: Message) -> list[Action]:
        if self.state is SendingState.OFFERED:
            if isinstance(message, Have):
                return self._receive_have(message)
            if isinstance(message, Unwanted):
                return self._receive_unwanted(message)
            if isinstance(message, Accept):
                return self._receive_accept(message)
        elif self.state in (SendingState.SENDING, SendingState.SENT):
            if isinstance(message, Credit):
                return self._receive_credit(message)
            if isinstance(message, Stored):
                return self._receive_stored(message)
            if isinstance(message, Complete):
                return self._receive_complete()
        raise BadMessage("a message of the receiver does not fit the state of the transfer")

    def _receive_data(self, data: bytes) -> list[Action]:
        raise BadMessage("a receiver sends no data")

    def _receive_have(self, message: Have) -> list[Action]:
        for file, offset, digest in message.files:
            size = self.entries[file].size if file < len(self.entries) else None
            fits = size is not None and self.entries[file].kind is Kind.FILE and size > 0
            if file <= self._last_have or not fits or offset > (size or 0):
                raise BadMessage("the receiver states more of a file than there is")
            if offset % self._piece and offset != size:
                raise BadMessage("the receiver states an offset inside of a piece")
            self._last_have = file
            self._have[file] = (offset, digest)
        return []

    def _receive_unwanted(self, message: Unwanted) -> list[Action]:
        for first, last in message.files:
            if not first <= last < len(self.entries):
                raise BadMessage("the receiver does not want files that are not offered")
            self._unwanted.update(range(first, last + 1))
        return []

    def _receive_accept(self, message: Accept) -> list[Action]:
        if message.id != self._id or message.hash not in self._hashes:
            raise BadMessage("the receiver accepts another offer or an unknown hash")
        self.hash = self._hashes[message.hash]
        self._credit = message.credit
        self.state = SendingState.SENDING
        wanted = self.wanted = [file for file in range(len(self.entries)) if file not in self._unwanted]
        self._plan = deque(file for file in wanted if self.entries[file].size != 0)
        for file in wanted:
            if self.entries[file].size == 0:
                self._finish_file(file, 0)
        size = total_size([self.entries[file] for file in wanted])
        self._check_sent()
        return [Accepted(len(wanted), size)]

    def _receive_credit(self, message: Credit) -> list[Action]:
        if message.bytes < self._credit or not self._durable <= message.durable <= self.sent_bytes:
            raise BadMessage("the receiver takes back credit, or claims bytes that were not sent")
        self._credit = message.bytes
        self._durable = message.durable
        return [Progress(message.durable)]

    def _receive_stored(self, message: Stored) -> list[Action]:
        for file, digest in message.files:
            if self._digests.get(file) is None or file in self.stored:
                raise BadMessage("the receiver claims to have stored a file that was not sent")
            if self._digests[file] != digest:
                return self.end(EndCode.DAMAGED, "a file arrived damaged: the digests differ")
            self.stored.add(file)
        return [FilesStored(tuple(file for file, _ in message.files))]

    def _receive_complete(self) -> list[Action]:
        if self.state is not SendingState.SENT or self._outbox or self.stored != set(self._digests):
            raise BadMessage("the receiver claims to be complete before it is")
        return self._ended(Outcome.COMPLETED)

    # -- the stream ----------------------------------------------------------------------------------------------------

    def _next_file(self) -> bool:
        while self._plan:
            self._file = self._plan.popleft()
            self._offset = 0
            if self._file not in self.missing:
                return True
        self._file = None
        return False

    def _give_up(self, file: int, code: str, reason: str) -> None:
        message = Missing(file, code, clean_reason(reason))
        self.missing[file] = message
        self._waiting = False
        if self._file == file:
            self._file = None
        self._pieces.pop(file, None)
        self._put_control(message)
        self._check_sent()

    def _finish_file(self, file: int, size: int) -> None:
        pieces = self._pieces.pop(file, [])
        self._digests[file] = file_digest(self._function(), size, pieces)

    def _check_sent(self) -> None:
        if not self._plan and self._file is None and not self._in_work and not self._waiting:
            self.state = SendingState.SENT
            self._put_control(Sent())

    def _put_control(self, message: Message) -> None:
        self._outbox.append(serialize_message(message))

    def _put_data(self, data: bytes) -> None:
        self.queued += len(data)
        view = memoryview(data)
        last = self._outbox[-1] if self._outbox else None
        if isinstance(last, bytearray) and len(last) + len(view) <= self._data_message:
            last += view
        elif len(view) <= self._data_message // 2:
            self._outbox.append(bytearray(view))
        else:
            for start in range(0, len(view), self._data_message):
                self._outbox.append(view[start : start + self._data_message])

    @property
    def is_over(self) -> bool:
        """Whether the transfer has ended."""
        return self.state is SendingState.ENDED

    def _enter_end(self) -> None:
        self.state = SendingState.ENDED
        self._outbox.clear()
