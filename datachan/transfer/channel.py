"""Knows which part of a data channel a transfer needs, and how to send and close on it; knows no message."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final, Protocol

from datachan.peer import InvalidStateError

CHANNEL_LABEL: Final = "transfer"
CHANNEL_PROTOCOL: Final = "datachan-transfer-1"

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that closing a connection waits for a peer that acknowledges nothing: everything was said before."""

GOODBYE_TIMEOUT: Final = 2.0
"""Seconds that the last message may take to be delivered."""


class TransferChannel(Protocol):
    """The part of `RTCDataChannel` that a transfer uses. The channel is reliable, ordered and bidirectional."""

    @property
    def readyState(self) -> str:  # noqa: N802 - W3C's name
        """The state; `open` while messages may be sent."""

    @property
    def bufferedAmount(self) -> int:  # noqa: N802 - W3C's name
        """The bytes that were not delivered to the peer yet."""

    def send(self, data: str | bytes) -> None:
        """Queue one message."""

    def close(self) -> None:
        """Close the channel after everything queued is delivered."""

    async def opened(self) -> None:
        """Wait until the channel is open; raise InvalidStateError if it closes instead."""

    async def drain(self) -> None:
        """Wait until the send queue is short again; raise InvalidStateError if the channel closes instead."""

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate over the messages until the channel closes."""


def send(channel: TransferChannel, message: str | bytes) -> None:
    """Send a message if the channel is still open: the iteration over messages tells that it is not."""
    if channel.readyState == "open":
        with contextlib.suppress(InvalidStateError):
            channel.send(message)


async def say_goodbye(channel: TransferChannel, messages: AsyncIterator[str | bytes]) -> None:
    """Close the channel, and wait until everything queued is delivered or time is up.

    Messages that still arrive are read and discarded: unread, they would keep the receive window closed.
    """
    channel.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_TIMEOUT):
            async for _ in messages:
                pass


class RateLimit:
    """Limits the bytes that a sender sends per second; one for all receivers.

    Args:
        rate: Bytes per second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Wait until `size` bytes may be sent."""
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 0.1) + size / self._rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)
