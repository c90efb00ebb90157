"""A token bucket: limits actions to a rate and a burst. The caller passes the time."""

from __future__ import annotations


class TokenBucket:
    """Limits actions to a rate, with a burst above it.

    Args:
        rate: actions per second in the long run.
        burst: actions that are allowed at once.
        now: the time in monotonic seconds; the bucket is full.

    Attributes:
        refused: the number of actions that were not allowed, for statistics.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens", "refused")

    def __init__(self, rate: float, burst: float, now: float = 0.0) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now
        self.refused = 0

    def take(self, now: float) -> bool:
        """Take a token for one action; return whether there was one."""
        passed = max(now - self._at, 0.0)
        self._tokens = min(self._tokens + passed * self._rate, self._burst)
        self._at = now
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        return True
