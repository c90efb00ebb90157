"""The receiver window: it grows to the path's bandwidth-delay product.

As with the receive buffer auto-tuning of Linux, the window doubles, up to a bound, if the application reads more than
a quarter of it within a round trip. While a sender starts, its rate doubles in each round trip, and it has two such
products in flight. A lost packet holds back what arrives after it for another round trip or two. This module knows
sizes and times only.
"""

from __future__ import annotations


class ReceiveWindow:
    """The size of the receiver window.

    Attributes:
        size: the a_rwnd in bytes when nothing is held.
        limit: the bytes up to which `size` may grow.
    """

    __slots__ = ("_epoch", "_read", "limit", "size")

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = max(size, limit)
        self._read = 0
        self._epoch = 0.0

    def record_read(self, size: int, round_trip: float | None, now: float) -> None:
        """Account for bytes the application read; double the window if it limits the sender.

        Args:
            size: bytes read.
            round_trip: the path's round trip in seconds; without a measurement the window stays.
            now: monotonic seconds.
        """
        if self.size >= self.limit or round_trip is None:
            return
        self._read += size
        if now - self._epoch < round_trip or now <= self._epoch:  # a coarse clock measures round trips of zero
            return
        # An epoch is longer than a round trip after a pause; only the share of one round trip counts.
        per_round_trip = self._read * round_trip / (now - self._epoch)
        if per_round_trip > self.size / 4:
            self.size = min(2 * self.size, self.limit)
        self._epoch = now
        self._read = 0
