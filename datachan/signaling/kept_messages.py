"""Keeps the newest numbered messages of one member or room, within bounds; knows no member and no room."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

OVERHEAD: Final = 64
"""Bytes that a kept message takes besides its text."""


class KeptMessages:
    """Numbered messages, the oldest first.

    Args:
        max_count: Messages that are kept.
        max_bytes: Bytes that are kept, `OVERHEAD` for each message included.

    Attributes:
        size: The bytes that are kept.
        lost: The number of the newest message that was dropped; 0 if none was.
    """

    __slots__ = ("_max_bytes", "_max_count", "_messages", "lost", "size")

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._messages: deque[tuple[int, str, str, int]] = deque()  # the last is the size
        self.size = 0
        self.lost = 0

    def __len__(self) -> int:
        """Return the number of messages that are kept."""
        return len(self._messages)

    def append(self, seq: int, subject: str, text: str, room_left: int | None = None) -> int:
        """Keep a message, drop the oldest ones that exceed the bounds, and return the change of `size`.

        Args:
            seq: Its number, larger than every earlier one.
            subject: The member that it is about, which does not get it.
            text: The message.
            room_left: Bytes by which `size` may grow; None for no such bound.
        """
        before, size = self.size, len(text.encode()) + OVERHEAD
        self._messages.append((seq, subject, text, size))
        self.size += size
        limit = self._max_bytes if room_left is None else min(self._max_bytes, before + room_left)
        while self._messages and (len(self._messages) > self._max_count or self.size > limit):
            self.lost, _, _, size = self._messages.popleft()
            self.size -= size
        return self.size - before

    def after(self, seq: int, member_id: str) -> Iterator[tuple[int, str]]:
        """Yield number and text of the messages after `seq`, without those about this member."""
        for number, subject, text, _ in self._messages:
            if number > seq and subject != member_id:
                yield number, text
