"""Knows which part of a data channel a transfer needs, and performs the machines' sends on it; knows no file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Literal, Protocol, TypeAlias

from datachan.peer import InvalidStateError
from datachan.transfer.errors import TransferCancelled, TransferError, TransferFailed, TransferRefused
from datachan.transfer.machines import Action, Ended, Send, TransferOutcome

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes moved so far and the size of the file, in bytes."""

BLOCK_SIZE: Final = 1024 * 1024
"""Bytes per disk read or write. Handing one chunk at a time to a thread would cost more than the read itself."""


class MessageChannel(Protocol):
    """The part of `RTCDataChannel` that a transfer uses. The channel is reliable, ordered and bidirectional."""

    @property
    def readyState(self) -> str:  # noqa: N802 - W3C's name
        """The state; `open` while messages may be sent."""

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


def require_chunk_size(chunk_size: int) -> None:
    """Raise ValueError unless this is a positive number of bytes."""
    if chunk_size < 1:
        raise ValueError(f"chunk_size is a positive number of bytes, not {chunk_size}")


async def wait_until_open(channel: MessageChannel) -> None:
    """Wait until the channel is open.

    Raises:
        TransferFailed: The channel closed instead.
    """
    try:
        await channel.opened()
    except InvalidStateError as error:
        closed = channel.readyState in {"closing", "closed"}
        reason = f"the channel closed before the transfer began: {error}" if closed else str(error)
        raise TransferFailed(reason) from None


def close_channel(channel: MessageChannel) -> None:
    """Close the channel of a transfer that has ended.

    Messages that still arrive from the peer are read and discarded. Unread, they would keep the receive window closed
    for every channel of the connection, and delay the closing of this one.
    """
    channel.on("message", _discard)
    channel.close()


def _discard(message: str | bytes) -> None:
    pass


def send_actions(channel: MessageChannel, actions: list[Action]) -> list[Action]:
    """Perform the sends among the actions, and return the other actions in order.

    Nothing is sent on a channel that is no longer open: the machine learns of it when the iteration ends.
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
    if ended.outcome is TransferOutcome.REFUSED:
        return TransferRefused(ended.reason)
    if ended.outcome is TransferOutcome.CANCELLED:
        return TransferCancelled(ended.reason)
    return TransferFailed(ended.reason)


def os_reason(error: OSError) -> str:
    """Return the operating system's reason without the path, which the peer must not learn."""
    return (error.strerror or type(error).__name__).lower()
