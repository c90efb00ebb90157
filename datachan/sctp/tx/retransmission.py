"""What DATA may be sent now: windows, pacing, loss recovery and probes (RFC 9260, sections 6.1 to 6.3 and 7.2, RFC
8985).

It joins the send queue, the outstanding chunks and the path. It hands out chunks one by one and never builds a packet;
it reports what happened and never ends the association.
"""

from __future__ import annotations

from datachan.sctp.congestion import AckSample
from datachan.sctp.options import AssociationOptions
from datachan.sctp.path import Path
from datachan.sctp.serial import unwrap
from datachan.sctp.timers import Timer, earliest
from datachan.sctp.wire.chunks import SackChunk
from datachan.sctp.wire.extensions import I_DATA_HEADER_LENGTH, ForwardTsnChunk, IForwardTsnChunk

from .loss_probe import LossProbe
from .outstanding import AckInfo, Interval, OutstandingChunk, OutstandingData
from .pacer import Pacer
from .policies import LIFETIME, PRIORITY, RETRANSMISSIONS
from .recovery import Recovery
from .send_queue import OutgoingMessage, SendQueue

DATA_HEADER_LENGTH = 16

MAX_OUTSTANDING = 65535
"""Chunks between the Cumulative TSN Ack Point and the next TSN. RFC 9260, 6.1: "For each stream, the data sender MUST
NOT have more than 2^16 - 1 ordered user messages in the current send window." One message is one chunk at least."""


class RetransmissionQueue:
    """The data sender of one association.

    Attributes:
        outstanding: the chunks sent and not acknowledged.
        path: where they are sent.
        can_abandon: the peer knows partial reliability.
        abandoned: messages given up since the caller last looked; it clears the list.
        retransmissions: chunks sent again, for statistics.
        spurious_recoveries: recoveries undone because nothing had been lost, for statistics.
        packet: the number of the packet being built.
        suspended: no new TSNs are given (RFC 6525, section 5.1.4).
        recovery: the loss episode, if any.
        reordering_timer: runs while chunks may be late or lost (RFC 8985, section 6.2).
        probe: the tail loss probe.
    """

    __slots__ = (
        "_a_rwnd",
        "_burst_left",
        "_by_packets",
        "_forward_tsn_due",
        "_forward_tsn_sent_at",
        "_forwarded_to",
        "_header_length",
        "_max_fragment",
        "_one_packet_now",
        "_options",
        "_paced_out",
        "_pacer",
        "_probing",
        "_queue",
        "_sack_since_t3",
        "_single_packet",
        "abandoned",
        "can_abandon",
        "outstanding",
        "packet",
        "path",
        "probe",
        "recovery",
        "reordering_timer",
        "retransmissions",
        "spurious_recoveries",
        "suspended",
    )

    def __init__(
        self,
        options: AssociationOptions,
        path: Path,
        queue: SendQueue,
        initial_tsn: int,
        peer_a_rwnd: int,
        can_abandon: bool,
        interleaving: bool = False,
    ) -> None:
        self.outstanding = OutstandingData(initial_tsn, interleaving)
        self.path = path
        self.abandoned: list[OutgoingMessage] = []
        self.retransmissions = 0
        self.spurious_recoveries = 0
        self.packet = 0
        self.suspended = False
        self.recovery = Recovery()
        self.reordering_timer = Timer()
        self.probe = LossProbe()
        self._options = options
        self._queue = queue
        self._a_rwnd = peer_a_rwnd
        self.can_abandon = can_abandon
        self._header_length = I_DATA_HEADER_LENGTH if interleaving else DATA_HEADER_LENGTH
        self._max_fragment = options.max_packet_size - 12 - self._header_length & ~3
        self._pacer = Pacer(self._max_fragment + self._header_length)
        self._one_packet_now = False  # one packet may ignore cwnd and pace
        self._paced_out = False  # only the pace holds DATA back
        self._single_packet = False  # after T3-rtx, until something is acknowledged
        self._by_packets = options.scheduler == "round-robin-per-packet"
        self._probing = False
        self._sack_since_t3 = False
        self._forward_tsn_due = False
        self._forward_tsn_sent_at = -1.0e9
        self._forwarded_to = -1
        self._burst_left = self._burst_limit()

    def restart_at(self, tsn: int) -> None:
        """TSNs begin anew with this one; what is outstanding counts as acknowledged (RFC 6525, 5.2.4, G2 and G3)."""
        old = self.outstanding
        self.outstanding = OutstandingData(tsn, old.interleaving)
        self.outstanding.rack.min_rtt = old.rack.min_rtt
        self.outstanding.rate = old.rate
        self.recovery = Recovery()
        self.probe.cancel()
        self.reordering_timer.stop()
        self.path.t3_rtx.stop()
        self._forward_tsn_due = self._probing = self._one_packet_now = False

    def path_changed(self) -> None:
        """The packets take another way: its round trip, window and pace are to be learned."""
        self.path.begin_anew()
        self.outstanding.rack.min_rtt = float("inf")
        self.recovery = Recovery()
        self._pacer = Pacer(self._max_fragment + DATA_HEADER_LENGTH)

    # -- state ------------------------------------------------------------------------------------------------

    @property
    def peer_rwnd(self) -> int:
        """Bytes the peer can still take (rwnd of section 6.2.1)."""
        return max(self._a_rwnd - self.outstanding.flight_payload, 0)

    @property
    def all_acknowledged(self) -> bool:
        """Whether nothing is outstanding."""
        return not self.outstanding

    def next_timeout(self) -> float | None:
        """When one of the sender's own timers expires, T3-rtx aside, or held back packets are due."""
        moment = earliest(self.reordering_timer.expires_at, self.probe.timer.expires_at)
        moment = earliest(moment, self._queue.next_expiry())
        return earliest(moment, self._pacer.next_time()) if self._paced_out else moment

    def handle_timeout(self, now: float) -> None:
        """Do what the sender's own timers are for."""
        if self.reordering_timer.expire(now):
            exhausted: list[OutgoingMessage] = []
            lost = self._detect_losses(now, exhausted)
            if lost:
                self._enter_recovery(now, self.outstanding.flight_size + lost)
            self._give_up(exhausted, RETRANSMISSIONS)
            self.outstanding.advance_peer_ack_point()
            self._check_forward_tsn(now)
        if self.probe.timer.expire(now):
            self._send_loss_probe(now)

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
        duplicates = [unwrap(tsn, cumulative_tsn_ack) for tsn in sack.duplicate_tsns]
        return self._acknowledge(cumulative_tsn_ack, sack.gap_ack_blocks, sack.a_rwnd, duplicates, now)

    def handle_cumulative_ack(self, cumulative_tsn_ack: int, now: float) -> AckInfo | None:
        """Take in the Cumulative TSN Ack of a SHUTDOWN chunk, which has no gaps and no window."""
        outstanding = self.outstanding
        if cumulative_tsn_ack < outstanding.cumulative_tsn_ack or not outstanding.valid(cumulative_tsn_ack, []):
            return None
        if cumulative_tsn_ack == outstanding.cumulative_tsn_ack:
            return AckInfo()
        gaps = outstanding.gaps_above(cumulative_tsn_ack)
        return self._acknowledge(cumulative_tsn_ack, gaps, self._a_rwnd, [], now)

    def _acknowledge(
        self, cumulative_tsn_ack: int, gaps: list[Interval], a_rwnd: int, duplicates: list[int], now: float
    ) -> AckInfo:
        outstanding, path = self.outstanding, self.path
        flight_before = outstanding.flight_size
        info = outstanding.acknowledge(cumulative_tsn_ack, gaps, now)
        self._a_rwnd = a_rwnd
        self._sack_since_t3 = True
        if info.round_trip is not None:
            path.observe_round_trip(info.round_trip)
        if info.bytes_acked:
            self._single_packet = False
            self._probing = False
        if duplicates:
            self._handle_duplicates(duplicates, cumulative_tsn_ack)
        repaired = self.probe.acknowledged(cumulative_tsn_ack, duplicates)
        in_fast_recovery = self.recovery.fast
        if self.recovery.acknowledged(cumulative_tsn_ack):
            outstanding.rack.recovery_ended()
        exhausted: list[OutgoingMessage] = []
        info.bytes_lost = self._detect_losses(now, exhausted)
        if info.bytes_acked:
            path.congestion.on_acknowledged(self._sample(info, flight_before, in_fast_recovery, now))
        if info.bytes_lost or repaired:
            self._enter_recovery(now, flight_before)
        if self.recovery.active and not info.bytes_acked and outstanding.has_lost:
            # A SACK has room for few hundred gaps. When there are more it says nothing new, but one packet has left the
            # network all the same: one may enter it, or flight_size would never shrink.
            self._one_packet_now = True
        if exhausted:
            self._give_up(exhausted, RETRANSMISSIONS)
        outstanding.advance_peer_ack_point()
        self._check_forward_tsn(now)
        self._burst_left = max(self._burst_limit(), 2 * info.bytes_acked)
        if self._options.pacing and path.srtt:
            congestion = path.congestion
            self._pacer.set_rate(congestion.pacing_rate(path.srtt), path.srtt, congestion.pacing_credit, now)
        self._manage_timers(info, now)
        return info

    def _sample(self, info: AckInfo, flight_before: int, in_fast_recovery: bool, now: float) -> AckSample:
        outstanding = self.outstanding
        rate = outstanding.rate
        sample = AckSample(now, info.bytes_acked, flight_before, outstanding.flight_size)
        sample.in_recovery = in_fast_recovery
        sample.min_rtt = outstanding.rack.min_rtt
        sample.delivered = rate.delivered
        sample.bytes_lost = info.bytes_lost
        sample.app_limited = rate.app_limited_until > 0
        newest = info.newest
        if newest is not None:
            sample.prior_delivered = newest.delivered
            if newest.transmissions == 1:
                # Controllers look at every SACK; once per round trip is enough for the RTO, not for them.
                sample.round_trip = now - newest.sent_at
            elapsed = max(now - newest.delivered_at, newest.sent_at - newest.first_sent_at)
            if elapsed > 0 and elapsed >= sample.min_rtt:
                sample.delivery_rate = (rate.delivered - newest.delivered) / elapsed
        return sample

    def _detect_losses(self, now: float, exhausted: list[OutgoingMessage]) -> int:
        """Bytes newly found lost; the rest under suspicion keeps the reordering timer running."""
        outstanding = self.outstanding
        if not outstanding.flight_size:
            self.reordering_timer.stop()
            return 0
        window = outstanding.rack.reordering_window(
            self.recovery.active, outstanding.packets_sacked, self.path.srtt or outstanding.rack.rtt
        )
        lost, wait = outstanding.detect_losses(window, now, exhausted)
        if wait > 0:
            self.reordering_timer.start(now, wait)
        else:
            self.reordering_timer.stop()
        return lost

    def _enter_recovery(self, now: float, flight_before: int) -> None:
        if self.recovery.active:
            return
        congestion = self.path.congestion
        self.recovery.begin(self.outstanding.highest_tsn, fast=True, cwnd=congestion.cwnd, ssthresh=congestion.ssthresh)
        congestion.on_loss(now, flight_before)
        # RFC 9260, 7.2.4: "When a Fast Retransmit is being performed, the sender SHOULD ignore the value of cwnd and
        # SHOULD NOT delay retransmission for this single packet."
        self._one_packet_now = self.outstanding.has_lost
        self.probe.cancel()

    def _handle_duplicates(self, duplicates: list[int], cumulative_tsn_ack: int) -> None:
        """The peer reports what it got twice: were our retransmissions needless?"""
        outstanding = self.outstanding
        outstanding.rack.note_duplicates(outstanding.next_tsn, cumulative_tsn_ack)
        saved = self.recovery.reported_duplicate(duplicates, outstanding.has_lost)
        if saved is not None:
            self.path.congestion.on_spurious(*saved)
            self.spurious_recoveries += 1

    def _manage_timers(self, info: AckInfo, now: float) -> None:
        t3 = self.path.t3_rtx
        if self.all_acknowledged:
            self.probe.cancel()
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
            self._schedule_probe(now)

    # -- T3-rtx and the loss probe ----------------------------------------------------------------------------

    def handle_t3_expired(self, now: float) -> bool:
        """T3-rtx has expired (section 6.3.3).

        Returns:
            Whether it counts as an error of the path and the association.
        """
        path = self.path
        path.back_off()
        self.probe.cancel()
        self.reordering_timer.stop()
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
            congestion = path.congestion
            self.recovery.begin(
                self.outstanding.highest_tsn, fast=False, cwnd=congestion.cwnd, ssthresh=congestion.ssthresh
            )
            congestion.on_timeout(now, self.outstanding.flight_size)
        self._single_packet = True
        self._give_up(self.outstanding.lose_all(), RETRANSMISSIONS)
        self.outstanding.advance_peer_ack_point()
        self._forward_tsn_due = self._can_forward()
        self._burst_left = self._burst_limit()
        self._one_packet_now = True
        path.t3_rtx.start(now, path.rto)
        return counts

    def lose_all_for_handshake(self) -> None:
        """COOKIE ECHO is sent again, and the DATA bundled with it: no sign of congestion."""
        self._give_up(self.outstanding.lose_all(), RETRANSMISSIONS)

    def _schedule_probe(self, now: float) -> None:
        """RFC 8985, 7.2: start the probe timer, "unless it is already in fast recovery, RTO recovery, or segments have
        been SACKed".
        """
        outstanding = self.outstanding
        if not self._options.tail_loss_probe or self.recovery.active or outstanding.packets_sacked:
            self.probe.timer.stop()
            return
        lone = outstanding.flight_size <= self._max_fragment + self._header_length
        self.probe.schedule(now, self.path.srtt, lone, self.path.t3_rtx.expires_at)

    def _send_loss_probe(self, now: float) -> None:
        """RFC 8985, 7.3: new data if there is some, else the last chunk again."""
        outstanding = self.outstanding
        if not outstanding.flight_size or self.recovery.active or outstanding.has_lost:
            return
        if self._probing or self._a_rwnd < self._max_fragment:
            # The peer has no room: its silence is no sign of loss.
            return
        message = self._queue.next_message()
        if message is not None and min(message.remaining, self._max_fragment) <= self.peer_rwnd:
            self.probe.sent(outstanding.next_tsn, is_retransmission=False)
        elif outstanding.lose_last():
            self.probe.sent(outstanding.highest_tsn, is_retransmission=True)
        else:
            return
        self._one_packet_now = True
        # RFC 8985, 7.3: after the probe the RTO timer is armed anew.
        self.path.t3_rtx.start(now, self.path.rto)

    # -- handing out chunks -----------------------------------------------------------------------------------

    def begin_batch(self, now: float) -> None:
        """A writer is about to ask for chunks: drop what has outlived its lifetime and decay an idle window."""
        self._paced_out = False
        if self._by_packets:
            self._queue.packet_done()
        for message in self._queue.expire(now):
            self._abandon_or_drop(message, LIFETIME)
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
        if self.suspended or not self._queue.sendable:
            self._one_packet_now = False
            if self.outstanding.flight_size < self.path.congestion.cwnd:
                self.outstanding.rate.note_app_limited(self.outstanding.flight_size)
            return None
        return self._next_new(room, packet_empty, closing, now)

    def sends_soon(self, now: float) -> bool:
        """Whether there is DATA that the congestion window and the pace let go now."""
        if (self.suspended or not self._queue.sendable) and not self.outstanding.has_lost:
            return False
        return self._one_packet_now or self._window_allows(now)

    def packet_done(self, length: int, now: float) -> None:
        """A packet with DATA was finished; `length` chunk bytes were in it."""
        self.packet += 1
        if self._by_packets:
            self._queue.packet_done()
        self._burst_left -= length
        self._pacer.sent(length)
        self._one_packet_now = False
        self._schedule_probe(now)

    def _next_retransmission(self, room: int, packet_empty: bool, now: float) -> OutstandingChunk | None:
        outstanding = self.outstanding
        while (chunk := outstanding.next_lost()) is not None:
            expires_at = chunk.message.expires_at
            if not self.can_abandon or expires_at is None or now < expires_at:
                break
            self._give_up([chunk.message], LIFETIME)
            self._check_forward_tsn(now)
        if chunk is None or chunk.length > room:
            return None
        if packet_empty and not self._one_packet_now and not self._window_allows(now):
            return None
        outstanding.resend(chunk, now, self.packet)
        self.recovery.resent(chunk.tsn)
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
        size = min(message.remaining, self._max_fragment)
        if size + self._header_length > room:
            return None
        if packet_empty:
            if not self._one_packet_now and not self._window_allows(now):
                return None
        elif size == self._max_fragment:
            return None
        outstanding = self.outstanding
        if outstanding.next_tsn - outstanding.cumulative_tsn_ack > MAX_OUTSTANDING:
            return None
        if size > self.peer_rwnd and not self._may_probe(now):
            return None
        fragment = self._queue.take(message, size)
        chunk = outstanding.send_new(message, fragment, self._wants_sack_now(size, closing), now, self.packet)
        self.path.last_sent = now
        if not self.path.t3_rtx.running:
            self.path.t3_rtx.start(now, self.path.rto)
        return chunk

    def _window_allows(self, now: float) -> bool:
        """RFC 9260, 6.1, B: new data may not be sent with cwnd or more in flight; the last packet may exceed it."""
        flight = self.outstanding.flight_size
        if flight >= self.path.congestion.cwnd or self._burst_left <= 0:
            return False
        if self._single_packet and flight > 0:
            return False
        self._paced_out = not self._pacer.allows(now)
        return not self._paced_out

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
        flight = self.outstanding.flight_size + size + self._header_length
        return flight >= self.path.congestion.cwnd or self.peer_rwnd < size + self._max_fragment

    def _burst_limit(self) -> int:
        """Max.Burst in bytes (section 6.1, D)."""
        return self._options.max_burst * (self._max_fragment + self._header_length)

    # -- partial reliability ----------------------------------------------------------------------------------

    def forward_tsn(self, max_size: int, now: float) -> ForwardTsnChunk | IForwardTsnChunk | None:
        """The FORWARD TSN or I-FORWARD-TSN to send now, or None (RFC 3758, section 3.5)."""
        if not self._forward_tsn_due:
            return None
        self._forward_tsn_due = False
        if not self._can_forward():
            return None
        interleaving = self.outstanding.interleaving
        new_cumulative_tsn, streams = self.outstanding.forward_tsn((max_size - 8) // (8 if interleaving else 4))
        self._forward_tsn_sent_at = now
        self._forwarded_to = new_cumulative_tsn
        # RFC 3758, 3.5, C5: "If a FORWARD TSN is sent, the sender MUST assure that at least one T3-rtx timer is
        # running."
        if not self.path.t3_rtx.running:
            self.path.t3_rtx.start(now, self.path.rto)
        if interleaving:
            return IForwardTsnChunk(new_cumulative_tsn & 0xFFFFFFFF, streams)
        return ForwardTsnChunk(
            new_cumulative_tsn & 0xFFFFFFFF, [(stream_id, ssn) for stream_id, _unordered, ssn in streams]
        )

    def _can_forward(self) -> bool:
        return self.outstanding.advanced_peer_ack_point > self.outstanding.cumulative_tsn_ack

    def _check_forward_tsn(self, now: float) -> None:
        """C3, at once if it says something new, else with "a full RTT before sending a duplicate FORWARD TSN"."""
        if self._can_forward() and (
            self.outstanding.advanced_peer_ack_point > self._forwarded_to
            or now - self._forward_tsn_sent_at >= (self.path.srtt or 0.0)
        ):
            self._forward_tsn_due = True

    def make_room(self, messages: list[OutgoingMessage]) -> None:
        """Give these up for a message of higher priority (RFC 7496, section 3.2)."""
        for message in messages:
            self._abandon_or_drop(message, PRIORITY)

    def _give_up(self, messages: list[OutgoingMessage], policy: int) -> None:
        for message in messages:
            if self.can_abandon and not message.abandoned:
                self._abandon_or_drop(message, policy)

    def _abandon_or_drop(self, message: OutgoingMessage, policy: int) -> None:
        started = message.first_tsn >= 0
        if started and not self.can_abandon:
            return
        message.policy = policy
        self.outstanding.abandon(message)
        self._queue.drop(message)
        self.abandoned.append(message)
        if started:
            self._forward_tsn_due = self._can_forward()
