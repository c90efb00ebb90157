"""Knows what a transfer needs of a data channel, and carries out the machines' sends on it; knows no file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol, TypeAlias

from datachan.peer import InvalidStateError
from datachan.transfer.errors import TransferCancelled, TransferError, TransferFailed, TransferRefused
from datachan.transfer.protocol import Action, Ended, Outcome, Send

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes moved so far and the size of the file, both in bytes."""

BLOCK_SIZE: Final = 1024 * 1024
"""Bytes read from or written to the disk at a time: a thread is worth its hop for these, not for one chunk."""


class MessageChannel(Protocol):
    """The part of `RTCDataChannel` that a transfer uses: reliable, ordered, both directions."""

    @property
    def readyState(self) -> str:  # noqa: N802 - W3C's name
        """`open` while messages may be sent."""

    def send(self, data: str | bytes) -> None:
        """Queue one message."""

    def close(self) -> None:
        """Close once everything queued is delivered."""

    async def opened(self) -> None:
        """Wait until the channel is open; raises InvalidStateError when it closes instead."""

    async def drain(self) -> None:
        """Wait until the queue is short again; raises InvalidStateError when the channel closes instead."""

    def on(self, event: str, f: Callable[..., Any]) -> Any:
        """Have a function called for each event of this name."""

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate over the messages; ends when the channel closes."""


async def wait_until_open(channel: MessageChannel) -> None:
    """Wait until the channel is open.

    Raises:
        TransferFailed: It closed instead.
    """
    try:
        await channel.opened()
    except InvalidStateError as error:
        raise TransferFailed(str(error)) from None


def close_channel(channel: MessageChannel) -> None:
    """Close a channel the transfer is done with.

    What the peer still sends is read and thrown away: unread, it would keep the receive window shut for every channel
    of the connection, this one's closing included.
    """
    channel.on("message", _discard)
    channel.close()


def _discard(message: str | bytes) -> None:
    pass


def send_actions(channel: MessageChannel, actions: list[Action]) -> list[Action]:
    """Send what is to be sent and return the other actions, in order.

    On a channel that is not open anymore nothing is sent: the end of its iteration tells the machine.
    """
    rest: list[Action] = []
    for action in actions:
        if not isinstance(action, Send):
            rest.append(action)
        elif channel.readyState == "open":
            channel.send(action.message)
    return rest


def failure(ended: Ended) -> TransferError:
    """Return the exception for a transfer that ended without success."""
    if ended.outcome is Outcome.REFUSED:
        return TransferRefused(ended.reason)
    if ended.outcome is Outcome.CANCELLED:
        return TransferCancelled(ended.reason)
    return TransferFailed(ended.reason)


def os_reason(error: OSError) -> str:
    """Say what the operating system said, without the path: that is none of the peer's business."""
    return (error.strerror or type(error).__name__).lower()
