"""The reassembly of I-DATA: fragments become messages, whatever their TSNs, and ordered messages keep order.

This module knows streams, message and fragment numbers and buffers; it knows no acknowledgments. RFC 8260, 2.2.3: "The
receiver MUST NOT make any assumption about the TSN assignments of the sender." One message per stream is in progress at
a time, on any number of streams at once.

A message longer than the receiver window has to arrive although memory is bounded. So each message in progress counts
against the window with a share only (`COUNTED_SHARE`). Few messages cannot close the window, and each may grow up to
the maximum message size. The bytes that do not count are bounded as a whole (`UNCOUNTED_MESSAGES`,
`UNCOUNTED_WINDOWS`); beyond that bound all bytes count. If a peer closes the window with messages that it cannot
complete, the association aborts.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from datachan.sctp.events import Event, MessageReceived, PartialDeliveryAborted
from datachan.sctp.serial import unwrap
from datachan.sctp.wire.chunks import UserDataChunk
from datachan.sctp.wire.extensions import IDataChunk

from .base import OVERHEAD, OrderedStream, PeerViolation, Reassembly, check_waiting

COUNTED_SHARE: Final = 128
"""Of an incomplete message, the window divided by this number counts against the window."""

UNCOUNTED_MESSAGES: Final = 2
"""The uncounted bytes of all incomplete messages are at most this many messages of the maximum size, or"""

UNCOUNTED_WINDOWS: Final = 16
"""this many receiver windows, whichever is more. Without a maximum message size they are not limited."""

HORIZON: Final = 1 << 30
"""The largest distance of an unordered MID behind the newest of its stream. A sender has fewer than 2**31 messages in
flight."""

PARTIAL_PIECES: Final = 2
"""An incomplete message counts as this many pieces besides its fragments, because its record is larger than theirs."""

_MASK: Final = 0xFFFFFFFF


class Partial:
    """A message of which a fragment is still missing.

    Attributes:
        parts: its fragments from the first up to the first missing one.
        next_fsn: the number of the first missing fragment, unwrapped.
        early: the fragments behind a missing one, by number.
        last_fsn: the number of its last fragment, -1 while unknown.
        ppid: known once the first fragment has arrived.
        size: bytes in `parts` and `early`.
        uncounted: bytes, overhead included, that the receiver window does not count.
        uncounted_pieces: the number of fragments in `uncounted`.
        partly_delivered: whether its beginning was delivered already.
    """

    __slots__ = (
        "early",
        "last_fsn",
        "next_fsn",
        "partly_delivered",
        "parts",
        "ppid",
        "size",
        "uncounted",
        "uncounted_pieces",
    )

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.next_fsn = 0
        self.early: dict[int, bytes] = {}
        self.last_fsn = -1
        self.ppid = 0
        self.size = 0
        self.uncounted = 0
        self.uncounted_pieces = 0
        self.partly_delivered = False

    @property
    def pieces(self) -> int:
        """The number of pieces that the message counts as."""
        return len(self.parts) + len(self.early) + PARTIAL_PIECES


class InterleavedStream(OrderedStream):
    """One incoming stream with its incomplete messages.

    Attributes:
        first_unordered_mid: unordered messages with lower MIDs were skipped or are out of date; unwrapped.
        partials: incomplete messages, by `mid << 1 | unordered`, with the MID as on the wire.
    """

    __slots__ = ("first_unordered_mid", "partials")

    def __init__(self) -> None:
        super().__init__()
        self.first_unordered_mid = 0
        self.partials: dict[int, Partial] = {}


class InterleavedReassembly(Reassembly):
    """The reassembly of an association that uses I-DATA.

    Args:
        max_message_size: the longest message accepted, 0 for no limit.
        window: the receiver window when nothing is held, in bytes.
        partial_delivery_point: see `Reassembly`.
    """

    __slots__ = ("_counted_share", "_mids", "_streams", "_uncounted", "_uncounted_limit", "_uncounted_pieces")

    def __init__(self, max_message_size: int, window: int, partial_delivery_point: int = 0) -> None:
        super().__init__(max_message_size, partial_delivery_point)
        self._counted_share = window // COUNTED_SHARE
        self._uncounted_limit = (
            max(UNCOUNTED_MESSAGES * max_message_size, UNCOUNTED_WINDOWS * window) if max_message_size else 0
        )
        self._uncounted = 0
        self._uncounted_pieces = 0
        self._streams: dict[int, InterleavedStream] = {}
        # By `stream_id << 1 | unordered`, a heap of unwrapped MIDs of incomplete messages; some are complete by now.
        self._mids: dict[int, list[int]] = {}

    def add(self, chunk: UserDataChunk, tsn: int, contiguous: bool, out: list[Event]) -> None:
        """Store a fragment and append the messages it completes, in order, to `out`; see `Reassembly.add`."""
        if not isinstance(chunk, IDataChunk):
            raise PeerViolation("received DATA although I-DATA was negotiated")
        stream = self._streams.get(chunk.stream_id)
        if stream is None:
            stream = self._streams[chunk.stream_id] = InterleavedStream()
        partial = stream.partials.get(chunk.mid << 1 | chunk.unordered)
        if partial is None:
            if _is_outdated(stream, chunk):
                return
            if chunk.beginning and chunk.ending:
                self._check_size(len(chunk.data))
                self._complete(stream, chunk, chunk.ppid_or_fsn, chunk.data, out)
                return
            partial = self._start_partial(stream, chunk)
        data = chunk.data
        size = partial.size = partial.size + len(data)
        self.buffered += len(data) + OVERHEAD
        self.pieces += 1
        if self.max_message_size and size > self.max_message_size:
            self._check_size(size)
        if (
            partial.next_fsn
            and chunk.ppid_or_fsn == partial.next_fsn & _MASK
            and not (partial.early or chunk.ending or chunk.beginning or partial.last_fsn >= 0)
        ):
            # The hot path: the next fragment of an incomplete message.
            self._append(partial, data)
            if self.partial_delivery_point and size >= self.partial_delivery_point:
                self._deliver_part(stream, partial, chunk, out)
            return
        self._insert(partial, chunk)
        if partial.next_fsn > partial.last_fsn >= 0:
            self._finish(stream, partial, chunk, out)
        elif self.partial_delivery_point and size >= self.partial_delivery_point:
            self._deliver_part(stream, partial, chunk, out)

    def _start_partial(self, stream: InterleavedStream, chunk: IDataChunk) -> Partial:
        """Create the record of an incomplete message, indexed so that skipping visits only what it drops."""
        unordered = chunk.unordered
        partial = stream.partials[chunk.mid << 1 | unordered] = Partial()
        self._account(0, PARTIAL_PIECES)
        mids = self._mids.get(chunk.stream_id << 1 | unordered)
        if mids is None:
            mids = self._mids[chunk.stream_id << 1 | unordered] = []
        heappush(mids, unwrap(chunk.mid, stream.first_unordered_mid if unordered else stream.next_number))
        if len(mids) > 2 * len(stream.partials) + 64:
            mids[:] = [mid for mid in set(mids) if (mid & _MASK) << 1 | unordered in stream.partials]
            heapify(mids)
        return partial

    def _deliver_part(self, stream: InterleavedStream, partial: Partial, chunk: IDataChunk, out: list[Event]) -> None:
        """Deliver an incomplete message up to its first missing fragment, if it is its turn."""
        if not partial.parts or not (chunk.unordered or chunk.mid == stream.next_number & _MASK):
            return
        data = b"".join(partial.parts)
        self._account(-len(data), -len(partial.parts))
        self._uncounted -= partial.uncounted
        self._uncounted_pieces -= partial.uncounted_pieces
        partial.uncounted = partial.uncounted_pieces = 0
        partial.size -= len(data)
        partial.parts = []
        partial.partly_delivered = True
        out.append(MessageReceived(chunk.stream_id, partial.ppid, data, chunk.unordered, chunk.mid, chunk.tsn, False))

    def _insert(self, partial: Partial, chunk: IDataChunk) -> None:
        """Insert a fragment into its message."""
        if chunk.beginning:
            fsn = 0
            partial.ppid = chunk.ppid_or_fsn
        else:
            fsn = unwrap(chunk.ppid_or_fsn, partial.next_fsn)
        if fsn < partial.next_fsn or fsn in partial.early or (fsn == 0 and not chunk.beginning):
            raise PeerViolation(f"a message on stream {chunk.stream_id} has two fragments with FSN {fsn & _MASK}")
        if chunk.ending:
            if partial.last_fsn >= 0 or (partial.early and max(partial.early) > fsn):
                raise PeerViolation(f"a message on stream {chunk.stream_id} has two last fragments")
            partial.last_fsn = fsn
        elif 0 <= partial.last_fsn < fsn:
            raise PeerViolation(f"a message on stream {chunk.stream_id} has a fragment behind its last one")
        if fsn != partial.next_fsn:
            partial.early[fsn] = chunk.data
            return
        self._append(partial, chunk.data)
        while partial.next_fsn in partial.early:
            self._append(partial, partial.early.pop(partial.next_fsn))

    def _append(self, partial: Partial, data: bytes) -> None:
        """Append the next fragment to a message, and count it against the window or not."""
        parts = partial.parts
        if partial.size + OVERHEAD * len(parts) - len(data) >= self._counted_share:
            cost = len(data) + OVERHEAD
            if not self._uncounted_limit or self._uncounted + cost <= self._uncounted_limit:
                partial.uncounted += cost
                partial.uncounted_pieces += 1
                self._uncounted += cost
                self._uncounted_pieces += 1
        parts.append(data)
        partial.next_fsn += 1

    def _finish(self, stream: InterleavedStream, partial: Partial, chunk: IDataChunk, out: list[Event]) -> None:
        """Deliver a message whose fragments have all arrived."""
        del stream.partials[chunk.mid << 1 | chunk.unordered]
        self._release(partial)
        self._complete(stream, chunk, partial.ppid, b"".join(partial.parts), out)

    def _complete(self, stream: InterleavedStream, chunk: IDataChunk, ppid: int, data: bytes, out: list[Event]) -> None:
        message = MessageReceived(chunk.stream_id, ppid, data, chunk.unordered, chunk.mid, chunk.tsn)
        if chunk.unordered:
            out.append(message)
        elif chunk.mid == stream.next_number & _MASK:
            self._deliver_next(stream, message, out)
        else:
            self._store_waiting(stream, unwrap(chunk.mid, stream.next_number), message)

    def _release(self, partial: Partial) -> None:
        """Take a message that is complete or dropped off the account."""
        self._account(-partial.size, -partial.pieces)
        self._uncounted -= partial.uncounted
        self._uncounted_pieces -= partial.uncounted_pieces

    # -- partial reliability, stream reset -----------------------------------------------------------------------------

    def forward(self, new_cumulative_tsn: int, skipped: Sequence[tuple[int, bool, int]], out: list[Event]) -> None:
        """Drop the skipped messages and deliver the messages that waited for them.

        RFC 8260, 2.3.1: "the principle applied to ordered messages when using FORWARD-TSN chunks is applied to ordered
        and unordered messages when using I-FORWARD-TSN chunks." A sender processes the messages of a stream one after
        the other, so no message before the one listed can still arrive.
        """
        for stream_id, unordered, number in skipped:
            stream = self._streams.get(stream_id)
            if stream is None:
                stream = self._streams[stream_id] = InterleavedStream()
            if unordered:
                last = unwrap(number, stream.first_unordered_mid)
                stream.first_unordered_mid = max(stream.first_unordered_mid, last + 1)
                self._drop_partials(stream_id, stream, True, last, out)
            else:
                self._skip_ordered(stream_id, stream, number, out)

    def _skip_ordered(self, stream_id: int, stream: InterleavedStream, number: int, out: list[Event]) -> None:
        last = unwrap(number, stream.next_number)
        if last < stream.next_number:
            return
        self._drop_partials(stream_id, stream, False, last, out)
        self._skip_to(stream, last, out)

    def _drop_partials(
        self, stream_id: int, stream: InterleavedStream, unordered: bool, last: int, out: list[Event]
    ) -> None:
        """Drop the incomplete messages up to this unwrapped MID."""
        mids = self._mids.get(stream_id << 1 | unordered)
        while mids and mids[0] <= last:
            mid = heappop(mids) & _MASK
            partial = stream.partials.pop(mid << 1 | unordered, None)
            if partial is None:
                continue
            self._release(partial)
            if partial.partly_delivered:
                out.append(PartialDeliveryAborted(stream_id, mid))

    def reset_streams(self, stream_ids: Sequence[int] | None) -> None:
        """Restart these streams, or all if None.

        RFC 8260, 2.3.2: "the two counters (one for the ordered messages, one for the unordered messages) used for the
        MIDs MUST be reset to 0."
        """
        for stream_id in list(self._streams) if stream_ids is None else stream_ids:
            stream = self._streams.pop(stream_id, None)
            if stream is None:
                continue
            self._drop_waiting(stream)
            self._mids.pop(stream_id << 1, None)
            self._mids.pop(stream_id << 1 | 1, None)
            for partial in stream.partials.values():
                self._release(partial)

    # -- accounts ------------------------------------------------------------------------------------------------------

    def uncounted(self, cumulative_tsn: int) -> tuple[int, int]:
        """Return the (bytes, pieces) of incomplete messages that the receiver window does not count."""
        return self._uncounted, self._uncounted_pieces

    def check_invariants(self) -> None:
        """Raise AssertionError if the counters are inconsistent; for tests."""
        held = pieces = uncounted = 0
        for stream_id, stream in self._streams.items():
            check_waiting(stream)
            if not all(
                (key >> 1) in {mid & _MASK for mid in self._mids[stream_id << 1 | (key & 1)]} for key in stream.partials
            ):
                raise AssertionError(f"an incomplete message on stream {stream_id} could never be skipped")
            for message in stream.waiting.values():
                held += len(message.data) + OVERHEAD
                pieces += 1
            for partial in stream.partials.values():
                size = sum(map(len, partial.parts)) + sum(map(len, partial.early.values()))
                if size != partial.size or partial.next_fsn in partial.early:
                    raise AssertionError(f"a message of {partial.size} bytes holds {size}")
                held += size + OVERHEAD * partial.pieces
                pieces += partial.pieces
                uncounted += partial.uncounted
        if (held, pieces, uncounted) != (self.buffered, self.pieces, self._uncounted):
            raise AssertionError(f"{self.buffered} bytes in {self.pieces} accounted, {held} in {pieces} held")


def _is_outdated(stream: InterleavedStream, chunk: IDataChunk) -> bool:
    """Return whether the message was skipped or already delivered, so that its fragment is a late one."""
    if chunk.unordered:
        mid = unwrap(chunk.mid, stream.first_unordered_mid)
        stream.first_unordered_mid = max(stream.first_unordered_mid, mid - HORIZON)
        return mid < stream.first_unordered_mid
    return unwrap(chunk.mid, stream.next_number) < stream.next_number
