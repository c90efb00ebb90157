"""Limits how many actions each client may take per second; knows no clock: `now` is given, in monotonic seconds."""

from __future__ import annotations

from collections import OrderedDict

from datachan.token_bucket import TokenBucket


class KeyedLimiter:
    """One bucket per key, such as an address; only the `max_keys` most recently used keys are kept."""

    def __init__(self, rate: float, burst: float, max_keys: int = 4096) -> None:
        """Set the rate and burst of each bucket, as for `TokenBucket`, and the number of keys to keep."""
        self._rate = rate
        self._burst = burst
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """Take one action of this key and return True; return False if none is allowed now."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst, now)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(now)

    def __len__(self) -> int:
        """Return the number of keys kept."""
        return len(self._buckets)
