"""The sending of DATA on one path: its windows, pacing, loss recovery and probe.

This module decides how many bytes may be sent on the path and when. The retransmission queue chooses the chunks and the
path.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.congestion import AckSample, CarefulResume
from datachan.sctp.congestion.careful_resume import UNVALIDATED
from datachan.sctp.options import AssociationOptions
from datachan.sctp.records.path import Path, max_payload
from datachan.sctp.timers import Timer, earliest
from datachan.sctp.wire.packet import COMMON_HEADER_LENGTH

from .flight import Flight
from .loss_probe import LossProbe
from .pacer import Pacer
from .recovery import Recovery

_LOST_TOO_OFTEN: Final = 3
"""A chunk sent more often than this may be too long for the path."""


class PathSender:
    """The sending of DATA on one path.

    Attributes:
        path: the destination.
        packet_size: the size of the largest packet that is built, common header included.
        max_packet: the number of bytes that chunks may have in such a packet.
        flight: the chunks in flight on the path.
        recovery: the loss episode, if any.
        reordering_timer: runs while a chunk may be late or lost (RFC 8985, section 6.2).
        probe: the tail loss probe.
        pacer: decides when the next packet may be sent.
        burst_left: bytes that may be sent until the next SACK.
        one_packet_now: whether one packet may ignore cwnd and the pacer.
        paced_out: whether only the pacer delays DATA.
        single_packet: whether only one packet may be in flight: after T3-rtx, until a chunk is acknowledged.
        flight_before: bytes in flight before the SACK being processed.
        resume: starts with what the path carried before.
        bytes_lost: bytes found lost since the last sample for the congestion controller.
    """

    __slots__ = (
        "_burst_limit",
        "_fragmented_until",
        "_options",
        "burst_left",
        "bytes_lost",
        "flight",
        "flight_before",
        "max_packet",
        "one_packet_now",
        "paced_out",
        "pacer",
        "packet_size",
        "path",
        "probe",
        "recovery",
        "reordering_timer",
        "resume",
        "single_packet",
    )

    def __init__(self, options: AssociationOptions, path: Path, next_tsn: int) -> None:
        self._options = options
        self.packet_size = path.pmtu.size
        self.max_packet = max_payload(self.packet_size)
        self._burst_limit = options.max_burst * self.max_packet  # Max.Burst in bytes (RFC 9260, 6.1, D)
        self._fragmented_until = -1  # chunks up to this TSN may be too long for a packet
        self.path = path
        self.flight = Flight(next_tsn)
        self.recovery = Recovery()
        self.reordering_timer = Timer()
        self.probe = LossProbe()
        self.pacer = Pacer(self.max_packet)
        self.resume = CarefulResume(options.path_history, path.name)
        self.burst_left = self._burst_limit
        self.one_packet_now = False
        self.paced_out = False
        self.single_packet = False
        self.flight_before = 0
        self.bytes_lost = 0

    def change_options(self, options: AssociationOptions) -> None:
        """Apply changed options."""
        self._options = options
        self._burst_limit = options.max_burst * self.max_packet

    def restart_at(self, tsn: int) -> None:
        """Forget all outstanding chunks and restart TSNs with this one."""
        old = self.flight
        self.flight = Flight(tsn)
        self.flight.rack.min_rtt = old.rack.min_rtt
        self.flight.rate = old.rate
        self.recovery = Recovery()
        self.probe.cancel()
        self.reordering_timer.stop()
        self.path.t3_rtx.stop()
        self.one_packet_now = False
        self.path.pmtu.held = False

    def path_changed(self, options: AssociationOptions) -> None:
        """Forget the round trip, window, pace and PMTU because the packets take another route."""
        self.path.reset(options)
        self.flight.rack.min_rtt = float("inf")
        self.recovery = Recovery()
        self.path.t3_rtx.hastened = False
        self.pacer = Pacer(self.max_packet)
        self.resume = CarefulResume(options.path_history, self.path.name)

    def packet_size_changed(self, last_tsn: int) -> None:
        """Adopt the path's new packet size.

        Chunks that already have a TSN keep their size. A chunk that has become too long is sent alone, in a packet that
        may be fragmented by IP.

        Args:
            last_tsn: the highest TSN outstanding, or -1 when nothing is.
        """
        pmtu = self.path.pmtu
        if pmtu.size < self.packet_size:
            self._fragmented_until = last_tsn
            pmtu.held = last_tsn >= 0
        self.packet_size = pmtu.size
        self.max_packet = max_payload(pmtu.size)
        self._burst_limit = self._options.max_burst * self.max_packet
        self.pacer.set_max_packet(self.max_packet)
        self.path.congestion.set_max_payload(self.max_packet)

    @property
    def has_outstanding(self) -> bool:
        """Whether a chunk is in flight, or waits for retransmission, on this path."""
        return bool(self.flight.chunks) or self.flight.has_lost

    def next_timeout(self) -> float | None:
        """Return when one of its own timers, other than T3-rtx, expires or the next paced packet is due."""
        moment = earliest(self.reordering_timer.expires_at, self.probe.timer.expires_at)
        moment = earliest(moment, self.path.pmtu.timer.expires_at)
        return earliest(moment, self.pacer.next_time()) if self.paced_out else moment

    # -- what may leave ------------------------------------------------------------------------------------------------

    def start_batch(self) -> None:
        """Prepare for a series of packets."""
        self.paced_out = False
        if self.pacer.active:
            # RFC 9260, 6.1, D: "When the time comes for the sender to transmit new DATA chunks, the protocol parameter
            # 'Max.Burst' SHOULD be used to limit the number of packets sent." Here the pacer decides when that time
            # comes. Without it, a window that was drained would be filled by only Max.Burst packets per round trip.
            self.burst_left = max(self.burst_left, self._burst_limit)

    def window_allows(self, now: float) -> bool:
        """Return whether new data may be sent.

        Not with cwnd or more in flight, which the last packet may exceed (RFC 9260, 6.1, B).
        """
        flight = self.flight.size
        if flight >= self.path.congestion.cwnd:
            self.pacer.forgo_credit(now)
            return False
        if self.burst_left <= 0:
            return False
        if self.single_packet and flight > 0:
            return False
        self.paced_out = not self.pacer.allows(now)
        return not self.paced_out

    def jump(self, waiting: int, now: float) -> None:
        """Start with half of what the path carried before, if `waiting` bytes are more than the window allows.

        RFC 9959, 3.2: "this transition MAY be deferred to the time at which more data is sent than would have been
        normally permitted by the CC algorithm". Section 3.3 has the jump paced, which paths with a very short round
        trip are not.
        """
        path, flight = self.path, self.flight
        srtt = path.srtt
        if srtt is None or not self.pacer.active or not path.confirmed:
            return
        # The first packet was alone, so that the peer delayed its SACK. The handshake has measured the round trip, too.
        round_trip = min(srtt, flight.rack.min_rtt)
        if waiting + flight.size > path.congestion.cwnd and self.resume.start_jump(
            path.congestion, flight.size, round_trip, now
        ):
            self._set_pace(now)

    def note_app_limited(self) -> None:
        """Record that there is nothing to send; if the window has room, the application limits the rate."""
        size = self.flight.size
        if size < self.path.congestion.cwnd:
            self.flight.rate.note_app_limited(size)

    def restart_after_idle(self, now: float) -> None:
        """Decay the window and allow a burst because data is about to be sent while nothing is outstanding."""
        self.path.decay_when_idle(now)
        if not self.pacer.active:
            # The handshake has measured the round trip, so that the first window is paced, too.
            self._set_pace(now)
        # The burst that the last SACK allowed stays allowed. Otherwise a peer that acknowledges a whole window at once
        # would limit the sender to Max.Burst packets per round trip permanently.
        self.burst_left = max(self.burst_left, self._burst_limit)

    def charge_packet(self, length: int) -> None:
        """Charge a finished packet with `length` bytes of chunks to the burst and the pacing budget."""
        self.burst_left -= length
        self.pacer.charge(length)
        self.one_packet_now = False

    def record_retransmission(self, length: int, transmissions: int, now: float) -> None:
        """Record that a chunk of `length` bytes was sent for the `transmissions`-th time."""
        if transmissions > _LOST_TOO_OFTEN:
            self.path.pmtu.check_size(length + COMMON_HEADER_LENGTH, now)

    # -- what was acknowledged -----------------------------------------------------------------------------------------

    def record_acknowledgment(self, cumulative_tsn_ack: int) -> None:
        """Record that a SACK acknowledged a chunk that was sent on this path."""
        self.single_packet = self.path.unanswered = False
        pmtu = self.path.pmtu
        pmtu.data_acknowledged()
        if pmtu.held and cumulative_tsn_ack >= self._fragmented_until:
            pmtu.held = False

    def open_burst(self, now: float) -> None:
        """Allow a burst after a SACK and adapt the pace to the window.

        The burst is twice the bytes the SACK acknowledged, and at least Max.Burst.
        """
        self.burst_left = max(self._burst_limit, 2 * self.flight.bytes_acked)
        self._set_pace(now)

    def _set_pace(self, now: float) -> None:
        path = self.path
        if self._options.pacing and path.srtt:
            congestion, resume = path.congestion, self.resume
            rate = resume.jump / path.srtt if resume.phase == UNVALIDATED else congestion.pacing_rate(path.srtt)
            self.pacer.set_rate(rate, path.srtt, congestion.pacing_credit, now, self.flight.rack.min_rtt)

    def sample(self, in_fast_recovery: bool, now: float) -> AckSample:
        """Return the congestion controller's input for a SACK that the flight has processed."""
        flight = self.flight
        rate = flight.rate
        sample = AckSample(now, flight.bytes_acked, self.flight_before, flight.size)
        sample.in_recovery = in_fast_recovery
        sample.min_rtt = flight.rack.min_rtt
        sample.delivered = rate.delivered
        sample.bytes_lost = self.bytes_lost
        self.bytes_lost = 0
        sample.app_limited = rate.app_limited_until > 0
        newest = flight.newest
        if newest is not None:
            sample.prior_delivered = newest.delivered
            if newest.transmissions == 1:
                # The RTO is updated once per round trip; congestion controllers need a sample of every SACK.
                sample.round_trip = now - newest.sent_at
            elapsed = max(now - newest.delivered_at, newest.sent_at - newest.first_sent_at)
            if elapsed > 0 and elapsed >= sample.min_rtt:
                sample.delivery_rate = (rate.delivered - newest.delivered) / elapsed
            flight.newest = None  # it refers to the flight, which otherwise only the garbage collector would free
        return sample

    # -- loss ----------------------------------------------------------------------------------------------------------

    def reordering_window(self) -> float:
        """Return the seconds to wait for chunks that may only be late."""
        flight = self.flight
        return flight.rack.reordering_window(
            self.recovery.active, flight.packets_sacked, self.path.srtt or flight.rack.rtt
        )

    def enter_recovery(self, highest_tsn: int, flight_before: int, now: float) -> None:
        """Start Fast Recovery after a loss; the window shrinks once per episode."""
        if self.recovery.active:
            return
        congestion = self.path.congestion
        self.recovery.start_episode(highest_tsn, fast=True, cwnd=congestion.cwnd, ssthresh=congestion.ssthresh)
        if self.resume.on_congestion():
            congestion.on_loss(now, flight_before)
        # RFC 9260, 7.2.4: "When a Fast Retransmit is being performed, the sender SHOULD ignore the value of cwnd and
        # SHOULD NOT delay retransmission for this single packet."
        self.one_packet_now = self.flight.has_lost
        self.probe.cancel()

    def reduce_after_timeout(self, highest_tsn: int, now: float) -> None:
        """Shrink the window after T3-rtx (RFC 9260, sections 6.3.3 and 7.2.3)."""
        congestion = self.path.congestion
        self.recovery.start_episode(highest_tsn, fast=False, cwnd=congestion.cwnd, ssthresh=congestion.ssthresh)
        self.resume.on_timeout()
        congestion.on_timeout(now, self.flight.size)
        self.path.pmtu.data_timed_out()

    def resume_after_timeout(self) -> None:
        """Allow one packet at once, and then one at a time until a chunk is acknowledged."""
        self.single_packet = True
        self.burst_left = self._burst_limit
        self.one_packet_now = True

    def schedule_probe(self, now: float) -> None:
        """Start the probe timer (RFC 8985, 7.2).

        Unlike RFC 8985, which does not start it if the connection is "already in fast recovery, RTO recovery, or
        segments have been SACKed", and like QUIC (RFC 9002, 6.2), it also runs in fast recovery. Where a packet in a
        hundred is lost, hardly any transfer ends outside of recovery. A retransmission that is lost at the end of the
        transfer would wait for T3-rtx.
        """
        flight = self.flight
        if not self._options.tail_loss_probe or (self.recovery.active and not self.recovery.fast):
            self.probe.timer.stop()
            return
        last = flight.size <= self.max_packet
        delayed = last and not self.recovery.active and not self._is_acknowledged_at_once()
        self.probe.schedule(now, self.path.srtt, self.path.t3_rtx.expires_at, last_packet=last, delayed=delayed)

    def _is_acknowledged_at_once(self) -> bool:
        """Return whether the peer sends a SACK as soon as the first chunk in flight arrives.

        It fills a gap then (RFC 9260, 6.7), or has the I bit because it was retransmitted.
        """
        flight = self.flight
        if flight.packets_sacked:
            return True
        return bool(flight.chunks) and next(iter(flight.chunks.values())).transmissions > 1
