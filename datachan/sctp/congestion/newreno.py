"""NewReno: slow start and congestion avoidance exactly as RFC 9260, section 7.2, specifies them."""

from __future__ import annotations

from .base import AckSample, CongestionController


class NewReno(CongestionController):
    """The congestion controller of RFC 9260.

    Attributes:
        partial_bytes_acked: bytes acknowledged towards the next growth in congestion avoidance.
        slow_start_limit: full packets by which cwnd may grow per SACK in slow start (L of section 7.2.1).
    """

    __slots__ = ("partial_bytes_acked", "slow_start_limit")

    def __init__(self, max_payload: int, initial_cwnd: int = 0, slow_start_limit: int = 1) -> None:
        super().__init__(max_payload, initial_cwnd)
        self.partial_bytes_acked = 0
        self.slow_start_limit = slow_start_limit

    def on_acknowledged(self, sample: AckSample) -> None:
        """Grow the window as sections 7.2.1 and 7.2.2 allow."""
        fully_used = sample.flight_before + self.max_payload > self.cwnd
        if self.in_slow_start:
            # RFC 9260, 7.2.1: "use the slow-start algorithm to increase cwnd only if the current congestion window is
            # being fully utilized and the data sender is not in Fast Recovery."
            if fully_used and not sample.in_recovery:
                self.cwnd += min(sample.bytes_acked, self.slow_start_limit * self.max_payload)
            return
        # RFC 9260, 7.2.2: "partial_bytes_acked is reset to (partial_bytes_acked - cwnd).  Next, cwnd is increased by
        # PMDCS."
        self.partial_bytes_acked += sample.bytes_acked
        if self.partial_bytes_acked < self.cwnd:
            return
        if fully_used:
            self.partial_bytes_acked -= self.cwnd
            self.cwnd += self.max_payload
        else:
            self.partial_bytes_acked = self.cwnd

    def on_loss(self, now: float, flight_size: int) -> None:
        """Halve the window (section 7.2.3)."""
        self.ssthresh = max(self.cwnd // 2, 4 * self.max_payload)
        self.cwnd = self.ssthresh
        self.partial_bytes_acked = 0

    def on_timeout(self, now: float, flight_size: int) -> None:
        """Restart slow start from one packet (section 7.2.3)."""
        self.ssthresh = max(self.cwnd // 2, 4 * self.max_payload)
        self.cwnd = self.max_payload
        self.partial_bytes_acked = 0

    def on_all_acknowledged(self) -> None:
        """Reset `partial_bytes_acked`, because all data is acknowledged.

        RFC 9260, 7.2.2: "partial_bytes_acked is initialized to 0."
        """
        self.partial_bytes_acked = 0
