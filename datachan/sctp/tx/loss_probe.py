"""The tail loss probe (RFC 8985, section 7): one packet that reveals the loss of the last packets of a flight.

The probe detects such a loss long before T3-rtx expires. This module knows times and TSNs.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.timers import Timer

MAX_ACK_DELAY: Final = 0.2
"""Seconds by which a peer may delay the SACK for a lone packet (RFC 9260, 6.2)."""


class LossProbe:
    """The probe timer and the outstanding probe.

    Attributes:
        timer: the PTO.
        end_tsn: the highest TSN when the probe was sent; -1 when no probe is outstanding.
        may_repair: whether the probe may repair a loss that has not reduced the window yet.
    """

    __slots__ = ("end_tsn", "may_repair", "timer")

    def __init__(self) -> None:
        self.timer = Timer()
        self.end_tsn = -1
        self.may_repair = False

    def schedule(self, now: float, srtt: float | None, lone_packet: bool, t3_expires_at: float | None) -> None:
        """Start the timer after data was sent or acknowledged.

        RFC 8985, 7.2: "First, the default PTO interval is 2*SRTT." A lone packet gets the time by which its SACK may be
        delayed in addition. A probe that would come later than T3-rtx is not scheduled.
        """
        if self.end_tsn >= 0:
            return
        timeout = 1.0 if srtt is None else 2 * srtt
        if lone_packet:
            timeout += MAX_ACK_DELAY
        moment = now + timeout
        if t3_expires_at is not None and t3_expires_at <= moment:
            self.timer.expires_at = None
        else:
            self.timer.expires_at = moment

    def record_sent(self, end_tsn: int, *, may_repair: bool) -> None:
        """Record that a probe is being sent."""
        self.end_tsn = end_tsn
        self.may_repair = may_repair

    def cancel(self) -> None:
        """Stop the timer and forget the outstanding probe."""
        self.timer.stop()
        self.end_tsn = -1

    def detect_repaired_loss(self, cumulative_tsn_ack: int, duplicates: list[int]) -> bool:
        """Return whether this SACK shows that the probe repaired a loss (RFC 8985, 7.4.2)."""
        if self.end_tsn < 0 or cumulative_tsn_ack < self.end_tsn:
            return False
        if not self.may_repair or self.end_tsn in duplicates:
            self.end_tsn = -1
            return False
        if cumulative_tsn_ack > self.end_tsn:
            self.end_tsn = -1
            return True
        return False
