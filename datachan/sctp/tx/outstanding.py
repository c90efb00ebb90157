"""The chunks of all paths that were sent and are not cumulatively acknowledged, by TSN.

This module computes what a SACK changed and how far a FORWARD TSN may go; each path's `Flight` holds the chunks in
flight on that path. It knows no timers and no windows. The retransmission queue decides what to send.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final

from datachan.sctp.wire.chunks import (
    FLAG_BEGINNING,
    FLAG_ENDING,
    FLAG_IMMEDIATE,
    FLAG_UNORDERED,
    data_header,
)
from datachan.sctp.wire.extensions import i_data_header
from datachan.sctp.wire.layout import PADDING

from .flight import ABANDONED, ACKED, IN_FLIGHT, LOST, RENEGED, Flight, OutstandingChunk
from .send_queue import OutgoingMessage

MANY_BLOCKS: Final = 16
"""With this many Gap Ack Blocks, a TSN that a SACK no longer lists is not treated as reneged: the receiver may have had
no room for the blocks of higher TSNs. Browsers report at most 20."""

MAX_PLAUSIBLE_ADVANCE: Final = 1 << 30
"""A Cumulative TSN Ack further ahead of the next TSN is an old one from before an SSN/TSN reset, which moves TSNs by
2**31 (RFC 6525, section 5.2.4)."""

RENEGE_BUDGET: Final = 2 * 65535
"""Chunks that a peer may renege on before the association is aborted: twice the largest number outstanding. Every chunk
that it acknowledges cumulatively allows one more. RFC 9260, 6.2: "An endpoint SHOULD NOT revoke a SACK chunk and
discard data.  Only in extreme circumstances might an endpoint use this procedure"."""

_MASK: Final = 0xFFFFFFFF
_SSN_MASK: Final = 0xFFFF

Interval = tuple[int, int]


class AckInfo:
    """The effect of one SACK on all paths together; the effect on one path is in its `Flight`.

    Attributes:
        bytes_acked: chunk bytes acknowledged for the first time.
        cumulative_advanced: whether the Cumulative TSN Ack Point moved.
    """

    __slots__ = ("bytes_acked", "cumulative_advanced")

    def __init__(self) -> None:
        self.bytes_acked, self.cumulative_advanced = 0, False


class OutstandingData:
    """The chunks between the Cumulative TSN Ack Point and the next TSN.

    Attributes:
        interleaving: whether chunks are I-DATA (RFC 8260) instead of DATA.
        next_tsn: the TSN of the next new chunk.
        cumulative_tsn_ack: the TSN up to which the peer has received everything.
        advanced_peer_ack_point: the TSN up to which the peer need not wait for anything (RFC 3758, section 3.5).
        flight_payload: user bytes in flight.
        flights: one for each path.
        renege_budget: chunks on which the peer may still renege; negative once it has done so too often.
    """

    __slots__ = (
        "_acked",
        "_by_number",
        "_chunks",
        "_ended",
        "_flights_added",
        "_heir",
        "_latest",
        "_messages",
        "advanced_peer_ack_point",
        "cumulative_tsn_ack",
        "flight_payload",
        "flights",
        "interleaving",
        "next_tsn",
        "renege_budget",
    )

    def __init__(self, initial_tsn: int, interleaving: bool = False) -> None:
        self.interleaving = interleaving
        self.next_tsn = initial_tsn
        self.cumulative_tsn_ack = initial_tsn - 1
        self.advanced_peer_ack_point = initial_tsn - 1
        self.flight_payload = 0
        self.flights: list[Flight] = []
        self.renege_budget = RENEGE_BUDGET
        self._chunks: dict[int, OutstandingChunk] = {}
        self._by_number: dict[int, Flight] = {}
        self._flights_added = 0
        self._heir: Flight | None = None  # of all removed flights
        # The messages that have a chunk, by the number that SendQueue has given them. Those that have all their TSNs
        # wait in the order of their last one until it is acknowledged.
        self._messages: dict[int, OutgoingMessage] = {}
        self._ended: deque[OutgoingMessage] = deque()
        self._latest = -1  # the number of the message that the last chunk belongs to
        self._acked: list[Interval] = []  # the Gap Ack Blocks of the last SACK, as unwrapped TSNs

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def highest_tsn(self) -> int:
        """The highest TSN sent."""
        return self.next_tsn - 1

    @property
    def flight_size(self) -> int:
        """Chunk bytes in flight on all paths."""
        return sum([flight.size for flight in self.flights])

    def add_flight(self, flight: Flight) -> None:
        """Add the flight of another path."""
        flight.number = self._flights_added
        self._flights_added += 1
        self._by_number[flight.number] = flight
        self.flights.append(flight)

    def flight_of(self, chunk: OutstandingChunk) -> Flight:
        """Return the flight of a chunk; of a removed one, the flight that has taken its place."""
        flight = self._by_number.get(chunk.flight)
        if flight is None:
            flight = self._heir or self.flights[0]
            chunk.flight = flight.number
        return flight

    def message_of(self, chunk: OutstandingChunk) -> OutgoingMessage:
        """Return the message of an outstanding chunk."""
        return self._messages[chunk.message]

    def send_new(
        self, message: OutgoingMessage, fragment: bytes, immediate: bool, now: float, packet: int, flight: Flight
    ) -> OutstandingChunk:
        """Assign a TSN to a fragment just taken from `message`, and put the chunk in flight on a path.

        Args:
            message: the message; its `offset` is behind the fragment.
            fragment: the user bytes of the chunk.
            immediate: whether the chunk has the I bit.
            now: monotonic seconds.
            packet: the number of the packet the chunk goes into.
            flight: the flight of the path.

        Returns:
            The record of the chunk.
        """
        tsn = self.next_tsn
        self.next_tsn = tsn + 1
        payload = len(fragment)
        flags = FLAG_IMMEDIATE if immediate else 0
        if message.unordered:
            flags |= FLAG_UNORDERED
        if message.offset == payload:
            flags |= FLAG_BEGINNING
            message.first_tsn = tsn
        number = message.arrival
        if number != self._latest:
            self._messages[number] = message
            self._latest = number
        message.last_tsn = tsn
        if message.offset == message.size:
            flags |= FLAG_ENDING
            self._ended.append(message)
            self._latest = -1
        if self.interleaving:
            # RFC 8260, 2.1: "If the B bit is set, this field contains the PPID of the user message." "If the B bit is
            # not set, this field contains the FSN."
            ppid_or_fsn = message.ppid if flags & FLAG_BEGINNING else message.fsn - 1 & _MASK
            header = i_data_header(flags, tsn & _MASK, message.stream_id, message.ssn & _MASK, ppid_or_fsn, payload)
        else:
            header = data_header(flags, tsn & _MASK, message.stream_id, message.ssn & _SSN_MASK, message.ppid, payload)
        if payload & 3:
            fragment += PADDING[payload & 3]
        chunk = OutstandingChunk(tsn, number, header, fragment, payload, now, packet, flight.number)
        self._chunks[tsn] = chunk
        flight.add(chunk, now)
        self.flight_payload += payload
        return chunk

    def _remove_from_flight(self, chunk: OutstandingChunk) -> None:
        """Take a chunk out of flight."""
        self.flight_of(chunk).remove(chunk)
        self.flight_payload -= chunk.payload

    # -- retransmission ------------------------------------------------------------------------------------------------

    def retransmit(self, chunk: OutstandingChunk, now: float, packet: int) -> None:
        """Put the chunk that its flight's `next_lost` returned back in flight."""
        flight = self.flight_of(chunk)
        flight.pop_lost()
        chunk.state = IN_FLIGHT
        chunk.sent_at = now
        chunk.packet = packet
        chunk.transmissions += 1
        if chunk.tsn == self.next_tsn - 1:
            # A gap behind it has every other retransmission acknowledged at once. RFC 9260, 6.1: "Please note that why
            # the sender has set the I bit is irrelevant to the receiver."
            header = chunk.header
            chunk.header = b"%c%c%b" % (header[0], header[1] | FLAG_IMMEDIATE, header[2:])
        flight.add(chunk, now)
        self.flight_payload += chunk.payload

    def release(self) -> None:
        """Forget the chunks in flight at the end: they and their flights refer to one another."""
        for flight in self.flights:
            flight.chunks.clear()
            flight.newest = None

    def mark_all_lost(self, flight: Flight) -> list[OutgoingMessage]:
        """Mark all chunks in flight on a path as lost; return the messages whose retransmissions are used up."""
        exhausted: list[OutgoingMessage] = []
        for chunk in list(flight.chunks.values()):
            self._mark_lost(chunk, exhausted)
        return exhausted

    def mark_last_lost(self, flight: Flight) -> bool:
        """Mark the chunk of a path that was sent last as lost, for a tail loss probe; return whether that is possible.

        Outside of recovery this is the chunk with the highest TSN. In recovery that one may have arrived, while the
        retransmission of an earlier one is lost.
        """
        if not flight.chunks:
            return False
        chunk = next(reversed(flight.chunks.values()))
        limit = self.message_of(chunk).max_retransmissions
        if limit is not None and chunk.transmissions > limit:
            return False
        self._mark_lost(chunk, [])
        return True

    def detect_losses(
        self, flight: Flight, reordering_window: float, now: float, exhausted: list[OutgoingMessage]
    ) -> tuple[int, float]:
        """Mark the chunks of a path that RACK considers lost.

        Args:
            flight: the flight of the path.
            reordering_window: seconds.
            now: monotonic seconds.
            exhausted: receives the messages whose retransmissions are used up.

        Returns:
            The bytes newly lost, and the seconds until all suspected chunks count as lost; 0.0 when none is
            suspected.
        """
        lost, wait = flight.find_lost(reordering_window, now)
        total = 0
        for chunk in lost:
            total += chunk.length
            self._mark_lost(chunk, exhausted)
        return total, wait

    def _mark_lost(self, chunk: OutstandingChunk, exhausted: list[OutgoingMessage]) -> None:
        """Mark a chunk in flight as lost and queue it for retransmission."""
        chunk.state = LOST
        self._remove_from_flight(chunk)
        self.flight_of(chunk).queue_retransmission(chunk)
        message = self.message_of(chunk)
        if message.max_retransmissions is not None and chunk.transmissions > message.max_retransmissions:
            exhausted.append(message)

    def remove_flight(self, flight: Flight, heir: Flight) -> None:
        """Remove a path's flight, which has neither chunks in flight nor lost ones.

        Its acknowledged chunks stay as they are. To visit all chunks would cost a peer that deletes an address nothing.

        Args:
            flight: the flight to remove.
            heir: the flight that chunks of removed flights join when the peer reneges on them.
        """
        del self._by_number[flight.number]
        self._heir = heir
        self.flights.remove(flight)

    # -- acknowledgment ------------------------------------------------------------------------------------------------

    def acknowledges_unsent(self, cumulative_tsn_ack: int, gaps: list[Interval]) -> bool:
        """Return whether a SACK that is not older than the last one acknowledges a TSN that was never sent."""
        if cumulative_tsn_ack < self.cumulative_tsn_ack or cumulative_tsn_ack - self.next_tsn > MAX_PLAUSIBLE_ADVANCE:
            return False
        return cumulative_tsn_ack >= self.next_tsn or any(cumulative_tsn_ack + end >= self.next_tsn for _, end in gaps)

    def is_valid_sack(self, cumulative_tsn_ack: int, gaps: list[Interval]) -> bool:
        """Return whether a SACK lists only TSNs that were sent, in ascending Gap Ack Blocks that do not overlap."""
        if cumulative_tsn_ack >= self.next_tsn:
            return False
        previous = 0
        for start, end in gaps:
            if start <= previous or end < start:
                return False
            previous = end
        return cumulative_tsn_ack + previous < self.next_tsn

    def acknowledge(self, cumulative_tsn_ack: int, gaps: list[Interval] | None, now: float) -> AckInfo:
        """Apply a SACK that `is_valid_sack` accepted and that is not older than the last one.

        Args:
            cumulative_tsn_ack: unwrapped.
            gaps: its Gap Ack Blocks, offsets as on the wire; None to keep those of the last SACK.
            now: monotonic seconds.

        Returns:
            The effect on all paths together.
        """
        info = AckInfo()
        for flight in self.flights:
            flight.start_sack()
        if cumulative_tsn_ack > self.cumulative_tsn_ack:
            info.cumulative_advanced = True
            self._advance(cumulative_tsn_ack, now)
        if gaps is None and self._acked and self._acked[-1][1] <= cumulative_tsn_ack:
            gaps = []
        if gaps is not None and (gaps or self._acked):
            self._acknowledge_gaps(gaps, now)
        for flight in self.flights:
            info.bytes_acked += flight.bytes_acked
            flight.finish_sack(now)
        return info

    def _advance(self, cumulative_tsn_ack: int, now: float) -> None:
        """Remove the chunks that the Cumulative TSN Ack covers, a run of the same path at a time: the hot path."""
        chunks = self._chunks
        flight = self.flights[0]
        in_flight = flight.chunks
        length = payload = acked = 0
        newest: OutstandingChunk | None = None
        in_order = flight.rack.fack <= self.cumulative_tsn_ack
        for tsn in range(self.cumulative_tsn_ack + 1, cumulative_tsn_ack + 1):
            chunk = chunks.pop(tsn, None)
            if chunk is None:
                continue
            if chunk.flight != flight.number:
                self._account_for_run(flight, length, acked, newest, now)
                length = acked = 0
                newest = None
                flight = self.flight_of(chunk)
                in_flight = flight.chunks
                in_order = flight.rack.fack <= self.cumulative_tsn_ack
            if chunk.state == IN_FLIGHT:
                del in_flight[tsn]
                length += chunk.length
                payload += chunk.payload
            elif chunk.state == LOST:
                chunk.state = ACKED
                acked += chunk.length
            else:
                continue
            if chunk.packet == RENEGED:
                acked -= chunk.length
            elif in_order and chunk.transmissions == 1:
                newest = chunk
            else:
                flight.record_delivered(chunk, now)
        self._account_for_run(flight, length, acked, newest, now)
        self.flight_payload -= payload
        self.renege_budget = min(self.renege_budget + cumulative_tsn_ack - self.cumulative_tsn_ack, RENEGE_BUDGET)
        self.cumulative_tsn_ack = cumulative_tsn_ack
        self.advanced_peer_ack_point = max(self.advanced_peer_ack_point, cumulative_tsn_ack)
        while self._ended and self._ended[0].last_tsn <= cumulative_tsn_ack:
            self._messages.pop(self._ended.popleft().arrival, None)

    def _account_for_run(
        self, flight: Flight, length: int, acked: int, newest: OutstandingChunk | None, now: float
    ) -> None:
        """Account for one run of chunks of a path that were acknowledged cumulatively.

        Args:
            flight: the flight of the path.
            length: bytes of the run that were in flight.
            acked: bytes of the run that were marked as lost, less those that had been acknowledged before a renege.
            newest: the last chunk of the run, if all of it was sent once and acknowledged in order.
            now: monotonic seconds.
        """
        flight.size -= length
        if length or acked:
            # A chunk acknowledged before a renege counts as -length in `acked`, which cancels it in `length`.
            flight.bytes_acked += length + acked
            flight.progress = True
        if newest is not None:
            # All were sent once and acknowledged in order, so the last one determines RACK's state.
            flight.record_delivered(newest, now)

    def _acknowledge_gaps(self, gaps: list[Interval], now: float) -> None:
        """Apply the Gap Ack Blocks of a SACK: newly acknowledged chunks, and chunks no longer listed."""
        base = self.cumulative_tsn_ack
        acked = [(base + start, base + end) for start, end in gaps]
        previous = self._acked
        kept: list[Interval] = []
        if len(gaps) >= MANY_BLOCKS:
            # RFC 9260, 6.7: a SACK reports what fits "and leave the remaining highest TSN numbers unacknowledged."
            previous, kept = split(previous, acked[-1][1])
        self._mark_acked(subtract(acked, previous), now)
        for start, end in subtract(previous, acked):
            for tsn in range(max(start, base + 1), end + 1):
                self._renege(tsn, now)
        self._acked = acked + kept
        if not self._acked:
            for flight in self.flights:
                flight.packets_sacked = 0

    def _mark_acked(self, intervals: list[Interval], now: float) -> None:
        """Mark the chunks in these intervals of TSNs as acknowledged by Gap Ack Blocks.

        One SACK may acknowledge all that is outstanding, so a chunk costs few lines. Of a run of chunks that were sent
        once and arrived in order, the last one determines RACK's state.
        """
        packet = -1
        newest: OutstandingChunk | None = None
        flight = self.flights[0]
        for start, end in intervals:
            for tsn in range(start, end + 1):
                chunk = self._chunks.get(tsn)
                if chunk is None or chunk.state == ACKED or chunk.state == ABANDONED:
                    continue
                if chunk.flight != flight.number:
                    _record_last(flight, newest, now)
                    newest = None
                    flight = self.flight_of(chunk)
                if chunk.state == IN_FLIGHT:
                    if not flight.progress:
                        flight.progress = next(iter(flight.chunks)) == tsn
                    del flight.chunks[tsn]
                    flight.size -= chunk.length
                    self.flight_payload -= chunk.payload
                chunk.state = ACKED
                if chunk.packet == RENEGED:
                    continue
                flight.bytes_acked += chunk.length
                if chunk.packet != packet:
                    packet = chunk.packet
                    flight.packets_sacked += 1
                if chunk.transmissions == 1 and tsn > flight.rack.fack:
                    newest = chunk
                    continue
                _record_last(flight, newest, now)
                newest = None
                flight.record_delivered(chunk, now)
        _record_last(flight, newest, now)

    def _renege(self, tsn: int, now: float) -> None:
        """Put a chunk back in flight that the peer acknowledged and no longer lists (RFC 9260, 6.2.1, D iii).

        A later acknowledgment of the chunk then shows that the peer had it all the time, and says nothing about the
        path.
        """
        chunk = self._chunks.get(tsn)
        if chunk is not None and chunk.state == ACKED:
            self.renege_budget -= 1
            chunk.state = IN_FLIGHT
            chunk.sent_at = now
            chunk.packet = RENEGED
            self.flight_of(chunk).add(chunk, now)
            self.flight_payload += chunk.payload

    # -- partial reliability (RFC 3758) --------------------------------------------------------------------------------

    def abandon(self, message: OutgoingMessage) -> None:
        """Treat all chunks of a message "as being finally acked and no longer outstanding" (RFC 3758, 3.5, A2).

        A message that was not sent to its end gets one more TSN, which is never sent. A FORWARD TSN that covers this
        TSN tells the receiver to drop its fragments. The unused TSN also separates the next message from a fragment
        that is not the last of its message; receivers of DATA treat such a sequence as a protocol violation.
        """
        message.abandoned = True
        if message.first_tsn < 0:
            return
        if message.remaining:
            placeholder = OutstandingChunk(self.next_tsn, message.arrival, b"", b"", 0, 0.0, -1, self.flights[0].number)
            placeholder.state = ABANDONED
            self._chunks[self.next_tsn] = placeholder
            message.last_tsn = self.next_tsn
            self._ended.append(message)
            self._latest = -1
            self.next_tsn += 1
        for tsn in range(max(message.first_tsn, self.cumulative_tsn_ack + 1), message.last_tsn + 1):
            chunk = self._chunks.get(tsn)
            if chunk is None or chunk.message != message.arrival:
                continue
            if chunk.state == IN_FLIGHT:
                self._remove_from_flight(chunk)
            chunk.state = ABANDONED
        self.advance_peer_ack_point()

    def advance_peer_ack_point(self) -> None:
        """Advance "as long as the chunk next in the out-queue space is marked as "abandoned"" (RFC 3758, 3.5, C2)."""
        tsn = self.advanced_peer_ack_point + 1
        chunk = self._chunks.get(tsn)
        while chunk is not None and chunk.state == ABANDONED:
            tsn += 1
            chunk = self._chunks.get(tsn)
        self.advanced_peer_ack_point = tsn - 1

    def forward_tsn(self, max_streams: int) -> tuple[int, list[tuple[int, bool, int]]]:
        """Compute the content of a FORWARD TSN (RFC 3758, 3.5, C4).

        Args:
            max_streams: the number of streams the chunk has room for.

        Returns:
            The New Cumulative TSN, and (stream id, unordered, number) of the last message abandoned on each stream.
            With DATA the number is the 16-bit SSN, and unordered messages are not listed; with I-DATA it is the MID.
        """
        skipped: dict[tuple[int, bool], int] = {}
        last = self.cumulative_tsn_ack
        for tsn in range(self.cumulative_tsn_ack + 1, self.advanced_peer_ack_point + 1):
            message = self.message_of(self._chunks[tsn])
            if self.interleaving or not message.unordered:
                key = (message.stream_id, message.unordered)
                if key not in skipped and len(skipped) == max_streams:
                    break
                skipped[key] = max(skipped.get(key, -1), message.ssn)
            last = tsn
        mask = _MASK if self.interleaving else _SSN_MASK
        return last, [(stream_id, unordered, number & mask) for (stream_id, unordered), number in skipped.items()]

    def unacknowledged_messages(self) -> list[OutgoingMessage]:
        """Return the messages with a chunk that is not cumulatively acknowledged, each once, in order.

        A chunk that only a Gap Ack Block acknowledges waits at the peer for a missing chunk: its message was not
        delivered.
        """
        seen = dict.fromkeys(chunk.message for chunk in self._chunks.values() if chunk.state != ABANDONED)
        return [self._messages[number] for number in seen]

    def lowest_outstanding_tsn(self) -> int:
        """Return the first TSN not cumulatively acknowledged."""
        return self.cumulative_tsn_ack + 1

    def check_invariants(self) -> None:
        """Raise AssertionError if the counters are inconsistent; for tests."""
        payload = 0
        for flight in self.flights:
            here = {tsn: chunk for tsn, chunk in self._chunks.items() if self.flight_of(chunk) is flight}
            in_flight = {tsn for tsn, chunk in here.items() if chunk.state == IN_FLIGHT}
            flight.check_invariants(in_flight, {tsn for tsn, chunk in here.items() if chunk.state == LOST})
            payload += sum(here[tsn].payload for tsn in in_flight)
        if payload != self.flight_payload:
            raise AssertionError(f"flight payload {self.flight_payload}, found {payload}")
        if list(self._chunks) != list(range(self.cumulative_tsn_ack + 1, self.next_tsn)):
            raise AssertionError("the outstanding TSNs are not consecutive")
        if not {chunk.message for chunk in self._chunks.values()} <= set(self._messages):
            raise AssertionError("the message of a chunk is not known")
        if not {message.arrival for message in self._ended} <= set(self._messages):
            raise AssertionError("a message that has ended is not known")
        if any(message.last_tsn <= self.cumulative_tsn_ack for message in self._ended):
            raise AssertionError("a message is kept although all of it is acknowledged")


def _record_last(flight: Flight, chunk: OutstandingChunk | None, now: float) -> None:
    """Record the delivery of the last chunk of a run of one path, if there is a run."""
    if chunk is not None:
        flight.record_delivered(chunk, now)


def split(intervals: list[Interval], highest: int) -> tuple[list[Interval], list[Interval]]:
    """Return the parts of ascending, disjoint intervals up to `highest` and above it."""
    count = bisect_right(intervals, (highest, highest))
    lower, upper = intervals[:count], intervals[count:]
    if upper and upper[0][0] == highest:
        lower.append(upper.pop(0))
    if lower and lower[-1][1] > highest:
        start, end = lower[-1]
        lower[-1] = (start, highest)
        upper.insert(0, (highest + 1, end))
    return lower, upper


def subtract(minuend: list[Interval], subtrahend: list[Interval]) -> list[Interval]:
    """Return the parts of ascending, disjoint intervals that no interval of the other list covers.

    Args:
        minuend: ascending, disjoint intervals.
        subtrahend: ascending, disjoint intervals to remove from them.

    Returns:
        Ascending, disjoint intervals.
    """
    if not subtrahend:
        return minuend
    result: list[Interval] = []
    i = 0
    for start, end in minuend:
        while i < len(subtrahend) and subtrahend[i][1] < start:
            i += 1
        j = i
        while start <= end and j < len(subtrahend) and subtrahend[j][0] <= end:
            if subtrahend[j][0] > start:
                result.append((start, subtrahend[j][0] - 1))
            start = subtrahend[j][1] + 1
            j += 1
        if start <= end:
            result.append((start, end))
    return result
