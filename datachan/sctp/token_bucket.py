"""A token bucket: how many answers may be sent per second, and how many at once."""

from __future__ import annotations


class TokenBucket:
    """Limits answers to a rate, with a burst above it.

    Args:
        rate: answers per second.
        burst: answers that may be sent at once.

    Attributes:
        refused: for statistics; answers that were not sent.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens", "refused")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = 0.0
        self.refused = 0

    def take(self, now: float) -> bool:
        """Take a token for one answer; return whether there was one."""
        passed = max(now - self._at, 0.0)
        self._tokens = min(self._tokens + passed * self._rate, self._burst)
        self._at = now
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        return True
