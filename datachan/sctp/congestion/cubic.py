"""CUBIC (RFC 9438) with HyStart++ (RFC 9406), the congestion controller of most TCP stacks.

The window grows with the time since the last loss, not per round trip, so that long paths fill as fast as short ones.
Slow start ends when round trips begin to grow, before the queue overflows.
"""

from __future__ import annotations

from .base import UNLIMITED, AckSample, CongestionController
from .cubic_curve import BETA_CUBIC, CubicCurve
from .hystart import CSS_GROWTH_DIVISOR, HyStart
from .recent_flight import RecentFlight


class Cubic(CongestionController):
    """The congestion controller of RFC 9438."""

    __slots__ = ("_curve", "_hystart", "_recent", "_slow_start_limit")

    def __init__(self, max_payload: int, initial_cwnd: int = 0, slow_start_limit: int = 1) -> None:
        super().__init__(max_payload, initial_cwnd)
        self._slow_start_limit = slow_start_limit
        self._hystart = HyStart()
        self._curve = CubicCurve()
        self._recent = RecentFlight()

    def on_acknowledged(self, sample: AckSample) -> None:
        """Grow the window if it is used."""
        self._recent.note(sample)
        if sample.in_recovery:
            return
        fully_used = self._recent.fills(self.cwnd, self.max_payload)
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
        reference = self._recent.used_part(self.cwnd, flight_size)
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
