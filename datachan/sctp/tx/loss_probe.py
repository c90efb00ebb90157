"""The tail loss probe (RFC 8985, section 7): one packet that reveals the loss of the last packets of a flight.

The probe detects such a loss long before T3-rtx expires. This module knows times and TSNs.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.timers import Timer

MAX_ACK_DELAY: Final = 0.2
"""Seconds by which a peer may delay the SACK for a lone packet (RFC 9260, 6.2)."""

MOST_PROBES: Final = 3
"""Probes for one packet that is left of a flight, each after twice the time of the one before."""

_MOST_DOUBLINGS: Final = 6
"""A probe that waits longer comes after T3-rtx, which backs off by itself."""


class LossProbe:
    """The probe timer and the outstanding probe.

    Attributes:
        timer: the PTO.
        end_tsn: the highest TSN when the probe was sent; -1 when no probe is outstanding.
        may_repair: whether the probe may repair a loss that has not reduced the window yet.
        sent: the number of probes since the last one was acknowledged.
        doublings: how often the time until a probe is doubled, because probes before were superfluous.
    """

    __slots__ = ("_last_tsn", "doublings", "end_tsn", "may_repair", "sent", "timer")

    def __init__(self) -> None:
        self.timer = Timer()
        self.end_tsn = -1
        self.may_repair = False
        self.sent = 0
        self.doublings = 0
        self._last_tsn = -1  # the chunk that was sent last as a probe, until the peer reports it as a duplicate

    def schedule(
        self, now: float, srtt: float | None, t3_expires_at: float | None, *, last_packet: bool, delayed: bool
    ) -> None:
        """Start the timer after data was sent or acknowledged.

        RFC 8985, 7.2: "First, the default PTO interval is 2*SRTT." A probe that would come later than T3-rtx is not
        scheduled. RFC 8985 sends one probe. As in QUIC (RFC 9002, 6.2.1), more follow for the last packet of a flight:
        where a packet in twenty is lost, a transfer whose end waits for T3-rtx takes half as long again.

        Args:
            now: monotonic seconds.
            srtt: the smoothed round trip in seconds, if measured.
            t3_expires_at: when T3-rtx expires, if it runs.
            last_packet: whether one packet is left in flight.
            delayed: whether the peer may delay the SACK for it.
        """
        if self.sent >= (MOST_PROBES if last_packet else 1):
            return
        timeout = (1.0 if srtt is None else 2 * srtt) * (1 << (self.sent + self.doublings))
        if delayed:
            timeout += MAX_ACK_DELAY
        moment = now + timeout
        if t3_expires_at is not None and t3_expires_at <= moment:
            self.timer.expires_at = None
        else:
            self.timer.expires_at = moment

    def record_sent(self, end_tsn: int, *, may_repair: bool) -> None:
        """Record that a probe is being sent."""
        self.end_tsn = self._last_tsn = end_tsn
        self.may_repair = may_repair
        self.sent += 1

    def note_duplicates(self, duplicates: list[int]) -> None:
        """Wait longer if the peer reports that a probe was superfluous.

        The round trip has become longer than the probe allows for, as when one of the peers has more to do than it can.
        A chunk that was sent again yields no measurement. So each message would cost probes, and that adds to the load.
        RFC 9260, 6.3.3 keeps the RTO backed off until "a new RTT measurement is obtained", and so is the probe.
        """
        if self._last_tsn in duplicates:
            self._last_tsn = -1
            self.doublings = min(self.doublings + 1, _MOST_DOUBLINGS)

    def round_trip_measured(self) -> None:
        """Return to the usual time, because SRTT has a new measurement."""
        self.doublings = 0

    def cancel(self) -> None:
        """Stop the timer and forget the outstanding probe."""
        self.timer.stop()
        self._forget()

    def _forget(self) -> None:
        self.end_tsn = -1
        self.sent = 0

    def detect_repaired_loss(self, cumulative_tsn_ack: int, duplicates: list[int]) -> bool:
        """Return whether this SACK shows that the probe repaired a loss (RFC 8985, 7.4.2)."""
        if self.end_tsn < 0 or cumulative_tsn_ack < self.end_tsn:
            return False
        if not self.may_repair or self.end_tsn in duplicates:
            self._forget()
            return False
        if cumulative_tsn_ack > self.end_tsn:
            self._forget()
            return True
        return False
