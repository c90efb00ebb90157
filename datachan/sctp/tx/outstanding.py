"""What was sent and is not yet cumulatively acknowledged, by TSN. It knows chunks, not timers, windows or paths.

It answers what a SACK changed, which chunks are lost, and how far a FORWARD TSN may go. What to do about it is the
retransmission queue's decision.
"""

from __future__ import annotations

import struct
from heapq import heappop, heappush
from typing import Final

from .delivery_rate import DeliveryRate
from .rack import Rack
from .send_queue import OutgoingMessage

IN_FLIGHT: Final = 0
ACKED: Final = 1
LOST: Final = 2
ABANDONED: Final = 3

_MASK: Final = 0xFFFFFFFF
_DATA_HEADER: Final = struct.Struct("!BBHIHHI")
_I_DATA_HEADER: Final = struct.Struct("!BBHIHHII")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")

Interval = tuple[int, int]


class OutstandingChunk:
    """The retransmission record of one DATA chunk; the bytes on the wire are made once.

    Attributes:
        tsn: unwrapped.
        message: the message it is a fragment of.
        wire: the serialized chunk, padded.
        length: len(wire), which counts against cwnd.
        payload: its user bytes, which count against the peer's window.
        state: IN_FLIGHT, ACKED (by a Gap Ack Block), LOST (to be sent again) or ABANDONED.
        sent_at: when it was last sent.
        packet: the number of the packet it was last sent in.
        transmissions: how often it was sent.
        delivered, delivered_at, first_sent_at: the sender's delivery accounting when it was last sent.
    """

    __slots__ = (
        "delivered",
        "delivered_at",
        "first_sent_at",
        "length",
        "message",
        "packet",
        "payload",
        "sent_at",
        "state",
        "transmissions",
        "tsn",
        "wire",
    )

    def __init__(self, tsn: int, message: OutgoingMessage, wire: bytes, payload: int, now: float, packet: int) -> None:
        self.tsn = tsn
        self.message = message
        self.wire = wire
        self.length = len(wire)
        self.payload = payload
        self.state = IN_FLIGHT
        self.sent_at = now
        self.packet = packet
        self.transmissions = 1
        self.delivered = 0
        self.delivered_at = 0.0
        self.first_sent_at = 0.0


class AckInfo:
    """What one SACK said.

    Attributes:
        bytes_acked: chunk bytes acknowledged for the first time.
        cumulative_advanced: whether the Cumulative TSN Ack Point moved.
        bytes_lost: chunk bytes newly found lost.
        round_trip: seconds since the newest chunk acknowledged here for the first time, never retransmitted, was
            sent; None without one.
        newest: the most recently sent chunk acknowledged here for the first time.
    """

    __slots__ = ("bytes_acked", "bytes_lost", "cumulative_advanced", "newest", "round_trip")

    def __init__(self) -> None:
        self.bytes_acked = 0
        self.cumulative_advanced = False
        self.bytes_lost = 0
        self.round_trip: float | None = None
        self.newest: OutstandingChunk | None = None


class OutstandingData:
    """The chunks between the Cumulative TSN Ack Point and the next TSN.

    Attributes:
        interleaving: chunks are I-DATA (RFC 8260) instead of DATA.
        next_tsn: the TSN the next new chunk gets.
        cumulative_tsn_ack: the peer has everything up to here.
        advanced_peer_ack_point: what the peer may take as received (RFC 3758, section 3.5).
        flight_size: chunk bytes in flight.
        flight_payload: user bytes in flight.
        rack: the loss detector.
        rate: the delivery accounting.
        packets_sacked: packets of which a chunk is acknowledged by a Gap Ack Block, since there were none.
    """

    __slots__ = (
        "_acked",
        "_chunks",
        "_flight",
        "_lost",
        "_measured_at",
        "advanced_peer_ack_point",
        "cumulative_tsn_ack",
        "flight_payload",
        "flight_size",
        "interleaving",
        "next_tsn",
        "packets_sacked",
        "rack",
        "rate",
    )

    def __init__(self, initial_tsn: int, interleaving: bool = False) -> None:
        self.interleaving = interleaving
        self.next_tsn = initial_tsn
        self.cumulative_tsn_ack = initial_tsn - 1
        self.advanced_peer_ack_point = initial_tsn - 1
        self.flight_size = 0
        self.flight_payload = 0
        self.rack = Rack(initial_tsn)
        self.rate = DeliveryRate()
        self.packets_sacked = 0
        self._chunks: dict[int, OutstandingChunk] = {}
        self._flight: dict[int, OutstandingChunk] = {}  # those in flight, in the order they were sent
        self._acked: list[Interval] = []  # as the last SACK had its Gap Ack Blocks
        self._lost: list[int] = []  # heap of TSNs; may hold some that are no longer lost
        self._measured_at = float("-inf")  # when the last round trip was measured

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def highest_tsn(self) -> int:
        """The highest TSN sent."""
        return self.next_tsn - 1

    @property
    def has_lost(self) -> bool:
        """Whether a chunk waits to be sent again."""
        self._clean_lost()
        return bool(self._lost)

    def send_new(
        self, message: OutgoingMessage, fragment: bytes, immediate: bool, now: float, packet: int
    ) -> OutstandingChunk:
        """Give a fragment just taken from `message` its TSN and put it in flight."""
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
        chunk = OutstandingChunk(tsn, message, wire, payload, now, packet)
        self._chunks[tsn] = chunk
        self._depart(chunk, now)
        return chunk

    def _depart(self, chunk: OutstandingChunk, now: float) -> None:
        """The chunk is in flight from now on."""
        rate = self.rate
        if not self._flight:
            rate.flight_begins(now)
        chunk.delivered = rate.delivered
        chunk.delivered_at = rate.delivered_at
        chunk.first_sent_at = rate.first_sent_at
        self._flight[chunk.tsn] = chunk
        self.flight_size += chunk.length
        self.flight_payload += chunk.payload

    def _land(self, chunk: OutstandingChunk) -> None:
        """The chunk is in flight no more."""
        del self._flight[chunk.tsn]
        self.flight_size -= chunk.length
        self.flight_payload -= chunk.payload

    # -- retransmission ---------------------------------------------------------------------------------------

    def next_lost(self) -> OutstandingChunk | None:
        """The lowest chunk waiting to be sent again."""
        self._clean_lost()
        return self._chunks[self._lost[0]] if self._lost else None

    def resend(self, chunk: OutstandingChunk, now: float, packet: int) -> None:
        """Put back in flight the chunk that `next_lost` returned."""
        heappop(self._lost)
        chunk.state = IN_FLIGHT
        chunk.sent_at = now
        chunk.packet = packet
        chunk.transmissions += 1
        self._depart(chunk, now)

    def lose_all(self) -> list[OutgoingMessage]:
        """Mark all that is in flight as lost; returns messages that have thereby used up their retransmissions."""
        exhausted: list[OutgoingMessage] = []
        for chunk in list(self._flight.values()):
            self._lose(chunk, exhausted)
        return exhausted

    def lose_last(self) -> bool:
        """Have the chunk with the highest TSN sent again, as a tail loss probe; False when it may not be."""
        chunk = self._flight.get(self.highest_tsn)
        if chunk is None:
            return False
        limit = chunk.message.max_retransmissions
        if limit is not None and chunk.transmissions > limit:
            return False
        self._lose(chunk, [])
        return True

    def detect_losses(
        self, reordering_window: float, now: float, exhausted: list[OutgoingMessage]
    ) -> tuple[int, float]:
        """Find what RACK takes as lost (RFC 8985, 6.2, step 5).

        Args:
            reordering_window: seconds.
            now: monotonic seconds.
            exhausted: receives messages lost more often than they may be sent again.

        Returns:
            Bytes newly lost, and seconds until the rest would be, 0.0 when nothing more is suspected.
        """
        rack = self.rack
        lost: list[OutstandingChunk] = []
        wait = 0.0
        for chunk in self._flight.values():
            if not rack.sent_before(chunk.sent_at, chunk.tsn):
                break
            remaining = chunk.sent_at + rack.rtt + reordering_window - now
            if remaining <= 0:
                lost.append(chunk)
            else:
                wait = remaining
        total = 0
        for chunk in lost:
            total += chunk.length
            self._lose(chunk, exhausted)
        return total, wait

    def _lose(self, chunk: OutstandingChunk, exhausted: list[OutgoingMessage]) -> None:
        chunk.state = LOST
        self._land(chunk)
        heappush(self._lost, chunk.tsn)
        limit = chunk.message.max_retransmissions
        if limit is not None and chunk.transmissions > limit:
            exhausted.append(chunk.message)

    def _clean_lost(self) -> None:
        while self._lost:
            chunk = self._chunks.get(self._lost[0])
            if chunk is not None and chunk.state == LOST:
                return
            heappop(self._lost)

    # -- acknowledgement --------------------------------------------------------------------------------------

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
        if cumulative_tsn_ack > self.cumulative_tsn_ack:
            info.cumulative_advanced = True
            self._advance(cumulative_tsn_ack, info, now)
        if gaps or self._acked:
            self._acknowledge_gaps(gaps, now, info)
        if info.bytes_acked:
            self.rate.acknowledged(info.bytes_acked, now)
            if info.newest is not None:
                self.rate.first_sent_at = info.newest.sent_at
                self._measure(info.newest, now, info)
        return info

    def _advance(self, cumulative_tsn_ack: int, info: AckInfo, now: float) -> None:
        """The hot path: remove what the Cumulative TSN Ack covers."""
        chunks, flight = self._chunks, self._flight
        in_order = self.rack.fack <= self.cumulative_tsn_ack
        length = payload = acked = 0
        newest: OutstandingChunk | None = None
        for tsn in range(self.cumulative_tsn_ack + 1, cumulative_tsn_ack + 1):
            chunk = chunks.pop(tsn, None)
            if chunk is None:
                continue
            if chunk.state == IN_FLIGHT:
                del flight[tsn]
                length += chunk.length
                payload += chunk.payload
            elif chunk.state == LOST:
                acked += chunk.length
            else:
                continue
            if in_order and chunk.transmissions == 1:
                newest = chunk
            else:
                self._delivered(chunk, now, info)
        self.flight_size -= length
        self.flight_payload -= payload
        info.bytes_acked += acked + length
        self.cumulative_tsn_ack = cumulative_tsn_ack
        if newest is not None:
            # Sent once each and acknowledged in order: the last one says it all.
            self._delivered(newest, now, info)
        if self.advanced_peer_ack_point < cumulative_tsn_ack:
            self.advanced_peer_ack_point = cumulative_tsn_ack

    def _delivered(self, chunk: OutstandingChunk, now: float, info: AckInfo) -> None:
        """Tell RACK of a chunk acknowledged for the first time."""
        rack = self.rack
        tsn = chunk.tsn
        if tsn > rack.fack:
            rack.fack = tsn
        elif tsn < rack.fack and chunk.transmissions == 1:
            rack.reordering_seen = True
        rack.delivered(chunk.sent_at, tsn, chunk.transmissions > 1, now)
        newest = info.newest
        if newest is None or (chunk.sent_at, tsn) > (newest.sent_at, newest.tsn):
            info.newest = chunk

    def _measure(self, chunk: OutstandingChunk, now: float, info: AckInfo) -> None:
        """Measure the round trip of the newest chunk acknowledged, once per round trip (RFC 9260, 6.3.1, C4 and C5).

        C5 would pass over a chunk when a lower one was sent again meanwhile, for a Cumulative TSN Ack alone would not
        say which of the two arrived. Here the chunk itself is reported, and RTO must follow a queue that builds up
        just when losses begin.
        """
        # C5: "Karn's algorithm: RTT measurements MUST NOT be made using chunks that were retransmitted"
        if chunk.transmissions == 1 and chunk.sent_at >= self._measured_at:
            info.round_trip = now - chunk.sent_at
            self._measured_at = now

    def _acknowledge_gaps(self, gaps: list[Interval], now: float, info: AckInfo) -> None:
        base = self.cumulative_tsn_ack
        acked = [(base + start, base + end) for start, end in gaps]
        self._mark_acked(subtract(acked, self._acked), now, info)
        for start, end in subtract(self._acked, acked):
            for tsn in range(max(start, base + 1), end + 1):
                self._renege(tsn, now)
        self._acked = acked
        if not acked:
            self.packets_sacked = 0

    def _mark_acked(self, intervals: list[Interval], now: float, info: AckInfo) -> None:
        packet = -1
        for start, end in intervals:
            for tsn in range(start, end + 1):
                chunk = self._chunks.get(tsn)
                if chunk is None or chunk.state == ACKED or chunk.state == ABANDONED:
                    continue
                if chunk.state == IN_FLIGHT:
                    self._land(chunk)
                chunk.state = ACKED
                info.bytes_acked += chunk.length
                if chunk.packet != packet:
                    packet = chunk.packet
                    self.packets_sacked += 1
                self._delivered(chunk, now, info)

    def _renege(self, tsn: int, now: float) -> None:
        """RFC 9260, 6.2.1, D iii: the peer dropped what it had acknowledged: it is outstanding again."""
        chunk = self._chunks.get(tsn)
        if chunk is not None and chunk.state == ACKED:
            chunk.state = IN_FLIGHT
            chunk.sent_at = now
            self._depart(chunk, now)

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
            placeholder = OutstandingChunk(self.next_tsn, message, b"", 0, 0.0, -1)
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
        flight = sum(chunk.length for chunk in self._chunks.values() if chunk.state == IN_FLIGHT)
        payload = sum(chunk.payload for chunk in self._chunks.values() if chunk.state == IN_FLIGHT)
        if (flight, payload) != (self.flight_size, self.flight_payload):
            raise AssertionError(f"flight {self.flight_size}/{self.flight_payload}, found {flight}/{payload}")
        if {tsn for tsn, chunk in self._chunks.items() if chunk.state == IN_FLIGHT} != set(self._flight):
            raise AssertionError("what is in flight is filed wrongly")
        lost = {chunk.tsn for chunk in self._chunks.values() if chunk.state == LOST}
        if not lost <= set(self._lost):
            raise AssertionError(f"lost chunks {lost - set(self._lost)} would never be sent again")
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
