"""Knows which part of a data channel a transfer needs, and how to send and close on it; knows no message."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Literal, Protocol

from datachan.peer import InvalidStateError, RTCDataChannel, RTCPeerConnection
from datachan.transfer.errors import TransferFailed

CHANNEL_LABEL: Final = "transfer"
CHANNEL_PROTOCOL: Final = "datachan-transfer-1"

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that closing a connection waits for a peer that acknowledges nothing: everything was said before."""

GOODBYE_TIMEOUT: Final = 2.0
"""Seconds that the last message may take to be delivered."""

RECEIPT_TIMEOUT: Final = 10.0
"""Seconds that a receiver waits for the sender to close: the sender knows then that everything arrived."""


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

    def on(self, event: Literal["message"], f: Callable[..., Any]) -> Any:
        """Call `f` for each event of this name."""

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate over the messages until the channel closes."""


def open_transfer_channel(pc: RTCPeerConnection) -> RTCDataChannel:
    """Open a channel for one offer or one request. The peer recognizes it with `is_transfer_channel`."""
    return pc.createDataChannel(CHANNEL_LABEL, protocol=CHANNEL_PROTOCOL)


def is_transfer_channel(channel: RTCDataChannel) -> bool:
    """Return whether a channel that the peer opened is for a transfer, and can carry one."""
    named = channel.label == CHANNEL_LABEL and channel.protocol == CHANNEL_PROTOCOL
    reliable = channel.maxRetransmits is None and channel.maxPacketLifeTime is None
    return named and channel.ordered and reliable


async def wait_until_open(channel: TransferChannel) -> None:
    """Wait until the channel is open.

    Raises:
        TransferFailed: The channel closed instead.
    """
    try:
        await channel.opened()
    except InvalidStateError:
        raise TransferFailed("the connection closed before the transfer began") from None


def send(channel: TransferChannel, message: str | bytes) -> None:
    """Send a message if the channel is still open: the iteration over messages tells that it is not."""
    if channel.readyState == "open":
        with contextlib.suppress(InvalidStateError):
            channel.send(message)


def close_channel(channel: TransferChannel) -> None:
    """Close the channel of a transfer that has ended, without waiting.

    Messages that still arrive from the peer are read and discarded. Unread, they would keep the receive window closed
    for every channel of the connection, and delay the closing of this one.
    """
    channel.on("message", _discard)
    channel.close()


def _discard(message: str | bytes) -> None:
    pass


async def wait_for_receipt(messages: AsyncIterator[str | bytes]) -> None:
    """Wait until the sender has closed the channel or the connection."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECEIPT_TIMEOUT):
            async for _ in messages:
                pass


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
