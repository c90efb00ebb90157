"""The bytes that wait for all members together; it knows no sockets.

One slow reader is bounded by its own connection. The product of that bound and the number of connections is not.
"""

from __future__ import annotations

from typing import Protocol


class SlowReader(Protocol):
    """A connection with messages that wait to be written."""

    queued_bytes: int

    def drop(self) -> None:
        """End the connection, and release its messages."""


class OutboundBudget:
    """Counts the bytes that wait for all connections, and ends the slowest readers when they are too many.

    Args:
        limit: The bytes that may wait.

    Attributes:
        total: The bytes that wait now.
    """

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._waiting: dict[SlowReader, None] = {}

    def add(self, reader: SlowReader, size: int) -> None:
        """Count `size` bytes more for a connection; end the one with the most bytes while all have too many."""
        self.total += size
        reader.queued_bytes += size
        self._waiting[reader] = None
        while self.total > self._limit:
            slowest = max(self._waiting, key=lambda one: one.queued_bytes)
            slowest.drop()
            self.release(slowest)

    def remove(self, reader: SlowReader, size: int) -> None:
        """Count `size` bytes less for a connection that is still counted."""
        if reader in self._waiting:
            self.total -= size
            reader.queued_bytes -= size
            if not reader.queued_bytes:
                del self._waiting[reader]

    def release(self, reader: SlowReader) -> None:
        """Count nothing more for a connection, which has ended."""
        if reader in self._waiting:
            del self._waiting[reader]
            self.total -= reader.queued_bytes
            reader.queued_bytes = 0
