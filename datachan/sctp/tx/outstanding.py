"""What was sent and is not yet cumulatively acknowledged, by TSN, whatever path it went. It knows no timers or windows.

It answers what a SACK changed and how far a FORWARD TSN may go; each path's `Flight` has what of it is in flight there.
What to do about it is the retransmission queue's decision.
"""

from __future__ import annotations

import struct
from typing import Final

from .flight import ABANDONED, ACKED, IN_FLIGHT, LOST, TAKEN_BACK, Flight, OutstandingChunk
from .send_queue import OutgoingMessage

MANY_BLOCKS: Final = 16
"""Gap Ack Blocks of a SACK, from which on what it does not speak of any more is not taken for dropped: the receiver may
have had no room for the blocks of higher TSNs. Browsers report no more than 20."""

_MASK: Final = 0xFFFFFFFF
_DATA_HEADER: Final = struct.Struct("!BBHIHHI")
_I_DATA_HEADER: Final = struct.Struct("!BBHIHHII")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")

Interval = tuple[int, int]


class AckInfo:
    """What one SACK said, all paths together; each path's part is in its `Flight`.

    Attributes:
        bytes_acked: chunk bytes acknowledged for the first time.
        cumulative_advanced: whether the Cumulative TSN Ack Point moved.
    """

    __slots__ = ("bytes_acked", "cumulative_advanced")

    def __init__(self) -> None:
        self.bytes_acked = 0
        self.cumulative_advanced = False


class OutstandingData:
    """The chunks between the Cumulative TSN Ack Point and the next TSN.

    Attributes:
        interleaving: chunks are I-DATA (RFC 8260) instead of DATA.
        next_tsn: the TSN the next new chunk gets.
        cumulative_tsn_ack: the peer has everything up to here.
        advanced_peer_ack_point: what the peer may take as received (RFC 3758, section 3.5).
        flight_payload: user bytes in flight.
        flights: one for each path.
    """

    __slots__ = (
        "_acked",
        "_chunks",
        "advanced_peer_ack_point",
        "cumulative_tsn_ack",
        "flight_payload",
        "flights",
        "interleaving",
        "next_tsn",
    )

    def __init__(self, initial_tsn: int, interleaving: bool = False) -> None:
        self.interleaving = interleaving
        self.next_tsn = initial_tsn
        self.cumulative_tsn_ack = initial_tsn - 1
        self.advanced_peer_ack_point = initial_tsn - 1
        self.flight_payload = 0
        self.flights: list[Flight] = []
        self._chunks: dict[int, OutstandingChunk] = {}
        self._acked: list[Interval] = []  # as the last SACK had its Gap Ack Blocks

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

    def send_new(
        self, message: OutgoingMessage, fragment: bytes, immediate: bool, now: float, packet: int, flight: Flight
    ) -> OutstandingChunk:
        """Give a fragment just taken from `message` its TSN and put it in flight on a path."""
        tsn = self.next_tsn
        self.next_tsn = tsn + 1
        payload = len(fragment)
        flags = 8 if immediate else 0
        if message.unordered:
            flags |= 4
        if message.offset == payload:
            flags |= 2
            message.first_tsn = tsn
        if message.offset == message.size:
            flags |= 1
        message.last_tsn = tsn
        if self.interleaving:
            # RFC 8260, 2.1: "If the B bit is set, this field contains the PPID of the user message." "If the B bit is
            # not set, this field contains the FSN."
            last = message.ppid if flags & 2 else message.fsn - 1 & _MASK
            header = _I_DATA_HEADER.pack(
                64, flags, 20 + payload, tsn & _MASK, message.stream_id, 0, message.ssn & _MASK, last
            )
        else:
            header = _DATA_HEADER.pack(
                0, flags, 16 + payload, tsn & _MASK, message.stream_id, message.ssn & 0xFFFF, message.ppid
            )
        wire = header + fragment + _PADDING[payload & 3] if payload & 3 else header + fragment
        chunk = OutstandingChunk(tsn, message, wire, payload, now, packet, flight)
        self._chunks[tsn] = chunk
        flight.depart(chunk, now)
        self.flight_payload += payload
        return chunk

    def _land(self, chunk: OutstandingChunk) -> None:
        """The chunk is in flight no more."""
        chunk.flight.land(chunk)
        self.flight_payload -= chunk.payload

    # -- retransmission ---------------------------------------------------------------------------------------

    def resend(self, chunk: OutstandingChunk, now: float, packet: int) -> None:
        """Put back in flight the chunk that its flight's `next_lost` returned."""
        flight = chunk.flight
        flight.take_lost()
        chunk.state = IN_FLIGHT
        chunk.sent_at = now
        chunk.packet = packet
        chunk.transmissions += 1
        flight.depart(chunk, now)
        self.flight_payload += chunk.payload

    def lose_all(self, flight: Flight) -> list[OutgoingMessage]:
        """Mark all that is in flight on a path as lost; returns messages that have used up their retransmissions."""
        exhausted: list[OutgoingMessage] = []
        for chunk in list(flight.chunks.values()):
            self._lose(chunk, exhausted)
        return exhausted

    def lose_last(self, flight: Flight) -> bool:
        """Have the chunk with the highest TSN sent again, as a tail loss probe; False when it may not be."""
        chunk = flight.chunks.get(self.highest_tsn)
        if chunk is None:
            return False
        limit = chunk.message.max_retransmissions
        if limit is not None and chunk.transmissions > limit:
            return False
        self._lose(chunk, [])
        return True

    def detect_losses(
        self, flight: Flight, reordering_window: float, now: float, exhausted: list[OutgoingMessage]
    ) -> tuple[int, float]:
        """Have sent again what RACK takes as lost on a path.

        Args:
            flight: that of the path.
            reordering_window: seconds.
            now: monotonic seconds.
            exhausted: receives messages lost more often than they may be sent again.

        Returns:
            Bytes newly lost, and seconds until the rest would be, 0.0 when nothing more is suspected.
        """
        lost, wait = flight.overdue(reordering_window, now)
        total = 0
        for chunk in lost:
            total += chunk.length
            self._lose(chunk, exhausted)
        return total, wait

    def _lose(self, chunk: OutstandingChunk, exhausted: list[OutgoingMessage]) -> None:
        chunk.state = LOST
        self._land(chunk)
        chunk.flight.await_sending(chunk)
        limit = chunk.message.max_retransmissions
        if limit is not None and chunk.transmissions > limit:
            exhausted.append(chunk.message)

    def disown(self, flight: Flight, heir: Flight) -> None:
        """A path is no more: what was sent there, and is not in flight any longer, counts as sent on another one."""
        for chunk in self._chunks.values():
            if chunk.flight is flight:
                chunk.flight = heir
        self.flights.remove(flight)

    # -- acknowledgment --------------------------------------------------------------------------------------

    def never_sent(self, cumulative_tsn_ack: int, gaps: list[Interval]) -> bool:
        """Whether a SACK that is not older than the last one acknowledges a TSN that was not sent."""
        # Half the number space away it is a late one from before an SSN/TSN reset, which moves TSNs by 2**31.
        if cumulative_tsn_ack < self.cumulative_tsn_ack or cumulative_tsn_ack - self.next_tsn > 1 << 30:
            return False
        return cumulative_tsn_ack >= self.next_tsn or any(cumulative_tsn_ack + end >= self.next_tsn for _, end in gaps)

    def valid(self, cumulative_tsn_ack: int, gaps: list[Interval]) -> bool:
        """Whether a SACK speaks only of TSNs that were sent, its Gap Ack Blocks ascending and apart."""
        if cumulative_tsn_ack >= self.next_tsn:
            return False
        previous = 0
        for start, end in gaps:
            if start <= previous or end < start:
                return False
            previous = end
        return cumulative_tsn_ack + previous < self.next_tsn

    def gaps_above(self, cumulative_tsn_ack: int) -> list[Interval]:
        """The Gap Ack Blocks of the last SACK, as offsets from a later Cumulative TSN Ack."""
        base = cumulative_tsn_ack
        return [(max(start - base, 1), end - base) for start, end in self._acked if end > base]

    def acknowledge(self, cumulative_tsn_ack: int, gaps: list[Interval], now: float) -> AckInfo:
        """Take in a SACK for which `valid` said True and that is not older than the last one.

        Args:
            cumulative_tsn_ack: unwrapped.
            gaps: its Gap Ack Blocks, offsets as on the wire.
            now: monotonic seconds.
        """
        info = AckInfo()
        for flight in self.flights:
            flight.begin_sack()
        if cumulative_tsn_ack > self.cumulative_tsn_ack:
            info.cumulative_advanced = True
            self._advance(cumulative_tsn_ack, now)
        if gaps or self._acked:
            self._acknowledge_gaps(gaps, now)
        for flight in self.flights:
            info.bytes_acked += flight.bytes_acked
            flight.end_sack(now)
        return info

    def _advance(self, cumulative_tsn_ack: int, now: float) -> None:
        """The hot path: remove what the Cumulative TSN Ack covers, each run of chunks from its path's flight."""
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
            if chunk.flight is not flight:
                self._advanced(flight, length, acked, newest, now)
                length = acked = 0
                newest = None
                flight = chunk.flight
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
            if chunk.packet == TAKEN_BACK:
                acked -= chunk.length
            elif in_order and chunk.transmissions == 1:
                newest = chunk
            else:
                flight.delivered(chunk, now)
        self._advanced(flight, length, acked, newest, now)
        self.flight_payload -= payload
        self.cumulative_tsn_ack = cumulative_tsn_ack
        if self.advanced_peer_ack_point < cumulative_tsn_ack:
            self.advanced_peer_ack_point = cumulative_tsn_ack

    def _advanced(self, flight: Flight, length: int, acked: int, newest: OutstandingChunk | None, now: float) -> None:
        """So many bytes in flight on a path, and so many that were taken as lost, were acknowledged cumulatively."""
        flight.size -= length
        if length or acked:
            # What was acknowledged before, and taken back since, counts for -length in `acked`.
            flight.bytes_acked += length + acked
            flight.progress = True
        if newest is not None:
            # Sent once each and acknowledged in order: the last one says it all.
            flight.delivered(newest, now)

    def _acknowledge_gaps(self, gaps: list[Interval], now: float) -> None:
        base = self.cumulative_tsn_ack
        acked = [(base + start, base + end) for start, end in gaps]
        if len(gaps) >= MANY_BLOCKS:
            # RFC 9260, 6.7: a SACK reports what fits "and leave the remaining highest TSN numbers unacknowledged."
            highest = acked[-1][1]
            acked += [(max(start, highest + 1), end) for start, end in self._acked if end > highest]
        self._mark_acked(subtract(acked, self._acked), now)
        for start, end in subtract(self._acked, acked):
            for tsn in range(max(start, base + 1), end + 1):
                self._renege(tsn, now)
        self._acked = acked
        if not acked:
            for flight in self.flights:
                flight.packets_sacked = 0

    def _mark_acked(self, intervals: list[Interval], now: float) -> None:
        packet = -1
        for start, end in intervals:
            for tsn in range(start, end + 1):
                chunk = self._chunks.get(tsn)
                if chunk is None or chunk.state == ACKED or chunk.state == ABANDONED:
                    continue
                flight = chunk.flight
                if chunk.state == IN_FLIGHT:
                    if not flight.progress:
                        flight.progress = next(iter(flight.chunks)) == tsn
                    self._land(chunk)
                chunk.state = ACKED
                if chunk.packet == TAKEN_BACK:
                    continue
                flight.bytes_acked += chunk.length
                if chunk.packet != packet:
                    packet = chunk.packet
                    flight.packets_sacked += 1
                flight.delivered(chunk, now)

    def _renege(self, tsn: int, now: float) -> None:
        """RFC 9260, 6.2.1, D iii: the peer dropped what it had acknowledged: it is outstanding again.

        If it acknowledges it once more, it had it all the time, which says nothing of the path.
        """
        chunk = self._chunks.get(tsn)
        if chunk is not None and chunk.state == ACKED:
            chunk.state = IN_FLIGHT
            chunk.sent_at = now
            chunk.packet = TAKEN_BACK
            chunk.flight.depart(chunk, now)
            self.flight_payload += chunk.payload

    # -- partial reliability (RFC 3758) -----------------------------------------------------------------------

    def abandon(self, message: OutgoingMessage) -> None:
        """Treat all chunks of a message "as being finally acked and no longer outstanding" (RFC 3758, 3.5, A2).

        A message of which not every fragment was sent gets one more TSN, never sent: a FORWARD TSN that covers it tells
        the receiver to drop what it has, and keeps the next message from following directly on a fragment that is not
        the last, which with DATA receivers take for a violation.
        """
        message.abandoned = True
        if message.first_tsn < 0:
            return
        if message.remaining:
            placeholder = OutstandingChunk(self.next_tsn, message, b"", 0, 0.0, -1, self.flights[0])
            placeholder.state = ABANDONED
            self._chunks[self.next_tsn] = placeholder
            message.last_tsn = self.next_tsn
            self.next_tsn += 1
        for tsn in range(max(message.first_tsn, self.cumulative_tsn_ack + 1), message.last_tsn + 1):
            chunk = self._chunks.get(tsn)
            if chunk is None or chunk.message is not message:
                continue
            if chunk.state == IN_FLIGHT:
                self._land(chunk)
            chunk.state = ABANDONED
        self.advance_peer_ack_point()

    def advance_peer_ack_point(self) -> None:
        """RFC 3758, 3.5, C2: move on "as long as the chunk next in the out-queue space is marked as "abandoned""."""
        tsn = self.advanced_peer_ack_point + 1
        chunk = self._chunks.get(tsn)
        while chunk is not None and chunk.state == ABANDONED:
            tsn += 1
            chunk = self._chunks.get(tsn)
        self.advanced_peer_ack_point = tsn - 1

    def forward_tsn(self, max_streams: int) -> tuple[int, list[tuple[int, bool, int]]]:
        """What a FORWARD TSN says (C4).

        Args:
            max_streams: it has room for so many of them.

        Returns:
            The New Cumulative TSN, and (stream id, unordered, number) of the last message given up of each stream. With
            DATA the number is the 16-bit SSN and unordered messages are not listed; with I-DATA it is the MID.
        """
        skipped: dict[tuple[int, bool], int] = {}
        last = self.cumulative_tsn_ack
        for tsn in range(self.cumulative_tsn_ack + 1, self.advanced_peer_ack_point + 1):
            message = self._chunks[tsn].message
            if self.interleaving or not message.unordered:
                key = (message.stream_id, message.unordered)
                if key not in skipped and len(skipped) == max_streams:
                    break
                skipped[key] = max(skipped.get(key, -1), message.ssn)
            last = tsn
        mask = _MASK if self.interleaving else 0xFFFF
        return last, [(stream_id, unordered, number & mask) for (stream_id, unordered), number in skipped.items()]

    def unacknowledged_messages(self) -> list[OutgoingMessage]:
        """The messages of which a chunk is not cumulatively acknowledged, each once, in order.

        What only a Gap Ack Block acknowledged waits at the peer for what is missing, and was never delivered.
        """
        seen: dict[int, OutgoingMessage] = {}
        for chunk in self._chunks.values():
            if chunk.state != ABANDONED:
                seen.setdefault(id(chunk.message), chunk.message)
        return list(seen.values())

    def lowest_outstanding_tsn(self) -> int:
        """The first TSN not cumulatively acknowledged."""
        return self.cumulative_tsn_ack + 1

    def check_invariants(self) -> None:
        """For tests: raise AssertionError when the books do not balance."""
        payload = 0
        for flight in self.flights:
            here = {tsn: chunk for tsn, chunk in self._chunks.items() if chunk.flight is flight}
            in_flight = {tsn for tsn, chunk in here.items() if chunk.state == IN_FLIGHT}
            flight.check_invariants(in_flight, {tsn for tsn, chunk in here.items() if chunk.state == LOST})
            payload += sum(here[tsn].payload for tsn in in_flight)
        if payload != self.flight_payload:
            raise AssertionError(f"flight payload {self.flight_payload}, found {payload}")
        if list(self._chunks) != list(range(self.cumulative_tsn_ack + 1, self.next_tsn)):
            raise AssertionError("the outstanding TSNs are not consecutive")


def subtract(minuend: list[Interval], subtrahend: list[Interval]) -> list[Interval]:
    """The parts of ascending, disjoint intervals that no interval of the other such list covers."""
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
