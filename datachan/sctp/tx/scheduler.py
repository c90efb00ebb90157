"""Whose turn it is: schedulers choose the stream the next message is taken from. They know nothing of TSNs or windows.

With DATA chunks the fragments of a message have consecutive TSNs, so the choice is made once per message.
"""

from __future__ import annotations

from collections import deque


class StreamScheduler:
    """The base of all schedulers; streams are given by their identifiers."""

    __slots__ = ()

    def activate(self, stream_id: int) -> None:
        """The stream, idle so far, has something to send."""

    def deactivate(self, stream_id: int) -> None:
        """The stream has nothing to send any more."""

    def choose(self) -> int | None:
        """The stream whose message goes next, or None when no stream is active."""
        return None

    def message_finished(self, stream_id: int) -> None:
        """The last fragment of a message of this stream was taken; the stream may still be active."""


class RoundRobin(StreamScheduler):
    """One message of each stream in turn (RFC 8260, section 3.2)."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: deque[int] = deque()

    def activate(self, stream_id: int) -> None:
        """Queue up behind the streams already waiting."""
        self._turns.append(stream_id)

    def deactivate(self, stream_id: int) -> None:
        """Leave the queue."""
        if self._turns and self._turns[0] == stream_id:
            self._turns.popleft()
        else:
            self._turns.remove(stream_id)

    def choose(self) -> int | None:
        """The first in the queue, until its message is finished."""
        return self._turns[0] if self._turns else None

    def message_finished(self, stream_id: int) -> None:
        """Go to the end of the queue."""
        if len(self._turns) > 1 and self._turns[0] == stream_id:
            self._turns.rotate(-1)
