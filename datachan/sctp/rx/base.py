"""The base of the two ways to reassemble messages: chunks in, messages out, and an account of the bytes held.

DATA is reassembled by consecutive TSNs (`reassembly`), I-DATA by fragment numbers (`interleaved`).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final

from datachan.sctp.errors import SctpError
from datachan.sctp.events import Event, MessageReceived
from datachan.sctp.wire.chunks import UserDataChunk

OVERHEAD: Final = 128
"""Bytes of memory that one fragment or message costs besides its data. They are counted so that tiny fragments cannot
use more memory than the receiver window."""


class PeerViolation(SctpError):
    """A protocol violation of the peer that ends the association; the text goes into the ABORT."""


class OrderedStream:
    """The order of the messages of one incoming stream.

    Attributes:
        next_number: the SSN or MID of the ordered message to deliver next, unwrapped.
        waiting: complete ordered messages that arrived before their turn, by that number.
        waiting_numbers: the keys of `waiting` as a heap, so that skipping costs no more than it delivers.
    """

    __slots__ = ("next_number", "waiting", "waiting_numbers")

    def __init__(self) -> None:
        self.next_number = 0
        self.waiting: dict[int, MessageReceived] = {}
        self.waiting_numbers: list[int] = []


class Reassembly:
    """The data that was received and not yet delivered to the application.

    Attributes:
        buffered: bytes held, overhead included.
        pieces: the number of fragments and messages held, each with `OVERHEAD` in `buffered`. Where the record of an
            incomplete message is large, it counts as pieces, too.
        max_message_size: the longest message accepted, 0 for no limit. Of a message delivered in parts, only the bytes
            held count.
        partial_delivery_point: the number of bytes from which an incomplete message is delivered in parts, when it is
            its turn; 0 to deliver complete messages only.
    """

    __slots__ = ("buffered", "max_message_size", "partial_delivery_point", "pieces")

    def __init__(self, max_message_size: int = 0, partial_delivery_point: int = 0) -> None:
        self.buffered = 0
        self.pieces = 0
        self.max_message_size = max_message_size
        self.partial_delivery_point = partial_delivery_point

    def add(self, chunk: UserDataChunk, tsn: int, contiguous: bool, out: list[Event]) -> None:
        """Store a fragment and append the messages it completes, in order, to `out`.

        Args:
            chunk: a chunk received for the first time.
            tsn: its unwrapped TSN.
            contiguous: whether no TSN below this one is missing.
            out: receives the messages.

        Raises:
            PeerViolation: the fragments do not fit together, or the message exceeds `max_message_size`.
        """

    def forward(self, new_cumulative_tsn: int, skipped: Sequence[tuple[int, bool, int]], out: list[Event]) -> None:
        """Drop the messages that the sender abandoned up to a TSN (RFC 3758, section 3.6).

        Args:
            new_cumulative_tsn: unwrapped.
            skipped: (stream id, unordered, number) of the last message abandoned per stream; the number is an SSN or a
                MID as on the wire.
            out: receives the messages that waited for the abandoned ones.
        """

    def reset_streams(self, stream_ids: Sequence[int] | None) -> None:
        """Restart these streams, or all if None, with number 0 (RFC 6525, section 5.2.2)."""

    def uncounted(self, cumulative_tsn: int) -> tuple[int, int]:
        """Return the (bytes, pieces) of incomplete messages that the receiver window does not count.

        If the window counted them, a message longer than the window could never arrive.

        Args:
            cumulative_tsn: the TSN up to which everything has arrived.

        Returns:
            Bytes with overhead, and the number of fragments.
        """
        return 0, 0

    def check_invariants(self) -> None:
        """Raise AssertionError if the counters are inconsistent; for tests."""

    def _deliver_next(self, stream: OrderedStream, message: MessageReceived, out: list[Event]) -> None:
        """Deliver the next message in order, and those that waited for it."""
        out.append(message)
        stream.next_number += 1
        if stream.waiting:
            self._deliver_waiting(stream, out)

    def _store_waiting(self, stream: OrderedStream, number: int, message: MessageReceived) -> None:
        """Store a message that arrived before its turn; raise PeerViolation when its number is taken."""
        if number in stream.waiting:
            raise PeerViolation(f"sequence number {message.ssn} used twice on stream {message.stream_id}")
        stream.waiting[number] = message
        heappush(stream.waiting_numbers, number)
        self._account(len(message.data), 1)

    def _deliver_waiting(self, stream: OrderedStream, out: list[Event]) -> None:
        numbers = stream.waiting_numbers
        while numbers and numbers[0] == stream.next_number:
            self._release_first_waiting(stream, out)
            stream.next_number += 1

    def _skip_to(self, stream: OrderedStream, last: int, out: list[Event]) -> None:
        """Deliver the waiting messages up to this number, and skip the missing ones.

        RFC 3758, 3.6: "immediately make available for delivery stream sequence numbers earlier than or equal to the
        stream sequence number listed inside the FORWARD TSN."
        """
        numbers = stream.waiting_numbers
        while numbers and numbers[0] <= last:
            self._release_first_waiting(stream, out)
        stream.next_number = last + 1
        self._deliver_waiting(stream, out)

    def _release_first_waiting(self, stream: OrderedStream, out: list[Event]) -> None:
        message = stream.waiting.pop(heappop(stream.waiting_numbers))
        self._account(-len(message.data), -1)
        out.append(message)

    def _drop_waiting(self, stream: OrderedStream) -> None:
        """Subtract the waiting messages of a stream that is reset from the counters."""
        self._account(-sum(len(message.data) for message in stream.waiting.values()), -len(stream.waiting))

    def _account(self, size: int, pieces: int) -> None:
        self.buffered += size + OVERHEAD * pieces
        self.pieces += pieces

    def _check_size(self, size: int) -> None:
        if self.max_message_size and size > self.max_message_size:
            raise PeerViolation(f"a message exceeds the maximum message size of {self.max_message_size} bytes")


def check_waiting(stream: OrderedStream) -> None:
    """Raise AssertionError when the heap of a stream's waiting messages differs from the messages; for tests."""
    if sorted(stream.waiting_numbers) != sorted(stream.waiting):
        raise AssertionError(
            f"messages {sorted(stream.waiting)} wait, {sorted(stream.waiting_numbers)} are in the heap"
        )
