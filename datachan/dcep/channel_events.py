"""The events of data channels, drained with `DataChannels.events()`."""

from __future__ import annotations

from dataclasses import dataclass

from .channel import Channel


class ChannelEvent:
    """Base class of the events about a channel."""

    __slots__ = ()


class ChannelMessage(ChannelEvent):
    """A message arrived on an open channel.

    Attributes:
        channel: the channel.
        data: the message, `str` or `bytes`, possibly empty.
        size: the bytes that the message occupies in the receive window. Give the size to
            `DataChannels.release_window` exactly once, when the application has read the message. The size may differ
            from the length: 1 for an empty message; 0 for a message that was held until its channel opened, because
            its bytes were released on arrival.
    """

    __slots__ = ("channel", "data", "size")

    def __init__(self, channel: Channel, data: str | bytes, size: int) -> None:
        self.channel = channel
        self.data = data
        self.size = size

    def __repr__(self) -> str:
        return f"ChannelMessage({self.channel!r}, {type(self.data).__name__} of {len(self.data)}, size={self.size})"


class BufferedAmountChanged(ChannelEvent):
    """Bytes left the send queue. Between two drains, each channel has at most one such event.

    Attributes:
        channel: the channel.
        amount: the value of `channel.buffered_amount` at the time of the event.
    """

    __slots__ = ("amount", "channel")

    def __init__(self, channel: Channel, amount: int) -> None:
        self.channel = channel
        self.amount = amount

    def __repr__(self) -> str:
        return f"BufferedAmountChanged({self.channel!r}, amount={self.amount})"


@dataclass(frozen=True, slots=True)
class ChannelOpened(ChannelEvent):
    """A channel created here is open: the association is established, and its OPEN was sent (if not negotiated)."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelAnnounced(ChannelEvent):
    """The peer opened a channel, which is open now; no `ChannelOpened` follows."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelClosing(ChannelEvent):
    """The peer or a shutdown closes the channel; nothing can be sent any more."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelFailed(ChannelEvent):
    """The channel failed and closes; a `ChannelClosed` follows, now or later.

    Attributes:
        channel: the channel.
        reason: a sentence for the user.
        cause_code: the error cause code if the association ended with an ABORT (RFC 9260, 3.3.10), 0 if it ended
            without a cause; None if only the channel failed.
    """

    channel: Channel
    reason: str
    cause_code: int | None = None


@dataclass(frozen=True, slots=True)
class ChannelClosed(ChannelEvent):
    """The channel is closed. This is the last event of each channel."""

    channel: Channel
