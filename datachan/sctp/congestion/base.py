"""What every congestion controller is told and what it answers."""

from __future__ import annotations

from typing import Final

SLOW_START_PACE: Final = 2.0
PACE: Final = 1.05
"""Windows per round trip at which packets leave: enough to grow by, and to catch up on what was held back."""

USED_PERIOD: Final = 1.0
"""Seconds for which the largest flight counts as the window that was used (the sampling period of RFC 7661)."""


class AckSample:
    """What one SACK says to a congestion controller.

    Attributes:
        now: monotonic seconds.
        bytes_acked: chunk bytes acknowledged for the first time.
        flight_before: bytes in flight before the SACK.
        flight_after: bytes in flight after it.
        in_recovery: whether the sender is in Fast Recovery.
        round_trip: a round-trip measurement in seconds, or None.
        min_rtt: the shortest round trip of late, in seconds.
        delivered: bytes delivered so far.
        prior_delivered: bytes that had been delivered when the newest acknowledged chunk was sent.
        delivery_rate: bytes per second, or 0.0 without a sample.
        app_limited: whether the sample was taken while the application had too little to send.
        bytes_lost: bytes found lost with this SACK.
    """

    __slots__ = (
        "app_limited",
        "bytes_acked",
        "bytes_lost",
        "delivered",
        "delivery_rate",
        "flight_after",
        "flight_before",
        "in_recovery",
        "min_rtt",
        "now",
        "prior_delivered",
        "round_trip",
    )

    def __init__(self, now: float, bytes_acked: int, flight_before: int, flight_after: int) -> None:
        self.now = now
        self.bytes_acked = bytes_acked
        self.flight_before = flight_before
        self.flight_after = flight_after
        self.in_recovery = False
        self.round_trip: float | None = None
        self.min_rtt = 0.0
        self.delivered = 0
        self.prior_delivered = 0
        self.delivery_rate = 0.0
        self.app_limited = False
        self.bytes_lost = 0


class CongestionController:
    """The base of all congestion controllers.

    Attributes:
        cwnd: congestion window in bytes.
        ssthresh: slow-start threshold in bytes.
        max_payload: the path's PMDCS: the bytes of the largest DATA chunk that fits a packet.
        pacing_credit: seconds worth of packets that may be caught up on at once after a late timer.
    """

    __slots__ = ("cwnd", "max_payload", "pacing_credit", "ssthresh")

    def __init__(self, max_payload: int, initial_cwnd: int = 0) -> None:
        self.max_payload = max_payload
        # RFC 9260, 7.2.1: "The initial cwnd before data transmission MUST be set to min(4 * PMDCS, max(2 * PMDCS,
        # 4404)) bytes if the peer address is an IPv4 address"
        self.cwnd = initial_cwnd or min(4 * max_payload, max(2 * max_payload, 4404))
        self.ssthresh = 1 << 62
        self.pacing_credit = 0.002

    @property
    def in_slow_start(self) -> bool:
        """Whether the window still grows with every acknowledgment."""
        return self.cwnd <= self.ssthresh

    def on_acknowledged(self, sample: AckSample) -> None:
        """Data was acknowledged by one SACK."""

    def on_loss(self, now: float, flight_size: int) -> None:
        """The first loss of a window was found; `flight_size` is what was in flight before."""

    def on_timeout(self, now: float, flight_size: int) -> None:
        """T3-rtx expired; `flight_size` is what was in flight before."""

    def on_idle(self, intervals: int) -> None:
        """Nothing was sent for this many RTOs.

        RFC 9260, 7.2.1: "the cwnd of the transport address SHOULD be adjusted to max(cwnd / 2, 4 * PMDCS) once per RTO.
        Before the first cwnd adjustment, the ssthresh of the transport address SHOULD be set to the cwnd."
        """
        floor = 4 * self.max_payload
        if intervals < 1 or self.cwnd <= floor:
            return
        self.ssthresh = self.cwnd
        self.cwnd = max(self.cwnd >> min(intervals, 62), floor)

    def on_all_acknowledged(self) -> None:
        """Nothing is outstanding any more."""

    def on_spurious(self, cwnd: int, ssthresh: int) -> None:
        """The last loss or timeout was none: these were the values before it."""
        self.cwnd = max(self.cwnd, cwnd)
        self.ssthresh = max(self.ssthresh, ssthresh)

    def pacing_rate(self, srtt: float) -> float:
        """Bytes per second to spread packets over; `srtt` is positive.

        Twice the window per round trip while it doubles, hardly more than the window afterwards and while loss is
        repaired, when it is as large as ssthresh: after every stall of either host the window leaves in a train with a
        gap behind it, and a train much faster than the path overflows a short queue though the path is not full.
        """
        return (SLOW_START_PACE if self.cwnd < self.ssthresh else PACE) * self.cwnd / srtt

    def set_max_payload(self, max_payload: int) -> None:
        """The path's packets became larger or smaller.

        RFC 8899, 3: "An update to the PLPMTU (or MPS) MUST NOT increase the congestion window measured in bytes
        [RFC4821]."
        """
        self.max_payload = max_payload
