"""What is in flight on one path: chunks in the order they were sent, what was delivered and how fast, what is lost.

Chunks are judged against others of the same path only: that another path is faster says nothing about a loss. It knows
no windows and no timers.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from .delivery_rate import DeliveryRate
from .rack import Rack
from .send_queue import OutgoingMessage

IN_FLIGHT: Final = 0
ACKED: Final = 1
LOST: Final = 2
ABANDONED: Final = 3

TAKEN_BACK: Final = -2


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
        packet: the number of the packet it was last sent in; TAKEN_BACK when it was acknowledged since and
            the peer took that back.
        transmissions: how often it was sent.
        flight: that of the path it was last sent on, or is to be sent on again.
        delivered, delivered_at, first_sent_at: the sender's delivery accounting when it was last sent.
    """

    __slots__ = (
        "delivered",
        "delivered_at",
        "first_sent_at",
        "flight",
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

    def __init__(
        self, tsn: int, message: OutgoingMessage, wire: bytes, payload: int, now: float, packet: int, flight: Flight
    ) -> None:
        self.tsn = tsn
        self.message = message
        self.wire = wire
        self.length = len(wire)
        self.payload = payload
        self.state = IN_FLIGHT
        self.sent_at = now
        self.packet = packet
        self.transmissions = 1
        self.flight = flight
        self.delivered = 0
        self.delivered_at = 0.0
        self.first_sent_at = 0.0


class Flight:
    """The chunks in flight on one path.

    Attributes:
        chunks: by TSN, in the order they were sent.
        size: their bytes.
        rack: the loss detector.
        rate: the delivery accounting.
        lost: TSNs of chunks that wait to be sent again, a heap; may hold some that no longer do.
        packets_sacked: packets of which a chunk is acknowledged by a Gap Ack Block, since there were none.
        bytes_acked: chunk bytes that the last SACK acknowledged for the first time.
        newest: the most recently sent chunk among them.
        round_trip: seconds since that one was sent, if it may be measured; else None.
        progress: the last SACK acknowledged what had been in flight here the longest.
    """

    __slots__ = (
        "_measured_at",
        "_waiting",
        "bytes_acked",
        "chunks",
        "lost",
        "newest",
        "packets_sacked",
        "progress",
        "rack",
        "rate",
        "round_trip",
        "size",
    )

    def __init__(self, initial_tsn: int) -> None:
        self.chunks: dict[int, OutstandingChunk] = {}
        self.size = 0
        self.rack = Rack(initial_tsn)
        self.rate = DeliveryRate()
        self.packets_sacked = 0
        self.bytes_acked = 0
        self.newest: OutstandingChunk | None = None
        self.round_trip: float | None = None
        self.progress = False
        self._waiting: dict[int, OutstandingChunk] = {}  # to be sent again; may hold some that are no longer lost
        self.lost: list[int] = []
        self._measured_at = float("-inf")  # when the last round trip was measured

    # -- sending ----------------------------------------------------------------------------------------------

    def depart(self, chunk: OutstandingChunk, now: float) -> None:
        """The chunk is in flight from now on."""
        rate = self.rate
        if not self.chunks:
            rate.flight_begins(now)
        chunk.delivered = rate.delivered
        chunk.delivered_at = rate.delivered_at
        chunk.first_sent_at = rate.first_sent_at
        self.chunks[chunk.tsn] = chunk
        self.size += chunk.length

    def land(self, chunk: OutstandingChunk) -> None:
        """The chunk is in flight no more."""
        del self.chunks[chunk.tsn]
        self.size -= chunk.length

    # -- losses -----------------------------------------------------------------------------------------------

    @property
    def has_lost(self) -> bool:
        """Whether a chunk waits to be sent again."""
        return self.next_lost() is not None

    def next_lost(self) -> OutstandingChunk | None:
        """The lowest chunk waiting to be sent again on this path."""
        lost = self.lost
        while lost:
            chunk = self._waiting.get(lost[0])
            if chunk is not None and chunk.state == LOST:
                return chunk
            self._waiting.pop(heappop(lost), None)
        return None

    def take_lost(self) -> None:
        """The chunk that `next_lost` returned is being sent."""
        self._waiting.pop(heappop(self.lost), None)

    def await_sending(self, chunk: OutstandingChunk) -> None:
        """A chunk, lost here or elsewhere, is to be sent again on this path."""
        chunk.flight = self
        self._waiting[chunk.tsn] = chunk
        heappush(self.lost, chunk.tsn)

    def hand_over_lost(self, other: Flight) -> None:
        """What waits to be sent again on this path is to go on another one."""
        for chunk in self._waiting.values():
            if chunk.state == LOST:
                other.await_sending(chunk)
        self._waiting.clear()
        self.lost.clear()

    def overdue(self, reordering_window: float, now: float) -> tuple[list[OutstandingChunk], float]:
        """What RACK takes as lost (RFC 8985, 6.2, step 5).

        Args:
            reordering_window: seconds.
            now: monotonic seconds.

        Returns:
            The lost chunks, and seconds until the rest would be, 0.0 when nothing more is suspected.
        """
        rack = self.rack
        lost: list[OutstandingChunk] = []
        wait = 0.0
        for chunk in self.chunks.values():
            if not rack.sent_before(chunk.sent_at, chunk.tsn):
                break
            remaining = chunk.sent_at + rack.rtt + reordering_window - now
            if remaining <= 0:
                lost.append(chunk)
            else:
                wait = remaining
        return lost, wait

    # -- acknowledgment --------------------------------------------------------------------------------------

    def begin_sack(self) -> None:
        """A SACK is about to be taken in."""
        self.bytes_acked = 0
        self.newest = None
        self.round_trip = None
        self.progress = False

    def delivered(self, chunk: OutstandingChunk, now: float) -> None:
        """A chunk was acknowledged for the first time: tell RACK."""
        rack = self.rack
        tsn = chunk.tsn
        if tsn > rack.fack:
            rack.fack = tsn
        elif tsn < rack.fack and chunk.transmissions == 1:
            rack.reordering_seen = True
        rack.delivered(chunk.sent_at, tsn, chunk.transmissions > 1, now)
        newest = self.newest
        if newest is None or (chunk.sent_at, tsn) > (newest.sent_at, newest.tsn):
            self.newest = chunk

    def end_sack(self, now: float) -> None:
        """The SACK has been taken in: account for what it delivered, and measure.

        The round trip is that of the newest chunk acknowledged, once per round trip (RFC 9260, 6.3.1, C4 and C5). C5
        would pass over a chunk when a lower one was sent again meanwhile, for a Cumulative TSN Ack alone would not say
        which of the two arrived. Here the chunk itself is reported, and RTO must follow a queue that builds up just
        when losses begin.
        """
        newest = self.newest
        if not self.bytes_acked or newest is None:
            return
        self.rate.acknowledged(self.bytes_acked, now)
        self.rate.first_sent_at = newest.sent_at
        # C5: "Karn's algorithm: RTT measurements MUST NOT be made using chunks that were retransmitted"
        if newest.transmissions == 1 and newest.sent_at >= self._measured_at:
            self.round_trip = now - newest.sent_at
            self._measured_at = now

    def check_invariants(self, in_flight: set[int], lost: set[int]) -> None:
        """For tests: raise AssertionError when the books do not balance.

        Args:
            in_flight: the TSNs that are in flight here.
            lost: those that wait to be sent again here.
        """
        size = sum(chunk.length for chunk in self.chunks.values())
        if size != self.size:
            raise AssertionError(f"flight {self.size}, found {size}")
        if in_flight != set(self.chunks):
            raise AssertionError("what is in flight is filed wrongly")
        if not lost <= set(self.lost) & set(self._waiting):
            raise AssertionError(f"lost chunks {lost - set(self.lost)} would never be sent again")
