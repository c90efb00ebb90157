"""Received messages that the application has not read; each one is released from the window exactly once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class HeldWindow:
    """The bytes of the receive window that unread messages hold."""

    size: int = 0


class UnreadMessages:
    """The unread messages of one channel, in order.

    Unread messages count against the receive window, so that the peer has to wait and our memory does not grow.

    Args:
        on_release: a callback for the window size of each message that is read or given up.

    Attributes:
        window: the share of the receive window that the messages hold. It may outlive this object.
    """

    def __init__(self, on_release: Callable[[int], None]) -> None:
        self._on_release = on_release
        self.window = HeldWindow()
        self._messages: deque[tuple[str | bytes, int]] = deque()
        self._readers: deque[asyncio.Future[None]] = deque()
        self._ended = False

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: str | bytes, size: int) -> None:
        """Add a message that occupies `size` bytes of the window."""
        self._messages.append((message, size))
        self.window.size += size
        self._wake_one()

    def take(self) -> str | bytes:
        """Remove and return the oldest message; there must be one."""
        message, size = self._messages.popleft()
        self.window.size -= size
        self._on_release(size)
        return message

    async def next(self) -> str | bytes:
        """Wait for a message, remove and return it.

        Raises:
            StopAsyncIteration: no message is left and none will arrive.
        """
        while not self._messages:
            if self._ended:
                raise StopAsyncIteration
            reader = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                await reader
            except asyncio.CancelledError:
                # This reader was woken for a message that it will not read, so another one is woken instead.
                if reader.done() and not reader.cancelled() and self._messages:
                    self._wake_one()
                raise
            finally:
                if reader in self._readers:
                    self._readers.remove(reader)
        return self.take()

    def end(self) -> None:
        """End the queue: no message will be added, but those in it can still be read."""
        self._ended = True
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)

    def release_all(self) -> None:
        """Release the window of all messages, which can still be read."""
        for index, (message, size) in enumerate(self._messages):
            self._messages[index] = (message, 0)
            self.window.size -= size
            self._on_release(size)

    def _wake_one(self) -> None:
        while self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                return
