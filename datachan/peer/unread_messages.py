"""Messages that arrived and that nobody has taken yet; each, taken or given up, is given back exactly once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class UnreadMessages:
    """The received messages of one channel, in order.

    What lies in here counts against the receive window: the peer, not our memory, bears what is not read.

    Args:
        give_back: called with the size of each message that leaves.
    """

    def __init__(self, give_back: Callable[[int], None]) -> None:
        self._give_back = give_back
        self._messages: deque[tuple[str | bytes, int]] = deque()
        self._readers: deque[asyncio.Future[None]] = deque()
        self._ended = False

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: str | bytes, size: int) -> None:
        """Add a message; size is what it counts against the window, in bytes."""
        self._messages.append((message, size))
        self._wake_one()

    def take(self) -> str | bytes:
        """Take the oldest message; there must be one."""
        message, size = self._messages.popleft()
        self._give_back(size)
        return message

    async def next(self) -> str | bytes:
        """Wait for a message and take it.

        Raises:
            StopAsyncIteration: there are none left and none will come.
        """
        while not self._messages:
            if self._ended:
                raise StopAsyncIteration
            reader = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                await reader
            except asyncio.CancelledError:
                # Whoever was woken for a message and does not take it must pass the word on.
                if reader.done() and not reader.cancelled() and self._messages:
                    self._wake_one()
                raise
            finally:
                if reader in self._readers:
                    self._readers.remove(reader)
        return self.take()

    def end(self) -> None:
        """No further message will come; those here can still be taken."""
        self._ended = True
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)

    def give_back_all(self) -> None:
        """Stop counting what lies here; it can still be taken."""
        for index, (message, size) in enumerate(self._messages):
            self._messages[index] = (message, 0)
            self._give_back(size)

    def __del__(self) -> None:
        # A channel that was closed and dropped with messages unread must not keep the window shut for the others.
        for _, size in self._messages:
            self._give_back(size)

    def _wake_one(self) -> None:
        while self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                return
