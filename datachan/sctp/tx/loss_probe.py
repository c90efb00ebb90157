"""The tail loss probe of RFC 8985, section 7: when the last packets of a flight may be lost, one packet finds out, long
before T3-rtx would. It knows times and TSNs.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.timers import Timer

MAX_ACK_DELAY: Final = 0.2
"""Seconds a peer may hold the SACK for a lone packet back (RFC 9260, 6.2)."""


class LossProbe:
    """The probe timer, and the probe under way.

    Attributes:
        timer: the PTO.
        end_tsn: the highest TSN when a probe was sent, -1 when none is under way.
        is_retransmission: the probe was no new data.
    """

    __slots__ = ("end_tsn", "is_retransmission", "timer")

    def __init__(self) -> None:
        self.timer = Timer()
        self.end_tsn = -1
        self.is_retransmission = False

    def schedule(self, now: float, srtt: float | None, lone_packet: bool, t3_expires_at: float | None) -> None:
        """Start the timer after data was sent or acknowledged.

        RFC 8985, 7.2: "First, the default PTO interval is 2*SRTT." A lone packet gets the time its SACK may be delayed
        on top; and the probe never comes later than T3-rtx.
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

    def sent(self, end_tsn: int, *, is_retransmission: bool) -> None:
        """A probe goes out."""
        self.end_tsn = end_tsn
        self.is_retransmission = is_retransmission

    def cancel(self) -> None:
        """Recovery has begun, or nothing is outstanding any more."""
        self.timer.stop()
        self.end_tsn = -1

    def acknowledged(self, cumulative_tsn_ack: int, duplicates: list[int]) -> bool:
        """Whether this SACK shows that the probe repaired a loss (RFC 8985, 7.4.2)."""
        if self.end_tsn < 0 or cumulative_tsn_ack < self.end_tsn:
            return False
        if not self.is_retransmission or self.end_tsn in duplicates:
            self.end_tsn = -1
            return False
        if cumulative_tsn_ack > self.end_tsn:
            self.end_tsn = -1
            return True
        return False
