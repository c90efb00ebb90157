"""The pacer: a token bucket that spreads a window over its round trip and decides when the next packet may be sent.

It releases packets in bursts that are still large enough for a segmentation offload. It knows bytes and seconds only.
"""

from __future__ import annotations

from typing import Final

MIN_ROUND_TRIP: Final = 0.002
"""Seconds below which a path is not paced: timers are not finer than that, and acknowledgments clock the sender."""

BURST_TIME: Final = 0.002
"""A burst holds the data of this many seconds."""

MIN_BURST_PACKETS: Final = 4
"""Packets that a burst holds at least."""

SHORT_PATH_BURST: Final = 125_000
"""Bytes that it holds at least on a path where a round trip was ever shorter than `MIN_ROUND_TRIP`. There, packets wait
for late processes rather than for a slow link: a process with 100 connections needs 100 ms until each had its turn.
Smaller bursts would need several sends in each turn, and as many batches at the receiver."""

MAX_BURST: Final = 64 * 1024


class Pacer:
    """A token bucket that delays packets until they are due."""

    __slots__ = ("_budget", "_credit", "_is_short", "_max_packet", "_rate", "_updated_at")

    def __init__(self, max_packet: int) -> None:
        self._max_packet = max_packet
        self._rate = 0.0
        self._is_short = False
        self._credit = BURST_TIME
        self._budget = 0.0
        self._updated_at = 0.0

    @property
    def active(self) -> bool:
        """Whether packets are paced at all."""
        return self._rate > 0

    def set_max_packet(self, max_packet: int) -> None:
        """Limit packets to `max_packet` bytes of chunks from now on."""
        self._max_packet = max_packet

    def set_rate(
        self, rate: float, srtt: float | None, credit: float, now: float, min_rtt: float = float("inf")
    ) -> None:
        """Set the rate; do not pace a path whose round trip is unknown or shorter than `MIN_ROUND_TRIP`.

        Args:
            rate: bytes per second.
            srtt: the path's round trip in seconds, if measured.
            credit: seconds of lateness of a timer that the pacer lets the sender make up for.
            now: monotonic seconds.
            min_rtt: the path's shortest recent round trip in seconds.
        """
        self._credit = credit
        if min_rtt < MIN_ROUND_TRIP:
            # The path stays a short one, although a queue that stands for minutes makes its shortest round trip longer.
            self._is_short = True
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
        """Return whether a packet may be sent now; the last packet of a burst may overdraw the budget."""
        if self._rate == 0.0:
            return True
        if self._budget > 0:
            return True
        self._refill(now)
        return self._budget > 0

    def forgo_credit(self, now: float) -> None:
        """Keep one burst at most of the budget, because the window delays the sender and not a late timer."""
        if self._rate and now > self._updated_at:
            self._refill(now)
            self._budget = min(self._budget, self._burst(self._rate))

    def charge(self, length: int) -> None:
        """Charge `length` sent bytes to the pacing budget."""
        if self._rate:
            self._budget -= length

    def next_time(self) -> float | None:
        """Return when the next burst is due, or None when nothing is delayed."""
        if self._rate == 0.0 or self._budget > 0:
            return None
        # Wait for half a burst, so that several packets are sent together.
        return self._updated_at + (self._burst(self._rate) / 2 - self._budget) / self._rate

    def _burst(self, rate: float) -> float:
        if self._is_short:
            return SHORT_PATH_BURST
        return min(max(rate * BURST_TIME, MIN_BURST_PACKETS * self._max_packet), MAX_BURST)

    def _refill(self, now: float) -> None:
        if now > self._updated_at:
            most = max(self._burst(self._rate), self._credit * self._rate)
            self._budget = min(self._budget + (now - self._updated_at) * self._rate, most)
            self._updated_at = now
