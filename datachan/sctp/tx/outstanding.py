"""What was sent and is not yet cumulatively acknowledged, by TSN. It knows chunks, not timers, windows or paths.

It answers what a SACK changed, which chunks are lost, and how far a FORWARD TSN may go. What to do about it is the
retransmission queue's decision.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from heapq import heappop, heappush
from typing import Final

from .send_queue import OutgoingMessage

MISS_INDICATIONS: Final = 3
"""RFC 9260, 7.2.4: a chunk counts as lost at the third miss indication."""

IN_FLIGHT: Final = 0
ACKED: Final = 1
LOST: Final = 2
ABANDONED: Final = 3

_MASK: Final = 0xFFFFFFFF
_DATA_HEADER: Final = struct.Struct("!BBHIHHI")
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
        misses: miss indications.
        fast_retransmitted: it was marked by Fast Retransmit, which happens to a chunk only once.
    """

    __slots__ = (
        "fast_retransmitted",
        "length",
        "message",
        "misses",
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
        self.misses = 0
        self.fast_retransmitted = False


class AckInfo:
    """What one SACK said.

    Attributes:
        bytes_acked: chunk bytes acknowledged for the first time.
        cumulative_advanced: whether the Cumulative TSN Ack Point moved.
        lost: whether chunks were newly marked as lost.
        round_trip: seconds since the newest chunk acknowledged here for the first time, never retransmitted, was
            sent; None without one.
    """

    __slots__ = ("bytes_acked", "cumulative_advanced", "lost", "round_trip")

    def __init__(self) -> None:
        self.bytes_acked = 0
        self.cumulative_advanced = False
        self.lost = False
        self.round_trip: float | None = None


class OutstandingData:
    """The chunks between the Cumulative TSN Ack Point and the next TSN.

    Attributes:
        next_tsn: the TSN the next new chunk gets.
        cumulative_tsn_ack: the peer has everything up to here.
        advanced_peer_ack_point: what the peer may take as received (RFC 3758, section 3.5).
        flight_size: chunk bytes in flight.
        flight_payload: user bytes in flight.
    """

    __slots__ = (
        "_acked",
        "_chunks",
        "_lost",
        "_rtt_tsn",
        "advanced_peer_ack_point",
        "cumulative_tsn_ack",
        "flight_payload",
        "flight_size",
        "next_tsn",
    )

    def __init__(self, initial_tsn: int) -> None:
        self.next_tsn = initial_tsn
        self.cumulative_tsn_ack = initial_tsn - 1
        self.advanced_peer_ack_point = initial_tsn - 1
        self.flight_size = 0
        self.flight_payload = 0
        self._chunks: dict[int, OutstandingChunk] = {}
        self._acked: list[Interval] = []  # as the last SACK had its Gap Ack Blocks
        self._lost: list[int] = []  # heap of TSNs; may hold some that are no longer lost
        self._rtt_tsn = -1  # the chunk whose round trip is being measured

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
        header = _DATA_HEADER.pack(
            0, flags, 16 + payload, tsn & _MASK, message.stream_id, message.ssn & 0xFFFF, message.ppid
        )
        wire = header + fragment + _PADDING[payload & 3] if payload & 3 else header + fragment
        chunk = OutstandingChunk(tsn, message, wire, payload, now, packet)
        self._chunks[tsn] = chunk
        self.flight_size += chunk.length
        self.flight_payload += payload
        if self._rtt_tsn < 0:
            self._rtt_tsn = tsn
        return chunk

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
        chunk.misses = 0
        self.flight_size += chunk.length
        self.flight_payload += chunk.payload
        # RFC 9260, 6.3.1, C5: "RTT measurements SHOULD only be made using a DATA chunk with TSN r if no DATA chunk with
        # TSN less than or equal to r was retransmitted since the DATA chunk with TSN r was sent first."
        if chunk.tsn <= self._rtt_tsn:
            self._rtt_tsn = -1

    def lose_all(self) -> list[OutgoingMessage]:
        """Mark all that is in flight as lost; returns messages that have thereby used up their retransmissions."""
        exhausted: list[OutgoingMessage] = []
        for chunk in self._chunks.values():
            # A new beginning: also what Fast Retransmit had marked and not sent yet may be marked by it again.
            chunk.fast_retransmitted = False
            if chunk.state == IN_FLIGHT:
                self._lose(chunk, exhausted)
        return exhausted

    def _lose(self, chunk: OutstandingChunk, exhausted: list[OutgoingMessage]) -> None:
        chunk.state = LOST
        self.flight_size -= chunk.length
        self.flight_payload -= chunk.payload
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

    def acknowledge(
        self,
        cumulative_tsn_ack: int,
        gaps: list[Interval],
        in_fast_recovery: bool,
        now: float,
        exhausted: list[OutgoingMessage],
    ) -> AckInfo:
        """Take in a SACK for which `valid` said True and that is not older than the last one.

        Args:
            cumulative_tsn_ack: unwrapped.
            gaps: its Gap Ack Blocks, offsets as on the wire.
            in_fast_recovery: whether the sender is in Fast Recovery.
            now: monotonic seconds.
            exhausted: receives messages lost more often than they may be sent again.
        """
        info = AckInfo()
        if cumulative_tsn_ack > self.cumulative_tsn_ack:
            info.cumulative_advanced = True
            self._advance(cumulative_tsn_ack, info, now)
        if gaps or self._acked:
            self._acknowledge_gaps(gaps, in_fast_recovery and info.cumulative_advanced, now, info, exhausted)
        return info

    def _advance(self, cumulative_tsn_ack: int, info: AckInfo, now: float) -> None:
        """The hot path: remove what the Cumulative TSN Ack covers."""
        chunks = self._chunks
        length = payload = in_flight = 0
        for tsn in range(self.cumulative_tsn_ack + 1, cumulative_tsn_ack + 1):
            chunk = chunks.pop(tsn, None)
            if chunk is None:
                continue
            if chunk.state == IN_FLIGHT:
                in_flight += chunk.length
                payload += chunk.payload
            elif chunk.state == LOST:
                length += chunk.length
            if tsn == self._rtt_tsn:
                self._measure(chunk, now, info)
        self.flight_size -= in_flight
        self.flight_payload -= payload
        info.bytes_acked += in_flight + length
        self.cumulative_tsn_ack = cumulative_tsn_ack
        if self.advanced_peer_ack_point < cumulative_tsn_ack:
            self.advanced_peer_ack_point = cumulative_tsn_ack

    def _measure(self, chunk: OutstandingChunk, now: float, info: AckInfo) -> None:
        # RFC 9260, 6.3.1, C5: "Karn's algorithm: RTT measurements MUST NOT be made using chunks that were
        # retransmitted"
        if chunk.transmissions == 1:
            info.round_trip = now - chunk.sent_at
        self._rtt_tsn = -1

    def _acknowledge_gaps(
        self,
        gaps: list[Interval],
        count_all: bool,
        now: float,
        info: AckInfo,
        exhausted: list[OutgoingMessage],
    ) -> None:
        base = self.cumulative_tsn_ack
        acked = [(base + start, base + end) for start, end in gaps]
        newest, packets = self._mark_acked(subtract(acked, self._acked), now, info)
        for start, end in subtract(self._acked, acked):
            for tsn in range(max(start, base + 1), end + 1):
                self._renege(tsn)
        self._acked = acked
        if acked:
            self._count_misses(acked, newest, packets, count_all, info, exhausted)

    def _mark_acked(self, intervals: list[Interval], now: float, info: AckInfo) -> tuple[int, list[int]]:
        """Mark newly acknowledged chunks; returns the highest TSN of them and their packets' numbers, ascending."""
        highest = -1
        packets: list[int] = []
        packet = -1
        for start, end in intervals:
            for tsn in range(start, end + 1):
                chunk = self._chunks.get(tsn)
                if chunk is None or chunk.state == ACKED or chunk.state == ABANDONED:
                    continue
                if chunk.state == IN_FLIGHT:
                    self.flight_size -= chunk.length
                    self.flight_payload -= chunk.payload
                chunk.state = ACKED
                info.bytes_acked += chunk.length
                highest = tsn
                if chunk.packet != packet:
                    packet = chunk.packet
                    packets.append(packet)
                if tsn == self._rtt_tsn:
                    self._measure(chunk, now, info)
        packets.sort()
        return highest, packets

    def _renege(self, tsn: int) -> None:
        """RFC 9260, 6.2.1, D iii: the peer dropped what it had acknowledged: it is outstanding again."""
        chunk = self._chunks.get(tsn)
        if chunk is not None and chunk.state == ACKED:
            chunk.state = IN_FLIGHT
            chunk.misses = 1
            self.flight_size += chunk.length
            self.flight_payload += chunk.payload

    def _count_misses(
        self,
        acked: list[Interval],
        newest: int,
        packets: list[int],
        count_all: bool,
        info: AckInfo,
        exhausted: list[OutgoingMessage],
    ) -> None:
        """Count miss indications for the holes below what was newly acknowledged (section 7.2.4).

        RFC 9260, 7.2.4: "For each incoming SACK chunk, miss indications are incremented only for missing TSNs prior to
        the HTNA in the SACK chunk." A peer that acknowledges whole batches sends one SACK for many packets; each packet
        newly acknowledged above a hole then counts as the indication its own SACK would have been. Only packets sent
        after the missing chunk was sent last count: what was under way before a retransmission tells nothing about it.
        """
        missing_until = acked[-1][1] if count_all else newest
        previous = self.cumulative_tsn_ack
        for start, end in acked:
            if previous + 1 > missing_until:
                break
            for tsn in range(previous + 1, min(start, missing_until + 1)):
                chunk = self._chunks.get(tsn)
                if chunk is None or chunk.state != IN_FLIGHT or chunk.fast_retransmitted:
                    continue
                indications = len(packets) - bisect_right(packets, chunk.packet)
                if indications == 0 and chunk.transmissions > 1:
                    continue
                chunk.misses += max(indications, 1)
                if chunk.misses >= MISS_INDICATIONS:
                    chunk.fast_retransmitted = True
                    info.lost = True
                    self._lose(chunk, exhausted)
            previous = end

    # -- partial reliability (RFC 3758) -----------------------------------------------------------------------

    def abandon(self, message: OutgoingMessage) -> None:
        """Treat all chunks of a message "as being finally acked and no longer outstanding" (RFC 3758, 3.5, A2).

        A message of which not every fragment was sent gets one more TSN, never sent: it keeps the next message from
        following directly on a fragment that is not the last, which receivers take for a violation.
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
        for tsn in range(message.first_tsn, message.last_tsn + 1):
            chunk = self._chunks.get(tsn)
            if chunk is None:
                continue
            if chunk.state == IN_FLIGHT:
                self.flight_size -= chunk.length
                self.flight_payload -= chunk.payload
            chunk.state = ABANDONED
            if tsn == self._rtt_tsn:
                self._rtt_tsn = -1
        self.advance_peer_ack_point()

    def advance_peer_ack_point(self) -> None:
        """RFC 3758, 3.5, C2: move on "as long as the chunk next in the out-queue space is marked as "abandoned""."""
        tsn = self.advanced_peer_ack_point + 1
        chunk = self._chunks.get(tsn)
        while chunk is not None and chunk.state == ABANDONED:
            tsn += 1
            chunk = self._chunks.get(tsn)
        self.advanced_peer_ack_point = tsn - 1

    def forward_tsn(self, max_streams: int) -> tuple[int, list[tuple[int, int]]]:
        """The New Cumulative TSN and the streams of a FORWARD TSN, with at most `max_streams` of them (C4)."""
        skipped: dict[int, int] = {}
        last = self.cumulative_tsn_ack
        for tsn in range(self.cumulative_tsn_ack + 1, self.advanced_peer_ack_point + 1):
            message = self._chunks[tsn].message
            if not message.unordered:
                if message.stream_id not in skipped and len(skipped) == max_streams:
                    break
                skipped[message.stream_id] = max(skipped.get(message.stream_id, -1), message.ssn)
            last = tsn
        return last, [(stream_id, ssn & 0xFFFF) for stream_id, ssn in skipped.items()]

    def unacknowledged_messages(self) -> list[OutgoingMessage]:
        """The messages of which a chunk is not acknowledged, each once, in order."""
        seen: dict[int, OutgoingMessage] = {}
        for chunk in self._chunks.values():
            if chunk.state in (IN_FLIGHT, LOST):
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
