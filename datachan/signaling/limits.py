"""Knows how many actions one client may take per second; knows no clock: `now` is given, in monotonic seconds."""

from __future__ import annotations

from collections import OrderedDict


class TokenBucket:
    """Allows `burst` actions at once and `rate` per second in the long run."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        """Start with a full bucket.

        Args:
            burst: Actions.
            rate: Actions per second.
            now: Monotonic seconds.
        """
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._updated = now

    def take(self, now: float) -> bool:
        """Take one action and return True; return False if none is allowed now."""
        elapsed = max(0.0, now - self._updated)
        self._updated = now
        self._tokens = min(self._burst, self._tokens + elapsed * self._rate)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    @property
    def tokens(self) -> float:
        """Actions that were allowed when `take` was last called."""
        return self._tokens


class KeyedLimiter:
    """One bucket per key, such as an address; only the `max_keys` most recently used keys are kept."""

    def __init__(self, burst: float, rate: float, max_keys: int = 4096) -> None:
        """Set the burst and rate of each bucket, as for `TokenBucket`, and the number of keys to keep."""
        self._burst = burst
        self._rate = rate
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """Take one action of this key and return True; return False if none is allowed now."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._burst, self._rate, now)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(now)

    def __len__(self) -> int:
        """Return the number of keys kept."""
        return len(self._buckets)
