"""CUBIC (RFC 9438) with HyStart++ (RFC 9406), the congestion controller of most TCP stacks.

The window grows with the time since the last loss, not per round trip, so that long paths fill as fast as short ones.
Slow start ends when round trips begin to grow, before the queue overflows.
"""

from __future__ import annotations

from typing import Final

from .base import UNLIMITED, USED_PERIOD, AckSample, CongestionController
from .cubic_curve import BETA_CUBIC, CubicCurve

# RFC 9406, 4.3
MIN_RTT_THRESH: Final = 0.004
MAX_RTT_THRESH: Final = 0.016
MIN_RTT_DIVISOR: Final = 8
N_RTT_SAMPLE: Final = 8
CSS_GROWTH_DIVISOR: Final = 4
CSS_ROUNDS: Final = 5
RATE_GROWTH: Final = 1.25
"""Growth of the delivery rate per round below which the path counts as full; in slow start it doubles before."""


class HyStart:
    """HyStart++, which finds the end of slow start (RFC 9406, section 4.2).

    Attributes:
        in_css: whether it is in Conservative Slow Start, where the window grows a quarter as fast.
        ended: whether slow start is over and congestion avoidance follows.
    """

    __slots__ = (
        "_baseline",
        "_css_rounds",
        "_current_min",
        "_current_rate",
        "_last_min",
        "_last_rate",
        "_round_ends_at",
        "_samples",
        "ended",
        "in_css",
    )

    def __init__(self) -> None:
        self.in_css = False
        self.ended = False
        self._round_ends_at = 0
        self._last_min = float("inf")
        self._current_min = float("inf")
        self._samples = 0
        self._baseline = float("inf")
        self._css_rounds = 0
        self._current_rate = 0.0
        self._last_rate = 0.0

    def add_sample(self, sample: AckSample, round_trip: float) -> None:
        """Process one round-trip sample; a round ends when the data in flight at its start is delivered."""
        if sample.delivered >= self._round_ends_at:
            self._new_round(sample)
        self._current_min = min(self._current_min, round_trip)
        self._current_rate = max(self._current_rate, sample.delivery_rate)
        self._samples += 1
        if self._samples < N_RTT_SAMPLE or self._last_min == float("inf"):
            return
        if not self.in_css:
            threshold = max(MIN_RTT_THRESH, min(self._last_min / MIN_RTT_DIVISOR, MAX_RTT_THRESH))
            if self._current_min >= self._last_min + threshold:
                self._baseline = self._current_min
                self.in_css = True
                self._css_rounds = 0
                self.ended = self._path_is_full()
        elif self._current_min < self._baseline:
            # The growth was temporary: resume slow start.
            self._baseline = float("inf")
            self.in_css = False

    def _path_is_full(self) -> bool:
        """Return whether a window that doubled within a round hardly raised the delivery rate.

        RFC 9406 waits five rounds, in which the window still grows, because growing round trips may be an accident. The
        delivery rate decides sooner; on a long path those rounds would cost thousands of lost packets.
        """
        return 0 < self._current_rate < RATE_GROWTH * self._last_rate

    def _new_round(self, sample: AckSample) -> None:
        self._round_ends_at = sample.delivered + sample.flight_after
        self._last_min = self._current_min
        self._current_min = float("inf")
        self._samples = 0
        if self.in_css:
            self._css_rounds += 1
            if self._css_rounds >= CSS_ROUNDS or self._path_is_full():
                self.ended = True
        self._last_rate = self._current_rate
        self._current_rate = 0.0


class Cubic(CongestionController):
    """The congestion controller of RFC 9438."""

    __slots__ = ("_curve", "_hystart", "_slow_start_limit", "_used", "_used_at")

    def __init__(self, max_payload: int, initial_cwnd: int = 0, slow_start_limit: int = 1) -> None:
        super().__init__(max_payload, initial_cwnd)
        self._slow_start_limit = slow_start_limit
        self._hystart = HyStart()
        self._curve = CubicCurve()
        self._used = 0
        self._used_at = 0.0

    def on_acknowledged(self, sample: AckSample) -> None:
        """Grow the window if it is used."""
        if sample.flight_before >= self._used or sample.now - self._used_at > USED_PERIOD:
            self._used = sample.flight_before
            self._used_at = sample.now
        if sample.in_recovery:
            return
        # The largest recent flight decides, not this one: after a host stalls the flight is small for a while.
        fully_used = self._used + 2 * self.max_payload > self.cwnd
        if self.in_slow_start:
            self._slow_start(sample, fully_used)
        elif fully_used:
            self._avoid_congestion(sample)
        else:
            # RFC 9438, 5.8: time in which the application did not fill the window does not count as growth.
            self._curve.restart()

    def _slow_start(self, sample: AckSample, fully_used: bool) -> None:
        if sample.round_trip is not None and self.ssthresh >= UNLIMITED:
            self._hystart.add_sample(sample, sample.round_trip)
            if self._hystart.ended:
                self.ssthresh = self.cwnd
                return
        if fully_used:
            growth = min(sample.bytes_acked, self._slow_start_limit * self.max_payload)
            self.cwnd += growth // CSS_GROWTH_DIVISOR if self._hystart.in_css else growth

    def _avoid_congestion(self, sample: AckSample) -> None:
        packets = self.cwnd / self.max_payload
        grown = self._curve.grow(packets, sample.bytes_acked / self.cwnd, sample.min_rtt, sample.now)
        self.cwnd = int(grown * self.max_payload)

    def on_loss(self, now: float, flight_size: int) -> None:
        """Reduce the window, with fast convergence (RFC 9438, sections 4.6 and 4.7)."""
        self._curve.reduce(self.cwnd / self.max_payload, BETA_CUBIC)
        # Section 4.6: ssthresh follows the flight size, so that an unused window is not a reserve. But a flight may be
        # small only because a host stalled and then lost a packet of its burst. So the largest recent flight and half
        # the window count, too.
        reference = min(self.cwnd, max(flight_size, self._used, self.cwnd // 2))
        self.ssthresh = max(int(reference * BETA_CUBIC), 2 * self.max_payload)
        self.cwnd = self.ssthresh

    def on_timeout(self, now: float, flight_size: int) -> None:
        """Reduce the window as after a loss, then restart slow start from one packet (RFC 9438, 4.8).

        A second timeout without an acknowledgment in between carries no new information. ssthresh then stays, as in RFC
        5681, section 3.1, so that a path that was interrupted for seconds is filled as before once it works again.
        """
        if self.cwnd <= self.max_payload:
            return
        self.on_loss(now, flight_size)
        self.cwnd = self.max_payload

    def on_idle(self, intervals: int) -> None:
        """Decay an unused window, and start a new epoch after it."""
        super().on_idle(intervals)
        self._curve.restart()
