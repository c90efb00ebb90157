"""Knows how two peers agree on a file and move it over one channel; knows no disk, channel or event loop.

One reliable, ordered channel labeled `file` carries one file. Text messages are control messages (a JSON object with a
`type`); binary messages are the bytes of the file, in order:

    sender                                              receiver
       <- {"type":"file-request","name":"a.bin"}             (only if the receiver asks; "name" is optional)
       {"type":"file-offer","version":1,"id":"…","name":"a.bin","size":12,"mime":"…"} ->
       <- {"type":"file-accept","id":"…","offset":0}         or {"type":"file-reject","id":"…","reason":"…"}
       binary, binary, …                               ->    at most 64 KiB each
       {"type":"file-end","id":"…","sha256":"…"}       ->
       <- {"type":"file-received","id":"…","sha256":"…"}     the file is stored and its hash is correct
    either side, at any time: {"type":"file-cancel","id":"…","reason":"…"}

After the last message either side may close the channel. The sender of the offer chooses `id`, and every message about
the transfer repeats it; only a reject or cancel before the offer has no `id`. `offset` is 0 in version 1. Messages of
unknown type are ignored, so that later versions may add some. Any other unexpected message ends the transfer with
`file-cancel`.

`FileSender` and `FileReceiver` take messages and return actions, which the caller performs in order. No message from
a peer raises an exception, and nothing of it is stored except the running hash. After `Ended` all calls are ignored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from datachan.transfer.control import (
    ID_PATTERN,
    MAX_SIZE,
    Control,
    FileAccept,
    FileCancel,
    FileEnd,
    FileOffer,
    FileReceived,
    FileReject,
    FileRequest,
    clean_reason,
    parse_control_untrusted,
    serialize_control,
    type_name,
)
from datachan.transfer.errors import BadControl, TransferMisuse
from datachan.transfer.file_names import safe_name

CHANNEL_LABEL: Final = "file"

CHUNK_SIZE: Final = 64 * 1024
"""Bytes per binary message, unless the maximum message size of the peer is smaller."""


# Actions -------------------------------------------------------------------------------------------------------------


class TransferOutcome(Enum):
    """How a transfer ended."""

    DELIVERED = "delivered"
    """The receiver has stored the file and both hashes agree."""
    REFUSED = "refused"
    """One side declined before any byte was sent."""
    CANCELLED = "cancelled"
    """The peer canceled the transfer."""
    FAILED = "failed"
    """This side canceled it, the channel closed, the hash was wrong, or the peer violated the protocol."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message on the channel."""

    message: str | bytes


@dataclass(frozen=True, slots=True)
class Offered:
    """For the receiver: decide, then call `accept` or `reject`."""

    offer: FileOffer


@dataclass(frozen=True, slots=True)
class Accepted:
    """For the sender: call `send_chunk` with the bytes of the file, then `finish`."""


@dataclass(frozen=True, slots=True)
class Write:
    """For the receiver: write the next bytes of the file."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """For the receiver: all bytes arrived and the hash is correct. Store the file, then call `stored` or `cancel`."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last action of a transfer. Unless the outcome is DELIVERED, the receiver removes what it has written."""

    outcome: TransferOutcome
    reason: str = ""


Action: TypeAlias = Send | Offered | Accepted | Write | Verified | Ended


# The two machines ----------------------------------------------------------------------------------------------------


class TransferState(Enum):
    """The state of a transfer. The machines go through this list from top to bottom."""

    NEW = "new"
    REQUESTED = "requested"
    OFFERED = "offered"
    TRANSFERRING = "transferring"
    COMPLETING = "completing"
    """The sender waits for the receipt; the receiver waits until the file is stored."""
    ENDED = "ended"


class _Transfer:
    """The common part of both ends: the state, the id, the hash, and the ways to end."""

    def __init__(self) -> None:
        self.state = TransferState.NEW
        self.id = ""
        self.size = 0
        self.transferred = 0
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hash of the bytes moved so far, in hexadecimal."""
        return self._hash.hexdigest()

    def receive_message(self, message: str | bytes) -> list[Action]:
        """Process one message of the channel. Never raises because of a peer's message."""
        if self.state is TransferState.ENDED:
            return []
        if not isinstance(message, str):
            return self._receive_data(message)
        try:
            control = parse_control_untrusted(message)
        except BadControl as error:
            return self.cancel(error.reason)
        if control is None:
            return []
        if not self._is_ours(control):
            return self.cancel("a control message is about another transfer")
        if isinstance(control, FileReject):
            return self._end(TransferOutcome.REFUSED, control.reason)
        if isinstance(control, FileCancel):
            return self._end(TransferOutcome.CANCELLED, control.reason)
        return self._receive_control(control)

    def cancel(self, reason: str) -> list[Action]:
        """End the transfer and send the peer the reason. Does nothing once the transfer has ended."""
        if self.state is TransferState.ENDED:
            return []
        reason = clean_reason(reason)
        return [Send(serialize_control(FileCancel(self.id, reason))), *self._end(TransferOutcome.FAILED, reason)]

    def channel_closed(self) -> list[Action]:
        """End the transfer because the channel has closed. Does nothing once the transfer has ended."""
        if self.state is TransferState.ENDED:
            return []
        return self._end(TransferOutcome.FAILED, "the channel closed before the transfer was complete")

    def _is_ours(self, control: Control) -> bool:
        if isinstance(control, FileRequest | FileOffer):
            return True
        # A peer that ends a transfer before the offer does not know the id yet.
        return control.id == self.id or (control.id == "" and isinstance(control, FileReject | FileCancel))

    def _receive_control(self, control: Control) -> list[Action]:
        return self.cancel(f"{type_name(control)} is not expected here")

    def _receive_data(self, data: bytes) -> list[Action]:
        return self.cancel("file data is not expected here")

    def _end(self, outcome: TransferOutcome, reason: str = "") -> list[Action]:
        self.state = TransferState.ENDED
        return [Ended(outcome, reason)]

    def _require(self, state: TransferState, call: str) -> None:
        if self.state is not state:
            raise TransferMisuse(f"{call} does not fit the state {self.state.value!r}")


class FileSender(_Transfer):
    """The end that has the file.

    Args:
        transfer_id: 1 to 64 letters, digits, `-` or `_`; unique among this peer's transfers.
        name: The name of the file; the offer contains `safe_name(name)`.
        size: Bytes; exactly this many must be given to `send_chunk`.
        mime: The media type, if known.
    """

    def __init__(self, transfer_id: str, name: str, size: int, *, mime: str | None = None) -> None:
        super().__init__()
        if not ID_PATTERN.fullmatch(transfer_id):
            raise TransferMisuse("a transfer id is 1 to 64 letters, digits, '-' or '_'")
        if not 0 <= size <= MAX_SIZE:
            raise TransferMisuse(f"a file has 0 to {MAX_SIZE} bytes")
        self.id = transfer_id
        self.size = size
        self.offer = FileOffer(transfer_id, safe_name(name), size, mime)

    def start(self) -> list[Action]:
        """Offer the file."""
        self._require(TransferState.NEW, "start")
        self.state = TransferState.OFFERED
        return [Send(serialize_control(self.offer))]

    def send_chunk(self, data: bytes) -> list[Action]:
        """Send the next bytes of the file. Does nothing if the transfer has ended.

        Raises:
            TransferMisuse: The peer has not accepted yet, or the bytes exceed the announced size.
        """
        if self.state is TransferState.ENDED:
            return []
        self._require(TransferState.TRANSFERRING, "send_chunk")
        if self.transferred + len(data) > self.size:
            raise TransferMisuse("more bytes than were announced")
        self._hash.update(data)
        self.transferred += len(data)
        return [Send(data)]

    def finish(self) -> list[Action]:
        """Send the hash after the last byte. Does nothing if the transfer has ended.

        Raises:
            TransferMisuse: Fewer bytes were given than announced.
        """
        if self.state is TransferState.ENDED:
            return []
        self._require(TransferState.TRANSFERRING, "finish")
        if self.transferred != self.size:
            raise TransferMisuse("fewer bytes than were announced")
        self.state = TransferState.COMPLETING
        return [Send(serialize_control(FileEnd(self.id, self.sha256)))]

    def _receive_control(self, control: Control) -> list[Action]:
        if isinstance(control, FileAccept) and self.state is TransferState.OFFERED:
            if control.offset != 0:
                return self.cancel("version 1 of the protocol sends whole files")
            self.state = TransferState.TRANSFERRING
            return [Accepted()]
        if isinstance(control, FileReceived) and self.state is TransferState.COMPLETING:
            if control.sha256 != self.sha256:
                return self.cancel("the peer received different data: the hashes differ")
            return self._end(TransferOutcome.DELIVERED)
        return super()._receive_control(control)


class FileReceiver(_Transfer):
    """The receiving end of a transfer.

    Args:
        max_size: Bytes; larger offers are refused.
    """

    def __init__(self, *, max_size: int | None = None) -> None:
        super().__init__()
        self._max_size = MAX_SIZE if max_size is None else max_size
        self._requested: str | None = None

    def request(self, name: str | None = None) -> list[Action]:
        """Request that the peer offers a file: the file of this name, or any file without a name."""
        self._require(TransferState.NEW, "request")
        self.state = TransferState.REQUESTED
        self._requested = None if name is None else safe_name(name)
        return [Send(serialize_control(FileRequest(self._requested)))]

    def accept(self) -> list[Action]:
        """Accept the offered file. Does nothing if the transfer has ended."""
        if self.state is TransferState.ENDED:
            return []
        self._require(TransferState.OFFERED, "accept")
        self.state = TransferState.TRANSFERRING
        return [Send(serialize_control(FileAccept(self.id)))]

    def reject(self, reason: str) -> list[Action]:
        """Decline the offered file. Does nothing if the transfer has ended."""
        if self.state is TransferState.ENDED:
            return []
        self._require(TransferState.OFFERED, "reject")
        reason = clean_reason(reason)
        return [Send(serialize_control(FileReject(self.id, reason))), *self._end(TransferOutcome.REFUSED, reason)]

    def stored(self) -> list[Action]:
        """Confirm to the sender that the verified file is stored."""
        if self.state is TransferState.ENDED:
            return []
        self._require(TransferState.COMPLETING, "stored")
        receipt = FileReceived(self.id, self.sha256)
        return [Send(serialize_control(receipt)), *self._end(TransferOutcome.DELIVERED)]

    def _receive_control(self, control: Control) -> list[Action]:
        if isinstance(control, FileOffer) and self.state in (TransferState.NEW, TransferState.REQUESTED):
            return self._receive_offer(control)
        if isinstance(control, FileEnd) and self.state is TransferState.TRANSFERRING:
            return self._receive_end(control)
        return super()._receive_control(control)

    def _receive_offer(self, offer: FileOffer) -> list[Action]:
        self.state = TransferState.OFFERED
        self.id = offer.id
        self.size = offer.size
        if self._requested is not None and offer.name != self._requested:
            return self.reject("this is not the requested file")
        if offer.size > self._max_size:
            return self.reject(f"the file is larger than the {self._max_size} bytes accepted here")
        return [Offered(offer)]

    def _receive_data(self, data: bytes) -> list[Action]:
        if self.state is not TransferState.TRANSFERRING:
            return super()._receive_data(data)
        if self.transferred + len(data) > self.size:
            return self.cancel("more bytes arrived than announced")
        self._hash.update(data)
        self.transferred += len(data)
        return [Write(data)] if data else []

    def _receive_end(self, end: FileEnd) -> list[Action]:
        if self.transferred != self.size:
            return self.cancel("fewer bytes arrived than announced")
        if end.sha256 != self.sha256:
            return self.cancel("the file arrived damaged: the hashes differ")
        self.state = TransferState.COMPLETING
        return [Verified(end.sha256)]
