"""How much the peer may have under way to us: a receiver window that grows to the path's bandwidth-delay product.

It knows sizes and times only. As in Linux's receive buffer auto-tuning: when the user takes more than half a window
within a round trip, the window is what limits the sender, and doubles, up to the bound the user set.
"""

from __future__ import annotations


class ReceiveWindow:
    """The size of the receiver window.

    Attributes:
        size: bytes, what a_rwnd is when nothing is held.
        limit: bytes it may grow to.
    """

    __slots__ = ("_consumed", "_epoch", "limit", "size")

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = max(size, limit)
        self._consumed = 0
        self._epoch = 0.0

    def consumed(self, size: int, round_trip: float | None, now: float) -> None:
        """The user took so many bytes.

        Args:
            size: bytes.
            round_trip: the path's, in seconds; without one the window stays.
            now: monotonic seconds.
        """
        if self.size >= self.limit or round_trip is None:
            return
        self._consumed += size
        if now - self._epoch < round_trip:
            return
        # Longer epochs, when nothing came for a while, count for what one round trip of them had.
        per_round_trip = self._consumed * round_trip / (now - self._epoch)
        if per_round_trip > self.size / 2:
            self.size = min(2 * self.size, self.limit)
        self._epoch = now
        self._consumed = 0
