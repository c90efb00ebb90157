"""Messages that arrived before their channel, in order and within limits; it decides nothing."""

from __future__ import annotations

from datachan.sctp import MessageReceived


class HeldMessages:
    """The messages on streams without a channel; its byte budget also covers messages received in parts.

    Args:
        max_bytes: the maximum bytes of all streams together.
        max_messages: the maximum messages of all streams together, resets included.
    """

    def __init__(self, max_bytes: int, max_messages: int) -> None:
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._streams: dict[int, list[MessageReceived | None]] = {}
        self._bytes = 0
        self._messages = 0

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._streams

    @property
    def bytes_held(self) -> int:
        """The number of bytes held or reserved."""
        return self._bytes

    def add(self, event: MessageReceived) -> bool:
        """Hold a message; return False, without holding it, when a limit is reached."""
        if self._messages >= self._max_messages or not self.reserve(len(event.data)):
            return False
        self._messages += 1
        self._streams.setdefault(event.stream_id, []).append(event)
        return True

    def add_reset(self, stream_id: int) -> bool:
        """Record that the peer reset the stream after the held messages; return False when a limit is reached."""
        if self._messages >= self._max_messages:
            return False
        self._messages += 1
        self._streams.setdefault(stream_id, []).append(None)
        return True

    def take(self, stream_id: int) -> list[MessageReceived | None]:
        """Remove and return the held messages of a stream; None stands for a reset."""
        items = self._streams.pop(stream_id, [])
        self._messages -= len(items)
        self._bytes -= sum(len(item.data) for item in items if item is not None)
        return items

    def reserve(self, size: int) -> bool:
        """Reserve bytes of the budget; return False when too few are left."""
        if self._bytes + size > self._max_bytes:
            return False
        self._bytes += size
        return True

    def release(self, size: int) -> None:
        """Return reserved bytes to the budget."""
        self._bytes -= size
