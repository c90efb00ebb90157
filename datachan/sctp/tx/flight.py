"""The chunks in flight on one path, in the order they were sent: their delivery, delivery rate and losses.

A chunk is compared with other chunks of the same path only, because a faster path does not indicate a loss on this
one. This module knows no windows and no timers.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from datachan.sctp.compiling import mypyc_attr

from .delivery_rate import DeliveryRate
from .rack import Rack

IN_FLIGHT: Final = 0
ACKED: Final = 1
LOST: Final = 2
ABANDONED: Final = 3

MAX_SUSPECTS: Final = 64
"""Late chunks that a SACK visits to find when the last of them counts as lost. To visit all of them would cost a SACK
as much as all that is in flight."""

RENEGED: Final = -2
"""The packet number of a chunk on which the peer reneged (RFC 9260, 6.2.1)."""


@mypyc_attr(acyclic=True)
class OutstandingChunk:
    """The retransmission record of one DATA or I-DATA chunk, which is serialized once.

    Message and path are numbers, so that the record refers to nothing that could refer to it. The garbage collector of
    the compiled engine then does not visit the chunks of all connections again and again.

    Attributes:
        tsn: unwrapped.
        message: the number of the message it is a fragment of, which `OutstandingData` has.
        header: the serialized header of the chunk.
        data: its user data, padded.
        length: the bytes of both, which count against cwnd.
        payload: its user bytes, which count against the peer's window.
        state: IN_FLIGHT, ACKED (by a Gap Ack Block), LOST (waits for retransmission) or ABANDONED.
        sent_at: when it was last sent.
        packet: the number of the packet it was last sent in; RENEGED when the peer acknowledged it and then reneged.
        transmissions: how many times it was sent.
        flight: the number of the flight of the path it was last sent on, or chosen for its retransmission.
        delivered, delivered_at, first_sent_at: copies of the sender's delivery accounting when it was last sent.
    """

    __slots__ = (
        "data",
        "delivered",
        "delivered_at",
        "first_sent_at",
        "flight",
        "header",
        "length",
        "message",
        "packet",
        "payload",
        "sent_at",
        "state",
        "transmissions",
        "tsn",
    )

    def __init__(
        self, tsn: int, message: int, header: bytes, data: bytes, payload: int, now: float, packet: int, flight: int
    ) -> None:
        self.tsn = tsn
        self.message = message
        self.header = header
        self.data = data
        self.length = len(header) + len(data)
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
        number: its number among the flights of the association, which `OutstandingData.add_flight` assigns.
        chunks: by TSN, in the order they were sent.
        size: their bytes.
        rack: the loss detector.
        rate: the delivery accounting.
        lost: a heap of TSNs of chunks that wait for retransmission; may hold some that no longer do.
        packets_sacked: the number of packets with a chunk acknowledged by a Gap Ack Block, since there were last none.
        bytes_acked: chunk bytes that the last SACK acknowledged for the first time.
        newest: the most recently sent of those chunks.
        round_trip: seconds since `newest` was sent, if this SACK yields a measurement; otherwise None.
        progress: whether the last SACK acknowledged the oldest chunk in flight on this path.
    """

    __slots__ = (
        "_measured_at",
        "_waiting",
        "bytes_acked",
        "chunks",
        "lost",
        "newest",
        "number",
        "packets_sacked",
        "progress",
        "rack",
        "rate",
        "round_trip",
        "size",
    )

    def __init__(self, initial_tsn: int) -> None:
        self.number = -1
        self.chunks: dict[int, OutstandingChunk] = {}
        self.size = 0
        self.rack = Rack(initial_tsn)
        self.rate = DeliveryRate()
        self.packets_sacked = 0
        self.bytes_acked = 0
        self.newest: OutstandingChunk | None = None
        self.round_trip: float | None = None
        self.progress = False
        self._waiting: dict[int, OutstandingChunk] = {}  # for retransmission; may hold some that are no longer lost
        self.lost: list[int] = []
        self._measured_at = float("-inf")  # when the last round trip was measured

    # -- sending -------------------------------------------------------------------------------------------------------

    def add(self, chunk: OutstandingChunk, now: float) -> None:
        """Put a chunk in flight and copy the delivery accounting into it."""
        rate = self.rate
        if not self.chunks and chunk.transmissions == 1:
            # The flight is also empty when T3-rtx has marked all its chunks as lost. Many of them may have been
            # delivered, and their acknowledgments must not count as the delivery of what is sent from now on.
            rate.start_flight(now)
        chunk.delivered = rate.delivered
        chunk.delivered_at = rate.delivered_at
        chunk.first_sent_at = rate.first_sent_at
        self.chunks[chunk.tsn] = chunk
        self.size += chunk.length

    def remove(self, chunk: OutstandingChunk) -> None:
        """Take a chunk out of flight."""
        del self.chunks[chunk.tsn]
        self.size -= chunk.length

    # -- losses --------------------------------------------------------------------------------------------------------

    @property
    def has_lost(self) -> bool:
        """Whether a chunk waits for retransmission on this path."""
        return self.next_lost() is not None

    def next_lost(self) -> OutstandingChunk | None:
        """Return the chunk with the lowest TSN that waits for retransmission on this path, if any."""
        lost = self.lost
        while lost:
            chunk = self._waiting.get(lost[0])
            if chunk is not None and chunk.state == LOST:
                return chunk
            self._waiting.pop(heappop(lost), None)
        return None

    def pop_lost(self) -> None:
        """Remove the chunk that `next_lost` returned from the chunks that wait for retransmission."""
        self._waiting.pop(heappop(self.lost), None)

    def queue_retransmission(self, chunk: OutstandingChunk) -> None:
        """Queue a chunk, lost on this or another path, for retransmission on this path."""
        chunk.flight = self.number
        self._waiting[chunk.tsn] = chunk
        heappush(self.lost, chunk.tsn)

    def move_lost(self, other: Flight) -> None:
        """Move the chunks that wait for retransmission here to another path."""
        for chunk in self._waiting.values():
            if chunk.state == LOST:
                other.queue_retransmission(chunk)
        self._waiting.clear()
        self.lost.clear()

    def find_lost(self, reordering_window: float, now: float) -> tuple[list[OutstandingChunk], float]:
        """Find the chunks that RACK considers lost (RFC 8985, 6.2, step 5).

        Args:
            reordering_window: seconds.
            now: monotonic seconds.

        Returns:
            The lost chunks, and the seconds until all suspected chunks count as lost; 0.0 when none is suspected.
        """
        rack = self.rack
        lost: list[OutstandingChunk] = []
        wait = 0.0
        suspects = 0
        for chunk in self.chunks.values():
            if not rack.sent_before(chunk.sent_at, chunk.tsn):
                break
            remaining = chunk.sent_at + rack.rtt + reordering_window - now
            if remaining <= 0:
                lost.append(chunk)
                continue
            wait = remaining
            suspects += 1
            if suspects == MAX_SUSPECTS:
                # The suspects behind were sent later, but not after the newest delivered chunk.
                return lost, rack.xmit_ts + rack.rtt + reordering_window - now
        return lost, wait

    # -- acknowledgment ------------------------------------------------------------------------------------------------

    def start_sack(self) -> None:
        """Reset the results of the previous SACK."""
        self.bytes_acked = 0
        self.newest = self.round_trip = None
        self.progress = False

    def record_delivered(self, chunk: OutstandingChunk, now: float) -> None:
        """Update RACK with a chunk that was acknowledged for the first time."""
        rack = self.rack
        tsn = chunk.tsn
        if tsn > rack.fack:
            rack.fack = tsn
        elif tsn < rack.fack and chunk.transmissions == 1:
            rack.reordering_seen = True
        rack.record_delivered(chunk.sent_at, tsn, chunk.transmissions > 1, now)
        newest = self.newest
        if newest is None or (chunk.sent_at, tsn) > (newest.sent_at, newest.tsn):
            self.newest = chunk

    def finish_sack(self, now: float) -> None:
        """Account for the bytes that the SACK delivered, and measure the round trip.

        The round trip is that of the newest chunk acknowledged, once per round trip (RFC 9260, 6.3.1, C4 and C5). C5
        excludes a chunk when a lower TSN was retransmitted meanwhile, because a Cumulative TSN Ack alone does not say
        which of the two arrived. Here the SACK reports the chunk itself. The RTO also has to follow a queue that builds
        up just when losses begin.
        """
        newest = self.newest
        if not self.bytes_acked or newest is None:
            return
        self.rate.record_delivered(self.bytes_acked, now)
        self.rate.first_sent_at = newest.sent_at
        # C5: "Karn's algorithm: RTT measurements MUST NOT be made using chunks that were retransmitted"
        if newest.transmissions == 1 and newest.sent_at >= self._measured_at:
            self.round_trip = now - newest.sent_at
            self._measured_at = now

    def check_invariants(self, in_flight: set[int], lost: set[int]) -> None:
        """Raise AssertionError if the counters are inconsistent; for tests.

        Args:
            in_flight: the TSNs that are in flight here.
            lost: the TSNs that wait for retransmission here.
        """
        size = sum(chunk.length for chunk in self.chunks.values())
        if size != self.size:
            raise AssertionError(f"flight {self.size}, found {size}")
        if in_flight != set(self.chunks):
            raise AssertionError(f"TSNs {sorted(self.chunks)} are filed as in flight instead of {sorted(in_flight)}")
        if not lost <= set(self.lost) & set(self._waiting):
            raise AssertionError(f"lost chunks {lost - set(self.lost)} would never be retransmitted")
