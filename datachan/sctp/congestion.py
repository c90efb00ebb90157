"""How much may be in flight: congestion controllers behind one native base class (RFC 9260, section 7.2).

A controller knows bytes and sizes only. It never sees chunks, timers or packets: the association tells it what was
acknowledged or lost, and reads `cwnd`. Another algorithm is another subclass.
"""

from __future__ import annotations


class CongestionController:
    """The base of all congestion controllers.

    Attributes:
        cwnd: congestion window in bytes.
        ssthresh: slow-start threshold in bytes.
        max_payload: the path's PMDCS: the bytes of the largest DATA chunk that fits a packet.
    """

    __slots__ = ("cwnd", "max_payload", "ssthresh")

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self.cwnd = 0
        self.ssthresh = 1 << 62

    def on_acknowledged(self, bytes_acked: int, flight_before: int, in_fast_recovery: bool) -> None:
        """New bytes were acknowledged by one SACK.

        Args:
            bytes_acked: chunk bytes newly acknowledged.
            flight_before: bytes outstanding before the SACK arrived.
            in_fast_recovery: whether the sender is in Fast Recovery.
        """

    def on_loss(self) -> None:
        """Fast Retransmit found the first loss of a window."""

    def on_timeout(self) -> None:
        """T3-rtx expired."""

    def on_idle(self, intervals: int) -> None:
        """Nothing was sent for this many RTOs."""

    def on_all_acknowledged(self) -> None:
        """Nothing is outstanding any more."""


class NewReno(CongestionController):
    """Slow start and congestion avoidance as RFC 9260, section 7.2 has them.

    Attributes:
        partial_bytes_acked: bytes acknowledged towards the next growth in congestion avoidance.
        slow_start_limit: L of section 7.2.1: full packets cwnd may grow by per SACK in slow start.
    """

    __slots__ = ("partial_bytes_acked", "slow_start_limit")

    def __init__(self, max_payload: int, initial_cwnd: int = 0, slow_start_limit: int = 1) -> None:
        super().__init__(max_payload)
        # RFC 9260, 7.2.1: "The initial cwnd before data transmission MUST be set to min(4 * PMDCS, max(2 * PMDCS,
        # 4404)) bytes if the peer address is an IPv4 address"
        self.cwnd = initial_cwnd or min(4 * max_payload, max(2 * max_payload, 4404))
        self.partial_bytes_acked = 0
        self.slow_start_limit = slow_start_limit

    def on_acknowledged(self, bytes_acked: int, flight_before: int, in_fast_recovery: bool) -> None:
        """Grow the window as sections 7.2.1 and 7.2.2 allow."""
        fully_used = flight_before + self.max_payload > self.cwnd
        if self.cwnd <= self.ssthresh:
            # RFC 9260, 7.2.1: "use the slow-start algorithm to increase cwnd only if the current congestion window is
            # being fully utilized and the data sender is not in Fast Recovery."
            if fully_used and not in_fast_recovery:
                self.cwnd += min(bytes_acked, self.slow_start_limit * self.max_payload)
            return
        # RFC 9260, 7.2.2: "partial_bytes_acked is reset to (partial_bytes_acked - cwnd).  Next, cwnd is increased by
        # PMDCS."
        self.partial_bytes_acked += bytes_acked
        if self.partial_bytes_acked < self.cwnd:
            return
        if fully_used:
            self.partial_bytes_acked -= self.cwnd
            self.cwnd += self.max_payload
        else:
            self.partial_bytes_acked = self.cwnd

    def on_loss(self) -> None:
        """Halve the window (section 7.2.3)."""
        self.ssthresh = max(self.cwnd // 2, 4 * self.max_payload)
        self.cwnd = self.ssthresh
        self.partial_bytes_acked = 0

    def on_timeout(self) -> None:
        """Start slowly again from one packet (section 7.2.3)."""
        self.ssthresh = max(self.cwnd // 2, 4 * self.max_payload)
        self.cwnd = self.max_payload
        self.partial_bytes_acked = 0

    def on_idle(self, intervals: int) -> None:
        """Decay an unused window.

        RFC 9260, 7.2.1: "the cwnd of the transport address SHOULD be adjusted to max(cwnd / 2, 4 * PMDCS) once per
        RTO.  Before the first cwnd adjustment, the ssthresh of the transport address SHOULD be set to the cwnd."
        """
        floor = 4 * self.max_payload
        if intervals < 1 or self.cwnd <= floor:
            return
        self.ssthresh = self.cwnd
        self.cwnd = max(self.cwnd >> min(intervals, 62), floor)

    def on_all_acknowledged(self) -> None:
        """RFC 9260, 7.2.2: "partial_bytes_acked is initialized to 0." when all data is acknowledged."""
        self.partial_bytes_acked = 0
