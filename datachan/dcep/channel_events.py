"""What `DataChannels` tells its user: one value per fact, drained with `DataChannels.events()`."""

from __future__ import annotations

from dataclasses import dataclass

from .channel import Channel


class ChannelEvent:
    """The base of all events about a channel."""

    __slots__ = ()


class ChannelMessage(ChannelEvent):
    """A message arrived on a channel that is open.

    Attributes:
        channel: the channel.
        data: `str` or `bytes`, as the peer sent it; may be empty.
        size: what to give to `DataChannels.release_window`, once and only once, when the application has taken the
            message: until then so many bytes count against the receiver window. Not its length: 1 for an empty
            message, 0 for one that had to wait for its channel, whose bytes were given back when it came.
    """

    __slots__ = ("channel", "data", "size")

    def __init__(self, channel: Channel, data: str | bytes, size: int) -> None:
        self.channel = channel
        self.data = data
        self.size = size

    def __repr__(self) -> str:
        return f"ChannelMessage({self.channel!r}, {type(self.data).__name__} of {len(self.data)}, size={self.size})"


@dataclass(frozen=True, slots=True)
class BufferedAmountChanged(ChannelEvent):
    """Bytes left the send queue. At most one per channel between two drains.

    Attributes:
        channel: the channel.
        amount: `channel.buffered_amount` when the event was made.
    """

    channel: Channel
    amount: int


@dataclass(frozen=True, slots=True)
class ChannelOpened(ChannelEvent):
    """A channel made here is open: the peer confirmed it, or it is negotiated and the association is up."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelAnnounced(ChannelEvent):
    """The peer opened a channel. It is open already; no `ChannelOpened` follows."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelClosing(ChannelEvent):
    """The channel began to close, and not because `DataChannels.close` was called. Nothing can be sent any more."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelFailed(ChannelEvent):
    """Something went wrong on the channel; it closes, and a `ChannelClosed` follows, now or later.

    Attributes:
        channel: the channel.
        reason: a sentence for people.
    """

    channel: Channel
    reason: str


@dataclass(frozen=True, slots=True)
class ChannelClosed(ChannelEvent):
    """The channel is closed. Told once per channel, and nothing follows it."""

    channel: Channel
