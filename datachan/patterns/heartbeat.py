"""Heartbeats with a watchdog: notices within a fraction of a second that the peer is silent, and when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from datachan.peer import RTCDataChannel

BEAT: Final = "beat"
_MAX_BUFFERED: Final = 256
"""Bytes in the send buffer above which no beat is added: the peer does not receive the earlier ones either."""


class Heartbeat:
    """Sends beats, and calls back when those of the peer stop or come again.

    A peer counts as silent until its first beat, so a robot does not move before it hears its operator. ICE needs
    seconds to notice a lost path; a watchdog of 300 ms needs beats of its own.

    Args:
        channel: The channel, best unordered and without retransmissions. Its messages are consumed; each counts.
        interval: Seconds between our beats.
        timeout: Seconds of silence after which `on_silence` is called.
        on_silence: Called when the peer has been silent, or the channel has closed.
        on_return: Called with the first beat, and with the first after a silence.

    Attributes:
        alive: Whether the peer was heard within `timeout`.
    """

    def __init__(
        self,
        channel: RTCDataChannel,
        *,
        interval: float = 0.1,
        timeout: float = 0.3,
        on_silence: Callable[[], object] = lambda: None,
        on_return: Callable[[], object] = lambda: None,
    ) -> None:
        self._channel = channel
        self._interval = interval
        self._timeout = timeout
        self._on_silence = on_silence
        self._on_return = on_return
        self._loop = asyncio.get_running_loop()
        self._heard = 0.0
        self._stopped = False
        self._sender = self._loop.call_soon(self._beat)
        self._watchdog: asyncio.TimerHandle | None = None
        self.alive = False
        channel.on("message", self._hear)
        channel.on("close", self.stop)

    def stop(self) -> None:
        """Stop to send and to watch; the peer counts as silent."""
        if self._stopped:
            return
        self._stopped = True
        self._sender.cancel()
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._fall_silent()

    def _beat(self) -> None:
        if self._channel.readyState == "open" and self._channel.bufferedAmount <= _MAX_BUFFERED:
            self._channel.send(BEAT)
        self._sender = self._loop.call_later(self._interval, self._beat)

    def _hear(self, _: str | bytes) -> None:
        if self._stopped:
            return
        self._heard = self._loop.time()
        if not self.alive:
            self.alive = True
            self._watchdog = self._loop.call_later(self._timeout, self._watch)
            self._on_return()

    def _watch(self) -> None:
        left = self._heard + self._timeout - self._loop.time()
        if left > 0:
            self._watchdog = self._loop.call_later(left, self._watch)
        else:
            self._fall_silent()

    def _fall_silent(self) -> None:
        if self.alive:
            self.alive = False
            self._on_silence()
