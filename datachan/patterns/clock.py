"""The offset between two clocks and the round trip between them, as NTP estimates them.

A question is {"clock": t0}. The answer is {"clock": t0, "received": t1, "sent": t2}. Times are milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from datachan.peer import RTCDataChannel

_SAMPLES: Final = 8
_MAX_WAITING: Final = 16
_MAX_BUFFERED: Final = 4096
"""Bytes in the send buffer above which a question stays unanswered: a late answer would measure the queue."""


class Clock:
    """Estimates the peer's clock, and lets the peer estimate ours.

    Of the last eight samples, the one with the shortest round trip decides: its offset is wrong by at most half of the
    difference between its two directions (RFC 5905, section 10).

    Args:
        channel: The channel, best unordered and without retransmissions. Its messages are consumed.
        now: Returns our time in seconds; the wall clock by default, so that it is comparable with `Date.now()`.

    Attributes:
        rtt: The shortest round trip of the last samples, in seconds; None before the first.
        offset: The peer's clock minus ours, in seconds; None before the first sample.
    """

    def __init__(self, channel: RTCDataChannel, *, now: Callable[[], float] = time.time) -> None:
        self._channel = channel
        self._now = now
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)
        self._asked: dict[float, asyncio.Future[None]] = {}
        self.rtt: float | None = None
        self.offset: float | None = None
        channel.on("message", self._receive)

    def peer_time(self) -> float:
        """Return what the peer's clock shows now, in seconds.

        Raises:
            ValueError: There is no sample yet.
        """
        if self.offset is None:
            raise ValueError("the peer's clock is not known: call `measure` first")
        return self._now() + self.offset

    async def measure(self, timeout: float = 1.0) -> bool:  # noqa: ASYNC109 - a lost question is not an error
        """Take one sample, and return whether the peer answered in time.

        Raises:
            InvalidStateError: The channel is not open.
        """
        sent_at = round(1000 * self._now(), 3)
        if len(self._asked) >= _MAX_WAITING or sent_at in self._asked:
            return False
        answered = self._asked[sent_at] = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(json.dumps({"clock": sent_at}))
            async with asyncio.timeout(timeout):
                await answered
        except TimeoutError:
            return False
        finally:
            del self._asked[sent_at]
        return True

    def _receive(self, text: str | bytes) -> None:
        now = 1000 * self._now()
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, dict) or not _is_time(message.get("clock")):
            return
        if "sent" in message:
            self._take_answer(message, now)
        elif self._channel.readyState == "open" and self._channel.bufferedAmount <= _MAX_BUFFERED:
            answer = {"clock": message["clock"], "received": now, "sent": 1000 * self._now()}
            self._channel.send(json.dumps(answer))

    def _take_answer(self, message: dict[str, Any], now: float) -> None:
        asked, received, sent = message["clock"], message.get("received"), message["sent"]
        answered = self._asked.get(asked)
        if answered is None or answered.done() or not _is_time(received) or not _is_time(sent):
            return
        rtt = max(now - asked - (sent - received), 0.0)
        self._samples.append((rtt / 1000, (received - asked + sent - now) / 2000))
        self.rtt, self.offset = min(self._samples)
        answered.set_result(None)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
