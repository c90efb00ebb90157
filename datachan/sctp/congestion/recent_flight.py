"""How much of a window was used lately; decides nothing."""

from __future__ import annotations

from typing import Final

from .base import AckSample

USED_PERIOD: Final = 1.0
"""Seconds for which the largest flight counts as the used part of the window (the sampling period of RFC 7661)."""


class RecentFlight:
    """The largest flight of the last second: after a host stalls, the flight itself is small for a while."""

    __slots__ = ("_at", "_largest")

    def __init__(self) -> None:
        self._largest = 0
        self._at = 0.0

    def note(self, sample: AckSample) -> None:
        """Note the flight before a SACK."""
        if sample.flight_before >= self._largest or sample.now - self._at > USED_PERIOD:
            self._largest = sample.flight_before
            self._at = sample.now

    def fills(self, cwnd: int, max_payload: int) -> bool:
        """Return whether the window is used, so that it may grow."""
        return self._largest + 2 * max_payload > cwnd

    def fills_half(self, cwnd: int) -> bool:
        """Return whether a window that multiplies per round trip is used, so that it may grow.

        RFC 9260, 7.2.1: "use the slow-start algorithm to increase cwnd only if the current congestion window is being
        fully utilized". A window that has just grown is not full yet, so that half of it has to be in flight (as in
        Linux's TCP). Otherwise the window of a process that is slower than its path would grow with every SACK.
        """
        return cwnd < 2 * self._largest

    def used_part(self, cwnd: int, flight_size: int) -> int:
        """Return the part of the window that a reduction starts from.

        RFC 9438, 4.6, follows the flight size, so that an unused window is not a reserve. But a flight may be small
        only because a host stalled and then lost a packet of its burst. So the largest recent flight and half the
        window count, too.
        """
        return min(cwnd, max(flight_size, self._largest, cwnd // 2))
