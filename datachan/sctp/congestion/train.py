"""The rate of a train of packets: how fast the acknowledgments of one round follow one another.

A sender that starts sends its window in a part of the round trip, and then waits. The bytes that it delivers per round
trip say only how much it sent. The spacing of the acknowledgments says how fast the path carried them.
"""

from __future__ import annotations

from typing import Final

from .base import AckSample

PART: Final = 0.3
"""The share of the data in flight whose acknowledgments are a train that is long enough."""
MIN_SACKS: Final = 3
GAP: Final = 8
"""A pause of the round trip divided by this number separates two trains."""


class Train:
    """The train of acknowledgments that arrives.

    Attributes:
        rate: bytes per second of the last train that was long enough.
    """

    __slots__ = ("_bytes", "_first", "_flight", "_last", "_sacks", "rate")

    def __init__(self) -> None:
        self.rate = 0.0
        self._first = 0.0
        self._last = float("-inf")
        self._bytes = 0
        self._sacks = 0
        self._flight = 0

    def add(self, sample: AckSample, min_rtt: float, *, new_round: bool) -> bool:
        """Account for a SACK, the first one of a round if `new_round`; return whether it completes a train."""
        pause = sample.now - self._last
        self._last = sample.now
        if new_round:
            self._flight = sample.flight_after
        if new_round or pause > min_rtt / GAP:
            self._first = sample.now
            self._bytes = self._sacks = 0
            return False
        self._bytes += sample.bytes_acked
        self._sacks += 1
        elapsed = sample.now - self._first
        if self._sacks < MIN_SACKS or self._bytes < PART * self._flight or elapsed <= 0:
            return False
        self.rate = self._bytes / elapsed
        self._first = sample.now
        self._bytes = self._sacks = 0
        return True
