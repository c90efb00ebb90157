"""The newest value of each key: what the network cannot take yet is replaced instead of queued."""

from __future__ import annotations

import asyncio
import math

from datachan.peer import RTCDataChannel


class LatestValues:
    """Sends values of which only the newest matters, such as positions.

    A value is sent at once while the channel has sent everything before. Otherwise it waits, and a newer value with its
    key replaces it. So the peer never receives old values late, and a slow peer costs no memory.

    Args:
        channel: The channel. Its `bufferedAmountLowThreshold` is set.
        max_age: Seconds after which a waiting value is forgotten.
        threshold: Bytes that may be in the send buffer when another value is sent.

    Attributes:
        replaced: Values that a newer one replaced before they were sent.
        expired: Values that were forgotten because of their age.
    """

    def __init__(self, channel: RTCDataChannel, *, max_age: float = math.inf, threshold: int = 0) -> None:
        self._channel = channel
        self._max_age = max_age
        self._threshold = threshold
        self._held: dict[str, tuple[str | bytes, float]] = {}
        self._loop = asyncio.get_running_loop()
        self.replaced = 0
        self.expired = 0
        channel.bufferedAmountLowThreshold = threshold
        channel.on("bufferedamountlow", self._flush)
        channel.on("open", self._flush)

    def __len__(self) -> int:
        """Return the number of values that wait."""
        return len(self._held)

    def set(self, value: str | bytes, key: str = "") -> None:
        """Send a value, or keep it instead of the older one with its key."""
        if self._held.pop(key, None) is not None:
            self.replaced += 1
        self._held[key] = (value, self._loop.time())
        self._flush()

    def _flush(self) -> None:
        channel = self._channel
        while self._held and channel.readyState == "open" and channel.bufferedAmount <= self._threshold:
            key = next(iter(self._held))
            value, set_at = self._held.pop(key)
            if self._loop.time() - set_at > self._max_age:
                self.expired += 1
            else:
                channel.send(value)
