"""The base of all congestion controllers: the samples they receive and the windows they compute."""

from __future__ import annotations

from typing import Final

SLOW_START_PACE: Final = 2.0
PACE: Final = 1.05
"""Windows per round trip at which packets are paced: more than 1, so that the window can grow and delays are made up
for."""

UNLIMITED: Final = 1 << 62
"""An ssthresh that no window reaches: no loss has set one yet."""


class AckSample:
    """The information of one SACK for a congestion controller.

    Attributes:
        now: monotonic seconds.
        bytes_acked: chunk bytes acknowledged for the first time.
        flight_before: bytes in flight before the SACK.
        flight_after: bytes in flight after it.
        in_recovery: whether the sender is in Fast Recovery.
        round_trip: a round-trip measurement in seconds, or None.
        min_rtt: the shortest recent round trip in seconds.
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
        pacing_credit: seconds of lateness of a timer that the pacer lets the sender make up for.
    """

    __slots__ = ("_initial_cwnd", "cwnd", "max_payload", "pacing_credit", "ssthresh")

    def __init__(self, max_payload: int, initial_cwnd: int = 0) -> None:
        self.max_payload = max_payload
        # RFC 9260, 7.2.1: "The initial cwnd before data transmission MUST be set to min(4 * PMDCS, max(2 * PMDCS,
        # 4404)) bytes if the peer address is an IPv4 address"
        self.cwnd = initial_cwnd or min(4 * max_payload, max(2 * max_payload, 4404))
        self._initial_cwnd = self.cwnd
        self.ssthresh = UNLIMITED
        self.pacing_credit = 0.002

    @property
    def in_slow_start(self) -> bool:
        """Whether the window still grows with every acknowledgment."""
        return self.cwnd <= self.ssthresh

    def on_acknowledged(self, sample: AckSample) -> None:
        """Adapt the window to one SACK that acknowledged data."""

    def on_loss(self, now: float, flight_size: int) -> None:
        """Shrink the window after the first loss in it; `flight_size` is the bytes in flight before."""

    def on_timeout(self, now: float, flight_size: int) -> None:
        """Shrink the window after T3-rtx expired; `flight_size` is the bytes in flight before."""

    def on_idle(self, intervals: int) -> None:
        """Decay the window after this many RTOs without sending.

        RFC 9260, 7.2.1: "the cwnd of the transport address SHOULD be adjusted to max(cwnd / 2, 4 * PMDCS) once per RTO.
        Before the first cwnd adjustment, the ssthresh of the transport address SHOULD be set to the cwnd."

        A larger initial window is the floor. RFC 5681, 4.1: "For the purposes of this standard, we define RW =
        min(IW,cwnd)." An application that pauses would otherwise be slower than one that connects again.
        """
        floor = max(4 * self.max_payload, self._initial_cwnd)
        if intervals < 1 or self.cwnd <= floor:
            return
        self.ssthresh = self.cwnd
        self.cwnd = max(self.cwnd >> min(intervals, 62), floor)  # 62 bits: more would shift out any window

    def on_all_acknowledged(self) -> None:
        """Apply that all data is acknowledged."""

    def on_spurious(self, cwnd: int, ssthresh: int) -> None:
        """Restore the windows from before a loss or timeout that was a false alarm."""
        self.cwnd = max(self.cwnd, cwnd)
        self.ssthresh = max(self.ssthresh, ssthresh)

    # -- Careful Resume ------------------------------------------------------------------------------------------------

    def is_start_congested(self, lost: int, total: int) -> bool:
        """Return whether `lost` bytes of the `total` sent since the window has jumped are a sign of congestion."""
        return lost > 0

    def resume(self, cwnd: int, carried: int, rate: float) -> None:
        """Adopt a larger window; slow start goes on from there.

        Args:
            cwnd: the window in bytes.
            carried: the window that the path has carried.
            rate: bytes per second at which the window leaves.
        """
        self.cwnd = cwnd

    def retreat(self, cwnd: int, ssthresh: int) -> None:
        """Shrink the window, because the path no longer carries what it has carried before."""
        self.cwnd = min(self.cwnd, cwnd)
        self.ssthresh = ssthresh

    def pacing_rate(self, srtt: float) -> float:
        """Return the bytes per second at which packets are sent; `srtt` is positive.

        The rate is two windows per round trip while the window doubles, and hardly more than one afterwards and during
        recovery, when the window equals ssthresh. After a stall of either host the window leaves as one train with a
        gap behind it. A train much faster than the path overflows a short queue although the path is not full.
        """
        return (SLOW_START_PACE if self.cwnd < self.ssthresh else PACE) * self.cwnd / srtt

    def set_max_payload(self, max_payload: int) -> None:
        """Adopt the path's new packet size.

        RFC 8899, 3: "An update to the PLPMTU (or MPS) MUST NOT increase the congestion window measured in bytes
        [RFC4821]."
        """
        self.max_payload = max_payload
