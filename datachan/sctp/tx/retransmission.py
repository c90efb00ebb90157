"""What DATA may be sent now: windows, Fast Recovery, T3-rtx and zero-window probes (RFC 9260, sections 6.1 to 6.3,
7.2).

It joins the send queue, the outstanding chunks and the path. It hands out chunks one by one and never builds a packet;
it reports what happened and never ends the association.
"""

from __future__ import annotations

from datachan.sctp.options import AssociationOptions
from datachan.sctp.path import Path
from datachan.sctp.wire.chunks import SackChunk
from datachan.sctp.wire.extensions import ForwardTsnChunk

from .outstanding import AckInfo, Interval, OutstandingChunk, OutstandingData
from .send_queue import OutgoingMessage, SendQueue

DATA_HEADER_LENGTH = 16


class RetransmissionQueue:
    """The data sender of one association.

    Attributes:
        outstanding: the chunks sent and not acknowledged.
        path: where they are sent.
        abandoned: messages given up since the caller last looked; it clears the list.
        retransmissions: chunks sent again, for statistics.
        packet: the number of the packet being built; the writer counts it up.
    """

    __slots__ = (
        "_a_rwnd",
        "_burst_left",
        "_can_abandon",
        "_exit_point",
        "_fast_retransmit_now",
        "_forward_tsn_due",
        "_forward_tsn_sent_at",
        "_max_fragment",
        "_options",
        "_probing",
        "_queue",
        "_sack_since_t3",
        "_single_packet",
        "_timeout_point",
        "abandoned",
        "outstanding",
        "packet",
        "path",
        "retransmissions",
    )

    def __init__(
        self,
        options: AssociationOptions,
        path: Path,
        queue: SendQueue,
        initial_tsn: int,
        peer_a_rwnd: int,
        can_abandon: bool,
    ) -> None:
        self.outstanding = OutstandingData(initial_tsn)
        self.path = path
        self.abandoned: list[OutgoingMessage] = []
        self.retransmissions = 0
        self.packet = 0
        self._options = options
        self._queue = queue
        self._a_rwnd = peer_a_rwnd
        self._can_abandon = can_abandon
        self._max_fragment = options.max_packet_size - 12 - DATA_HEADER_LENGTH & ~3
        self._timeout_point = -1  # the highest TSN sent when T3-rtx expired
        self._exit_point = -1  # Fast Recovery lasts until this TSN is acknowledged
        self._fast_retransmit_now = False  # one packet may ignore cwnd
        self._single_packet = False  # after T3-rtx, until something is acknowledged
        self._probing = False
        self._sack_since_t3 = False
        self._forward_tsn_due = False
        self._forward_tsn_sent_at = -1.0e9
        self._burst_left = self._burst_limit()

    # -- state ------------------------------------------------------------------------------------------------

    @property
    def peer_rwnd(self) -> int:
        """Bytes the peer can still take (rwnd of section 6.2.1)."""
        return max(self._a_rwnd - self.outstanding.flight_payload, 0)

    @property
    def in_fast_recovery(self) -> bool:
        """Whether Fast Recovery is on (section 7.2.4)."""
        return self._exit_point >= 0

    @property
    def all_acknowledged(self) -> bool:
        """Whether nothing is outstanding."""
        return not self.outstanding

    # -- SACK -------------------------------------------------------------------------------------------------

    def handle_sack(self, cumulative_tsn_ack: int, sack: SackChunk, now: float) -> AckInfo | None:
        """Take in a SACK; None when it is old or speaks of what was never sent.

        Args:
            cumulative_tsn_ack: that of the SACK, unwrapped.
            sack: the chunk.
            now: monotonic seconds.
        """
        outstanding = self.outstanding
        # RFC 9260, 6.2.1, D i: "If Cumulative TSN Ack is less than the Cumulative TSN Ack Point, then drop the SACK
        # chunk."
        if cumulative_tsn_ack < outstanding.cumulative_tsn_ack or not outstanding.valid(
            cumulative_tsn_ack, sack.gap_ack_blocks
        ):
            return None
        return self._acknowledge(cumulative_tsn_ack, sack.gap_ack_blocks, sack.a_rwnd, now)

    def handle_cumulative_ack(self, cumulative_tsn_ack: int, now: float) -> AckInfo | None:
        """Take in the Cumulative TSN Ack of a SHUTDOWN chunk, which has no gaps and no window."""
        outstanding = self.outstanding
        if cumulative_tsn_ack < outstanding.cumulative_tsn_ack or not outstanding.valid(cumulative_tsn_ack, []):
            return None
        info = AckInfo()
        if cumulative_tsn_ack > outstanding.cumulative_tsn_ack:
            gaps = outstanding.gaps_above(cumulative_tsn_ack)
            return self._acknowledge(cumulative_tsn_ack, gaps, self._a_rwnd, now)
        return info

    def _acknowledge(self, cumulative_tsn_ack: int, gaps: list[Interval], a_rwnd: int, now: float) -> AckInfo:
        outstanding = self.outstanding
        path = self.path
        flight_before = outstanding.flight_size
        exhausted: list[OutgoingMessage] = []
        info = outstanding.acknowledge(cumulative_tsn_ack, gaps, self.in_fast_recovery, now, exhausted)
        self._a_rwnd = a_rwnd
        self._sack_since_t3 = True
        if info.round_trip is not None:
            path.observe_round_trip(info.round_trip)
        if info.bytes_acked:
            self._single_packet = False
            self._probing = False
            path.congestion.on_acknowledged(info.bytes_acked, flight_before, self.in_fast_recovery)
        if cumulative_tsn_ack >= self._exit_point:
            self._exit_point = -1
        if info.lost:
            self._enter_fast_recovery()
        self._give_up(exhausted)
        outstanding.advance_peer_ack_point()
        self._check_forward_tsn(now)
        self._burst_left = max(self._burst_limit(), 2 * info.bytes_acked)
        self._manage_t3(info, now)
        return info

    def _enter_fast_recovery(self) -> None:
        # What T3-rtx gave up as lost is being sent again in slow start; to lose some of it once more is the same
        # congestion, for which cwnd has been cut already (as RFC 6582, section 4 has it for TCP).
        if self.in_fast_recovery or self.outstanding.cumulative_tsn_ack < self._timeout_point:
            return
        self.path.congestion.on_loss()
        self._exit_point = self.outstanding.highest_tsn
        self._fast_retransmit_now = True

    def _manage_t3(self, info: AckInfo, now: float) -> None:
        t3 = self.path.t3_rtx
        if self.all_acknowledged:
            # RFC 9260, 6.3.2, R2: "Whenever all outstanding data sent to an address have been acknowledged, turn off
            # the T3-rtx timer of that address."
            if not self._blocked_by_window():
                t3.stop()
            elif info.cumulative_advanced or not t3.running:
                t3.start(now, self.path.rto)
            self.path.congestion.on_all_acknowledged()
        elif info.cumulative_advanced or not t3.running:
            # R3: "Whenever a SACK chunk is received that acknowledges the DATA chunk with the earliest outstanding TSN
            # for that address, restart the T3-rtx timer for that address with its current RTO"
            t3.start(now, self.path.rto)

    # -- T3-rtx -----------------------------------------------------------------------------------------------

    def handle_t3_expired(self, now: float) -> bool:
        """T3-rtx has expired (section 6.3.3).

        Returns:
            Whether it counts as an error of the path and the association.
        """
        path = self.path
        path.back_off()
        if self.all_acknowledged:
            # The timer ran for the zero-window probe, which may go now.
            self._probing = self._blocked_by_window()
            return False
        # RFC 9260, 6.1: "If the sender continues to receive SACK chunks from the peer while doing zero window probing,
        # the unacknowledged window probes SHOULD NOT increment the error counter".
        window_closed = self._probing or self._a_rwnd < self._max_fragment
        counts = not (window_closed and self._sack_since_t3)
        self._sack_since_t3 = False
        if not window_closed:
            # "Zero window probing does not affect the calculation of cwnd."
            path.congestion.on_timeout()
        self._single_packet = True
        self._exit_point = -1
        self._give_up(self.outstanding.lose_all())
        self.outstanding.advance_peer_ack_point()
        self._forward_tsn_due = self._can_forward()
        self._burst_left = self._burst_limit()
        path.t3_rtx.start(now, path.rto)
        return counts

    def lose_all_for_handshake(self) -> None:
        """COOKIE ECHO is sent again, and the DATA bundled with it: no sign of congestion."""
        self._give_up(self.outstanding.lose_all())

    # -- handing out chunks -----------------------------------------------------------------------------------

    def begin_batch(self, now: float) -> None:
        """A writer is about to ask for chunks: drop what has outlived its lifetime and decay an idle window."""
        for message in self._queue.expire(now):
            self._abandon_or_drop(message)
        if self.all_acknowledged and self._queue.sendable:
            self.path.decay_when_idle(now)
            # What the last SACK allowed stays allowed: a peer that acknowledges a whole window at once would otherwise
            # hold the sender to Max.Burst packets per round trip for ever.
            self._burst_left = max(self._burst_left, self._burst_limit())

    def next_chunk(self, room: int, packet_empty: bool, closing: bool, now: float) -> OutstandingChunk | None:
        """The next chunk to put into the packet being built, or None when none fits or none may be sent.

        Args:
            room: bytes left in the packet.
            packet_empty: whether the packet has no DATA yet.
            closing: nothing new will be queued (SHUTDOWN-PENDING); the last chunk asks for a SACK at once.
            now: monotonic seconds.
        """
        # RFC 9260, 6.1, C: "before sending new DATA chunks, the sender MUST first transmit any DATA chunks that are
        # marked for retransmission (limited by the current cwnd)."
        if self.outstanding.has_lost:
            return self._next_retransmission(room, packet_empty, now)
        self._fast_retransmit_now = False
        if not self._queue.sendable:
            return None
        return self._next_new(room, packet_empty, closing, now)

    def sends_soon(self) -> bool:
        """Whether there is DATA that the congestion window lets go now."""
        if not self._queue.sendable and not self.outstanding.has_lost:
            return False
        return self._fast_retransmit_now or self._cwnd_allows()

    def packet_done(self, length: int) -> None:
        """A packet with DATA was finished; `length` chunk bytes were in it."""
        self.packet += 1
        self._burst_left -= length
        self._fast_retransmit_now = False

    def _next_retransmission(self, room: int, packet_empty: bool, now: float) -> OutstandingChunk | None:
        outstanding = self.outstanding
        while (chunk := outstanding.next_lost()) is not None:
            expires_at = chunk.message.expires_at
            if not self._can_abandon or expires_at is None or now < expires_at:
                break
            self._give_up([chunk.message])
            self._check_forward_tsn(now)
        if chunk is None or chunk.length > room:
            return None
        if packet_empty and not self._fast_retransmit_now and not self._cwnd_allows():
            return None
        outstanding.resend(chunk, now, self.packet)
        self.retransmissions += 1
        t3 = self.path.t3_rtx
        # RFC 9260, 6.1: "the sender MUST restart the timer if the earliest (i.e., lowest TSN) outstanding DATA chunk
        # sent to that address is being retransmitted."
        if not t3.running or chunk.tsn == outstanding.lowest_outstanding_tsn():
            t3.start(now, self.path.rto)
        return chunk

    def _next_new(self, room: int, packet_empty: bool, closing: bool, now: float) -> OutstandingChunk | None:
        message = self._queue.next_message()
        if message is None:
            return None
        remaining = message.remaining
        size = min(remaining, self._max_fragment)
        if size + DATA_HEADER_LENGTH > room or (packet_empty and not self._cwnd_allows()):
            return None
        if not packet_empty and size == self._max_fragment:
            return None
        outstanding = self.outstanding
        if size > self.peer_rwnd and not self._may_probe(now):
            return None
        fragment = self._queue.take(message, size)
        chunk = outstanding.send_new(message, fragment, self._wants_sack_now(size, closing), now, self.packet)
        self.path.last_sent = now
        if not self.path.t3_rtx.running:
            self.path.t3_rtx.start(now, self.path.rto)
        return chunk

    def _cwnd_allows(self) -> bool:
        """RFC 9260, 6.1, B: new data may not be sent with cwnd or more in flight; the last packet may exceed it."""
        if self._single_packet and self.outstanding.flight_size > 0:
            return False
        return self.outstanding.flight_size < self.path.congestion.cwnd and self._burst_left > 0

    def _may_probe(self, now: float) -> bool:
        """Whether a zero window probe may go (section 6.1, A); else T3-rtx runs towards one."""
        if self.all_acknowledged and self._probing:
            return True
        if self.all_acknowledged and not self.path.t3_rtx.running:
            self.path.t3_rtx.start(now, self.path.rto)
        return False

    def _blocked_by_window(self) -> bool:
        message = self._queue.next_message()
        return message is not None and min(message.remaining, self._max_fragment) > self.peer_rwnd

    def _wants_sack_now(self, size: int, closing: bool) -> bool:
        """RFC 9260, 6.1: "Reasons for setting the I bit include": SHUTDOWN-PENDING, and filling a window."""
        if closing and not self._queue.buffered:
            return True
        flight = self.outstanding.flight_size + size + DATA_HEADER_LENGTH
        return flight >= self.path.congestion.cwnd or self.peer_rwnd < size + self._max_fragment

    def _burst_limit(self) -> int:
        """Max.Burst in bytes (section 6.1, D)."""
        return self._options.max_burst * (self._max_fragment + DATA_HEADER_LENGTH)

    # -- partial reliability ----------------------------------------------------------------------------------

    def next_expiry(self) -> float | None:
        """When the next lifetime of a queued message ends."""
        return self._queue.next_expiry()

    def forward_tsn(self, max_size: int, now: float) -> ForwardTsnChunk | None:
        """The FORWARD TSN to send now, or None (RFC 3758, section 3.5)."""
        if not self._forward_tsn_due:
            return None
        self._forward_tsn_due = False
        if not self._can_forward():
            return None
        new_cumulative_tsn, streams = self.outstanding.forward_tsn((max_size - 8) // 4)
        self._forward_tsn_sent_at = now
        # RFC 3758, 3.5, C5: "If a FORWARD TSN is sent, the sender MUST assure that at least one T3-rtx timer is
        # running."
        if not self.path.t3_rtx.running:
            self.path.t3_rtx.start(now, self.path.rto)
        return ForwardTsnChunk(new_cumulative_tsn & 0xFFFFFFFF, streams)

    def _can_forward(self) -> bool:
        return self.outstanding.advanced_peer_ack_point > self.outstanding.cumulative_tsn_ack

    def _check_forward_tsn(self, now: float) -> None:
        """C3, with the RFC's advice to wait "a full RTT before sending a duplicate FORWARD TSN"."""
        if self._can_forward() and now - self._forward_tsn_sent_at >= (self.path.srtt or 0.0):
            self._forward_tsn_due = True

    def _give_up(self, messages: list[OutgoingMessage]) -> None:
        for message in messages:
            if self._can_abandon and not message.abandoned:
                self._abandon_or_drop(message)

    def _abandon_or_drop(self, message: OutgoingMessage) -> None:
        started = message.first_tsn >= 0
        if started and not self._can_abandon:
            return
        self.outstanding.abandon(message)
        self._queue.drop(message)
        self.abandoned.append(message)
        if started:
            self._forward_tsn_due = self._can_forward()
