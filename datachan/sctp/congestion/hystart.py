"""The end of slow start by HyStart++ (RFC 9406): round trips that begin to grow show a queue; knows no window."""

from __future__ import annotations

from typing import Final

from .base import AckSample

# RFC 9406, 4.3
MIN_RTT_THRESH: Final = 0.004
MAX_RTT_THRESH: Final = 0.016
MIN_RTT_DIVISOR: Final = 8
N_RTT_SAMPLE: Final = 8
CSS_GROWTH_DIVISOR: Final = 4
CSS_ROUNDS: Final = 5
RATE_GROWTH: Final = 1.25
"""Growth of the delivery rate per round below which the path counts as full; in slow start it doubles before."""


def rtt_threshold(min_rtt: float) -> float:
    """Return the seconds by which a round trip exceeds the shortest one if it shows a queue (RFC 9406, 4.2)."""
    return max(MIN_RTT_THRESH, min(min_rtt / MIN_RTT_DIVISOR, MAX_RTT_THRESH))


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
            if self._current_min >= self._last_min + rtt_threshold(self._last_min):
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
