"""When may the next packet leave? A token bucket that spreads a window over its round trip, in bursts still worth a
segmentation offload. It knows bytes and seconds only.
"""

from __future__ import annotations

from typing import Final

MIN_ROUND_TRIP: Final = 0.002
"""Shorter paths are left to their acknowledgments: a timer is not finer than that."""

BURST_TIME: Final = 0.002
"""Seconds worth of data that may leave at once."""

MIN_BURST_PACKETS: Final = 4
MAX_BURST: Final = 64 * 1024


class Pacer:
    """Holds packets back until they are due."""

    __slots__ = ("_budget", "_credit", "_max_packet", "_rate", "_updated_at")

    def __init__(self, max_packet: int) -> None:
        self._max_packet = max_packet
        self._rate = 0.0
        self._credit = BURST_TIME
        self._budget = 0.0
        self._updated_at = 0.0

    @property
    def active(self) -> bool:
        """Whether packets are spread at all."""
        return self._rate > 0

    def set_max_packet(self, max_packet: int) -> None:
        """Packets are so long from now on, at most."""
        self._max_packet = max_packet

    def set_rate(self, rate: float, srtt: float | None, credit: float, now: float) -> None:
        """Pace at so many bytes per second; paths too short, or not measured yet, are not paced.

        Args:
            rate: bytes per second.
            srtt: the path's round trip in seconds.
            credit: seconds worth of packets a late timer may leave to be caught up on.
            now: monotonic seconds.
        """
        self._credit = credit
        if srtt is None or srtt < MIN_ROUND_TRIP:
            self._rate = 0.0
            return
        if self._rate == 0.0:
            self._budget = self._burst(rate)
            self._updated_at = now
        else:
            self._refill(now)
        self._rate = rate

    def allows(self, now: float) -> bool:
        """Whether a packet may leave now; the last of a burst may overdraw."""
        if self._rate == 0.0:
            return True
        if self._budget > 0:
            return True
        self._refill(now)
        return self._budget > 0

    def sent(self, length: int) -> None:
        """So many bytes have left."""
        if self._rate:
            self._budget -= length

    def next_time(self) -> float | None:
        """When the next burst is due, or None when nothing is held back."""
        if self._rate == 0.0 or self._budget > 0:
            return None
        # Half a burst, so that packets leave in company.
        return self._updated_at + (self._burst(self._rate) / 2 - self._budget) / self._rate

    def _burst(self, rate: float) -> float:
        return min(max(rate * BURST_TIME, MIN_BURST_PACKETS * self._max_packet), MAX_BURST)

    def _refill(self, now: float) -> None:
        if now > self._updated_at:
            most = max(self._burst(self._rate), self._credit * self._rate)
            self._budget = min(self._budget + (now - self._updated_at) * self._rate, most)
            self._updated_at = now
