"""One message to many peers: a peer that is too slow misses messages instead of making memory grow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from datachan.peer import RTCDataChannel

MAX_BUFFERED: Final = 64 * 1024


class Broadcast:
    """The channels of the peers that receive the same messages, such as the members of a room.

    Args:
        max_buffered: Bytes in the send buffer of one peer above which it misses messages.

    Attributes:
        dropped: The messages that each channel has missed.
    """

    def __init__(self, *, max_buffered: int = MAX_BUFFERED) -> None:
        self._max_buffered = max_buffered
        self._channels: dict[RTCDataChannel, None] = {}
        self.dropped: Counter[RTCDataChannel] = Counter()

    def __len__(self) -> int:
        """Return the number of channels."""
        return len(self._channels)

    def __iter__(self) -> Iterator[RTCDataChannel]:
        """Iterate over the channels, in the order in which they were added."""
        return iter(tuple(self._channels))

    def add(self, channel: RTCDataChannel) -> None:
        """Add a channel until it closes."""
        if channel.readyState == "closed":
            return
        self._channels[channel] = None
        channel.on("close", lambda: self.discard(channel))

    def discard(self, channel: RTCDataChannel) -> None:
        """Remove a channel, if it is there."""
        self._channels.pop(channel, None)
        self.dropped.pop(channel, None)

    def send(self, message: str | bytes, *, to_all_but: RTCDataChannel | None = None) -> int:
        """Send a message, and return how many peers it was sent to.

        Args:
            message: The message.
            to_all_but: The channel that does not receive it, such as that of its author.
        """
        sent = 0
        for channel in self:
            if channel is to_all_but or channel.readyState != "open":
                continue
            if channel.bufferedAmount > self._max_buffered:
                self.dropped[channel] += 1
                continue
            channel.send(message)
            sent += 1
        return sent
