"""The reassembly of DATA: fragments become messages, and ordered messages are delivered in order.

The rules are those of RFC 9260, sections 6.5, 6.6 and 6.9. This module knows streams and buffers; it knows no
acknowledgments. The fragments of a message have consecutive TSNs, so they are joined by TSN into runs, whatever their
stream. A complete message then waits for its turn within its stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from datachan.sctp.events import Event, MessageReceived, PartialDeliveryAborted
from datachan.sctp.serial import unwrap16
from datachan.sctp.wire.chunks import DataChunk, UserDataChunk

from .base import OVERHEAD, OrderedStream, PeerViolation, Reassembly, check_waiting

SMALL_FRAGMENT: Final = 256
"""Bytes of user data below which a fragment costs much more memory than its data."""

MANY_FRAGMENTS: Final = 1024
"""The number of fragments from which a run of mostly small ones is joined into one piece."""


class Run:
    """Fragments of one incomplete message with consecutive TSNs.

    Attributes:
        start: the TSN of the first fragment held.
        end: the TSN of the last one.
        begins: whether the first fragment held is the first of the message.
        partly_delivered: whether its beginning was delivered already.
        first: the chunk that carried the first fragment held.
        parts: the user data of the fragments.
        size: the bytes in `parts`.
    """

    __slots__ = ("begins", "end", "first", "partly_delivered", "parts", "size", "start")

    def __init__(self, chunk: DataChunk, tsn: int) -> None:
        self.start = tsn
        self.end = tsn
        self.begins = chunk.beginning
        self.partly_delivered = False
        self.first = chunk
        self.parts: deque[bytes] = deque((chunk.data,))
        self.size = len(chunk.data)


class ReassemblyQueue(Reassembly):
    """The reassembly of an association that uses DATA."""

    __slots__ = ("_by_end", "_by_start", "_starts", "_streams")

    def __init__(self, max_message_size: int = 0, partial_delivery_point: int = 0) -> None:
        super().__init__(max_message_size, partial_delivery_point)
        # A run is found by its first TSN and by the TSN behind its last.
        self._by_start: dict[int, Run] = {}
        self._by_end: dict[int, Run] = {}
        # The keys of `_by_start` as a heap, among them some that are no longer keys.
        self._starts: list[int] = []
        self._streams: dict[int, OrderedStream] = {}

    def add(self, chunk: UserDataChunk, tsn: int, contiguous: bool, out: list[Event]) -> None:
        """Store a fragment and append the messages it completes, in order, to `out`; see `Reassembly.add`."""
        if not isinstance(chunk, DataChunk):
            raise PeerViolation("received I-DATA although it was not negotiated")
        if chunk.beginning and chunk.ending:
            self._check_size(len(chunk.data))
            self._complete(chunk, chunk.data, out)
            return
        run = None if chunk.beginning else self._by_end.pop(tsn, None)
        if run is not None:
            self._extend_run(run, chunk, tsn, out)
        else:
            self._start_run(chunk, tsn, contiguous, out)

    def _extend_run(self, run: Run, chunk: DataChunk, tsn: int, out: list[Event]) -> None:
        """Append the next fragment of an incomplete message to its run: the hot path."""
        first = run.first
        if (
            chunk.stream_id != first.stream_id
            or chunk.unordered != first.unordered
            or (chunk.ssn != first.ssn and not first.unordered)
        ):
            raise _mixed_fragments(first, chunk)
        run.parts.append(chunk.data)
        run.size += len(chunk.data)
        run.end = tsn
        self._account(len(chunk.data), 1)
        if len(run.parts) >= MANY_FRAGMENTS:
            self._join_small_fragments(run)
        if self.max_message_size:
            self._check_size(run.size)
        if chunk.ending:
            self._finish(run, out)
            return
        if tsn + 1 in self._by_start:
            self._join_right(run, out)
            return
        self._by_end[tsn + 1] = run
        if self.partial_delivery_point and run.size >= self.partial_delivery_point:
            self._deliver_part(run, out)

    def _deliver_part(self, run: Run, out: list[Event]) -> None:
        """Deliver an incomplete message as far as it has arrived, if it is its turn."""
        first = run.first
        if not run.begins or not run.parts:
            return
        if not first.unordered:
            stream = self._streams.get(first.stream_id)
            if first.ssn != (0 if stream is None else stream.next_number & 0xFFFF):
                return
        self._account(-run.size, -len(run.parts))
        data = b"".join(run.parts)
        run.parts = deque()
        run.size = 0
        run.partly_delivered = True
        out.append(MessageReceived(first.stream_id, first.ppid, data, first.unordered, first.ssn, first.tsn, False))

    def _start_run(self, chunk: DataChunk, tsn: int, contiguous: bool, out: list[Event]) -> None:
        """Start a run with a fragment that does not directly follow one."""
        following = None if chunk.ending else self._by_start.get(tsn + 1)
        if contiguous and not chunk.beginning:
            # A FORWARD TSN skipped the fragments before this one, so the abandoned message can never be complete.
            if following is not None and not following.begins:
                self._discard(following)
            return
        run = Run(chunk, tsn)
        self._account(run.size, 1)
        self._file_by_start(run)
        if chunk.ending:
            # Its beginning is missing; a run to its left will find it by its start.
            return
        if following is not None:
            self._join_right(run, out)
        else:
            self._by_end[tsn + 1] = run

    def _join_right(self, run: Run, out: list[Event]) -> None:
        """Join a run with the run that begins at its end, unless that begins another message."""
        following = self._by_start[run.end + 1]
        if following.begins:
            # The sender abandoned the first message before its last fragment got a TSN; a FORWARD TSN will drop it.
            self._by_end[run.end + 1] = run
            return
        first, second = run.first, following.first
        if (
            second.stream_id != first.stream_id
            or second.unordered != first.unordered
            or (second.ssn != first.ssn and not first.unordered)
        ):
            raise _mixed_fragments(first, second)
        del self._by_start[run.end + 1]
        ended = self._by_end.pop(following.end + 1, None) is None
        if len(run.parts) >= len(following.parts):
            run.parts.extend(following.parts)
        else:
            following.parts.extendleft(reversed(run.parts))
            run.parts = following.parts
        run.size += following.size
        run.end = following.end
        self._check_size(run.size)
        if len(run.parts) >= MANY_FRAGMENTS:
            self._join_small_fragments(run)
        if ended:
            self._finish(run, out)
            return
        self._by_end[run.end + 1] = run
        if self.partial_delivery_point and run.size >= self.partial_delivery_point:
            self._deliver_part(run, out)

    def _finish(self, run: Run, out: list[Event]) -> None:
        """Deliver a run that has its last fragment, if it has its first too."""
        if not run.begins:
            return
        del self._by_start[run.start]
        self._account(-run.size, -len(run.parts))
        self._complete(run.first, b"".join(run.parts), out)

    def _complete(self, first: DataChunk, data: bytes, out: list[Event]) -> None:
        message = MessageReceived(first.stream_id, first.ppid, data, first.unordered, first.ssn, first.tsn)
        if first.unordered:
            out.append(message)
            return
        stream = self._streams.get(first.stream_id)
        if stream is None:
            stream = self._streams[first.stream_id] = OrderedStream()
        if first.ssn == stream.next_number & 0xFFFF:
            self._deliver_next(stream, message, out)
        else:
            # A TSN is accepted only once, so this SSN is ahead of the next one, by at most 2**16 - 1.
            self._store_waiting(stream, stream.next_number + (first.ssn - stream.next_number & 0xFFFF), message)

    def forward(self, new_cumulative_tsn: int, skipped: Sequence[tuple[int, bool, int]], out: list[Event]) -> None:
        """Drop the skipped messages and deliver the messages that waited for them; see `Reassembly.forward`."""
        # RFC 3758, 3.6: "The receiver MUST remove any partially reassembled message, which is still missing one or more
        # TSNs earlier than or equal to the new cumulative TSN point."
        starts = self._starts
        kept: Run | None = None
        while starts and starts[0] <= new_cumulative_tsn:
            run = self._by_start.get(heappop(starts))
            if run is None:
                continue
            if run.begins and run.end >= new_cumulative_tsn:
                # Runs do not overlap, so only one of them can include this TSN.
                kept = run
                continue
            self._discard(run)
            if run.partly_delivered:
                out.append(PartialDeliveryAborted(run.first.stream_id, run.first.ssn))
        if kept is not None:
            heappush(starts, kept.start)
        orphan = self._by_start.get(new_cumulative_tsn + 1)
        if orphan is not None and not orphan.begins:
            self._discard(orphan)
        for stream_id, _unordered, ssn in skipped:
            stream = self._streams.get(stream_id)
            if stream is None:
                stream = self._streams[stream_id] = OrderedStream()
            last_skipped = unwrap16(ssn, stream.next_number)
            if last_skipped >= stream.next_number:
                self._skip_to(stream, last_skipped, out)

    def _file_by_start(self, run: Run) -> None:
        self._by_start[run.start] = run
        heappush(self._starts, run.start)
        if len(self._starts) > 2 * len(self._by_start) + 64:
            self._starts = list(self._by_start)
            heapify(self._starts)

    def _join_small_fragments(self, run: Run) -> None:
        """Join the fragments of a run if they are small, so that their number costs no memory.

        Each byte is copied once per `MANY_FRAGMENTS` small fragments at most, because the result is one piece.
        """
        count = len(run.parts)
        if run.size < SMALL_FRAGMENT * count:
            run.parts = deque((b"".join(run.parts),))
            self._account(0, 1 - count)

    def _discard(self, run: Run) -> None:
        self._by_start.pop(run.start, None)
        self._by_end.pop(run.end + 1, None)
        self._account(-run.size, -len(run.parts))

    def reset_streams(self, stream_ids: Sequence[int] | None) -> None:
        """Restart these streams, or all if None, with SSN 0 (RFC 6525, section 5.2.2)."""
        for stream_id in list(self._streams) if stream_ids is None else stream_ids:
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                self._drop_waiting(stream)

    def uncounted(self, cumulative_tsn: int) -> tuple[int, int]:
        """Return the (bytes, pieces) of the message that is complete up to the cumulative TSN and continues behind it.

        If the receiver window counted them, a message longer than the window could never arrive. The maximum message
        size bounds them instead.
        """
        run = self._by_end.get(cumulative_tsn + 1)
        return (0, 0) if run is None or not run.begins else (run.size + OVERHEAD * len(run.parts), len(run.parts))

    def check_invariants(self) -> None:
        """Raise AssertionError if the counters are inconsistent; for tests."""
        held = sum(run.size + OVERHEAD * len(run.parts) for run in self._by_start.values())
        if not set(self._by_start) <= set(self._starts):
            raise AssertionError("a run could never be skipped")
        for stream in self._streams.values():
            check_waiting(stream)
            held += sum(len(message.data) + OVERHEAD for message in stream.waiting.values())
        if held != self.buffered:
            raise AssertionError(f"{self.buffered} bytes accounted, {held} held")
        for behind, run in self._by_end.items():
            if run.end + 1 != behind or self._by_start.get(run.start) is not run:
                raise AssertionError(f"run {run.start}-{run.end} is filed under {behind}")


def _mixed_fragments(first: DataChunk, second: DataChunk) -> PeerViolation:
    """Return the violation by two fragments with consecutive TSNs that belong to different messages.

    RFC 9260, 6.9: "The transmitter assigns the same Stream Sequence Number to each of the DATA chunks."
    """
    return PeerViolation(
        f"fragments of one message on stream {first.stream_id} with SSN {first.ssn} "
        f"and on stream {second.stream_id} with SSN {second.ssn}"
    )
