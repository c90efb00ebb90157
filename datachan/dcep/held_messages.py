"""Messages that came before the channel they belong to, in order and within bounds; it decides nothing."""

from __future__ import annotations

from datachan.sctp.events import MessageReceived


class HeldMessages:
    """What came on streams whose channel is not there yet, and a budget of bytes for whoever else holds messages.

    Args:
        max_bytes: of all streams together.
        max_messages: of all streams together, resets included.
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
        """How many bytes are held or reserved."""
        return self._bytes

    def add(self, event: MessageReceived) -> bool:
        """Hold a message; False, and nothing is held, when a bound is reached."""
        if self._messages >= self._max_messages or not self.reserve(len(event.data)):
            return False
        self._messages += 1
        self._streams.setdefault(event.stream_id, []).append(event)
        return True

    def add_reset(self, stream_id: int) -> bool:
        """Hold the fact that the peer reset the stream after what is held of it."""
        if self._messages >= self._max_messages:
            return False
        self._messages += 1
        self._streams.setdefault(stream_id, []).append(None)
        return True

    def take(self, stream_id: int) -> list[MessageReceived | None]:
        """Hand over what is held of a stream; None stands for a reset."""
        items = self._streams.pop(stream_id, [])
        self._messages -= len(items)
        self._bytes -= sum(len(item.data) for item in items if item is not None)
        return items

    def reserve(self, size: int) -> bool:
        """Take bytes from the budget; False when they are not there."""
        if self._bytes + size > self._max_bytes:
            return False
        self._bytes += size
        return True

    def release(self, size: int) -> None:
        """Put reserved bytes back."""
        self._bytes -= size
