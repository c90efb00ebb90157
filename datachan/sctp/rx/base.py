"""What is received and not delivered, as the association sees it: chunks in, messages out, and bytes held.

The base of the two ways messages are fragmented: by consecutive TSNs (`reassembly`) and by fragment numbers
(`interleaved`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from datachan.sctp.errors import SctpError
from datachan.sctp.events import Event, MessageReceived
from datachan.sctp.wire.chunks import UserDataChunk

OVERHEAD: Final = 128
"""What holding one fragment or message costs besides its bytes: counted, so that tiny ones cannot outgrow the
window.
"""


class PeerViolation(SctpError):
    """The peer broke the protocol in a way that ends the association; the text goes into the ABORT."""


class OrderedStream:
    """One stream we receive on, as far as the order of its messages goes.

    Attributes:
        next_number: the ordered message to deliver next: its SSN or MID, unwrapped.
        waiting: whole ordered messages that came too early, by that number.
    """

    __slots__ = ("next_number", "waiting")

    def __init__(self) -> None:
        self.next_number = 0
        self.waiting: dict[int, MessageReceived] = {}


class Reassembly:
    """Everything received that the user does not have yet.

    Attributes:
        buffered: bytes held, overhead included.
        pieces: how many times the overhead is in that.
        max_message_size: longest message accepted, 0 for no limit. Of one that is handed up in parts, what is held
            counts.
        partial_delivery_point: so many bytes of a message whose turn it is are handed up although it goes on; 0 waits
            for whole messages.
    """

    __slots__ = ("buffered", "max_message_size", "partial_delivery_point", "pieces")

    def __init__(self, max_message_size: int = 0, partial_delivery_point: int = 0) -> None:
        self.buffered = 0
        self.pieces = 0
        self.max_message_size = max_message_size
        self.partial_delivery_point = partial_delivery_point

    def add(self, chunk: UserDataChunk, tsn: int, contiguous: bool, out: list[Event]) -> None:
        """Take in a fragment and append the messages it completes, in order, to `out`.

        Args:
            chunk: received for the first time.
            tsn: its unwrapped TSN.
            contiguous: nothing below this TSN is missing.
            out: receives the messages.

        Raises:
            PeerViolation: the fragments do not fit together, or the message exceeds `max_message_size`.
        """

    def forward(self, new_cumulative_tsn: int, skipped: Sequence[tuple[int, bool, int]], out: list[Event]) -> None:
        """The sender gave up on everything up to a TSN (RFC 3758, section 3.6).

        Args:
            new_cumulative_tsn: unwrapped.
            skipped: (stream id, unordered, number) of the last message given up per stream; the number is an SSN or
                a MID as on the wire.
            out: receives messages that were waiting for those.
        """

    def reset_streams(self, stream_ids: Sequence[int] | None) -> None:
        """The peer begins again with number 0 on these streams, or on all (RFC 6525, section 5.2.2)."""

    def being_assembled(self, cumulative_tsn: int) -> tuple[int, int]:
        """(bytes, pieces) that the receiver window does not count, of messages that are on their way to be whole.

        Else a message longer than the window could never arrive.
        """
        return 0, 0

    def check_invariants(self) -> None:
        """For tests: raise AssertionError when the books do not balance."""

    def _deliver_next(self, stream: OrderedStream, message: MessageReceived, out: list[Event]) -> None:
        """It is this message's turn, and perhaps that of some that waited for it."""
        out.append(message)
        stream.next_number += 1
        if stream.waiting:
            self._deliver_waiting(stream, out)

    def _let_wait(self, stream: OrderedStream, number: int, message: MessageReceived) -> None:
        """A message came before its turn. Raises PeerViolation when its number is taken."""
        if number in stream.waiting:
            raise PeerViolation(f"sequence number {message.ssn} used twice on stream {message.stream_id}")
        stream.waiting[number] = message
        self._hold(len(message.data), 1)

    def _deliver_waiting(self, stream: OrderedStream, out: list[Event]) -> None:
        while stream.next_number in stream.waiting:
            self._release_waiting(stream, stream.next_number, out)
            stream.next_number += 1

    def _skip_to(self, stream: OrderedStream, last: int, out: list[Event]) -> None:
        """What is missing up to this number will not come.

        RFC 3758, 3.6: "immediately make available for delivery stream sequence numbers earlier than or equal to the
        stream sequence number listed inside the FORWARD TSN."
        """
        for early in sorted(number for number in stream.waiting if number <= last):
            self._release_waiting(stream, early, out)
        stream.next_number = last + 1
        self._deliver_waiting(stream, out)

    def _release_waiting(self, stream: OrderedStream, number: int, out: list[Event]) -> None:
        message = stream.waiting.pop(number)
        self._hold(-len(message.data), -1)
        out.append(message)

    def _forget_waiting(self, stream: OrderedStream) -> None:
        """The stream begins anew."""
        self._hold(-sum(len(message.data) for message in stream.waiting.values()), -len(stream.waiting))

    def _hold(self, size: int, pieces: int) -> None:
        self.buffered += size + OVERHEAD * pieces
        self.pieces += pieces

    def _check_size(self, size: int) -> None:
        if self.max_message_size and size > self.max_message_size:
            raise PeerViolation(f"a message exceeds the {self.max_message_size} bytes announced")
