"""Which channel is on which stream, who waits for one, and what the peer's channels take up; it sends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .channel import Channel
from .control_messages import OpenMessage, encode_text
from .errors import IdInUse, NoFreeId
from .id_pool import MAX_STREAMS, IdPool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits:
    """What a peer may make us hold.

    Attributes:
        max_announced_channels: channels the peer may have open at a time. RFC 8832, section 7 wants us prepared for
            as many as there are streams.
        max_announced_bytes: label and protocol bytes of all of those together.
        max_held_bytes: bytes of messages that cannot be delivered yet: on streams without a channel, and the parts of
            a message sent with the deprecated partial PPIDs.
        max_held_messages: how many such messages.
    """

    max_announced_channels: int = 32768
    max_announced_bytes: int = 8 * 1024 * 1024
    max_held_bytes: int = 1024 * 1024
    max_held_messages: int = 4096


class ChannelTable:
    """The channels that are not closed.

    Attributes:
        by_id: those that have a stream, refused ones (`Channel.silent`) included.
        waiting: those that are to be opened, in the order they were made.
        limit: how many streams there are in both directions, None before the association is established.
    """

    def __init__(self, limits: ChannelLimits) -> None:
        self.by_id: dict[int, Channel] = {}
        self.waiting: list[Channel] = []
        self.limit: int | None = None
        self._limits = limits
        self._pool: IdPool | None = None
        self._peer_parity = 1
        self._announced = 0
        self._announced_bytes = 0

    def __iter__(self) -> Iterator[Channel]:
        """Give each channel once."""
        yield from self.by_id.values()
        for channel in self.waiting:
            if channel.id is None:
                yield channel

    def established(self, is_dtls_client: bool, streams: int) -> list[Channel]:
        """Give identifiers to those that wait for one; hand back those for whom there is none, taken out.

        RFC 8832, 6: "If the side is acting as the DTLS client, it MUST choose
        an even stream identifier; if the side is acting as the DTLS server,
        it MUST choose an odd one."
        """
        self.limit = min(streams, MAX_STREAMS)
        self._pool = IdPool(0 if is_dtls_client else 1, self.limit)
        self._peer_parity = 1 if is_dtls_client else 0
        left_over = []
        for channel in self.waiting:
            if channel.id is None:
                channel.id = self._pool.take(self.by_id)
                if channel.id is not None:
                    self.by_id[channel.id] = channel
            if channel.id is None or channel.id >= self.limit:
                left_over.append(channel)
        for channel in left_over:
            self.remove(channel)
        return left_over

    def add(self, channel: Channel) -> None:
        """Enter a channel of ours that is to be opened.

        Raises:
            IdInUse: it is negotiated and another channel has the id.
            NoFreeId: the association has no stream for it.
        """
        if channel.id is not None:
            if channel.id in self.by_id:
                raise IdInUse(f"a channel with id {channel.id} exists and is not closed")
            if self.limit is not None and channel.id >= self.limit:
                raise NoFreeId(f"the association has {self.limit} streams, which leaves no id {channel.id}")
        elif self._pool is not None:
            channel.id = self._pool.take(self.by_id)
            if channel.id is None:
                raise NoFreeId(f"all of the association's {self.limit} streams that are ours to open are in use")
        if channel.id is not None:
            self.by_id[channel.id] = channel
        self.waiting.append(channel)

    def refusal(self, stream_id: int, message: OpenMessage) -> str:
        """Say why the peer may not have this channel, or nothing."""
        if stream_id % 2 != self._peer_parity:
            return "its id is not one of the peer's role"
        if self._announced >= self._limits.max_announced_channels:
            return f"it has {self._announced} channels open already"
        if self._announced_bytes + _text_bytes(message.label, message.protocol) > self._limits.max_announced_bytes:
            return "the labels of its channels are too long together"
        return ""

    def enter(self, channel: Channel, stream_id: int) -> None:
        """Enter a channel of the peer, or one that stands for a stream that was refused."""
        self.by_id[stream_id] = channel
        if channel.announced:
            self._announced += 1
            self._announced_bytes += _text_bytes(channel.label, channel.protocol)

    def remove(self, channel: Channel, *, reusable: bool = True) -> None:
        """Take a channel out; its identifier may be used again unless the stream could not be reset."""
        if channel in self.waiting:
            self.waiting.remove(channel)
        if channel.id is None or self.by_id.get(channel.id) is not channel:
            return
        if reusable:
            del self.by_id[channel.id]
            if self._pool is not None:
                self._pool.give_back(channel.id)
        if channel.announced:
            self._announced -= 1
            self._announced_bytes -= _text_bytes(channel.label, channel.protocol)


def _text_bytes(label: str, protocol: str) -> int:
    return len(encode_text(label)) + len(encode_text(protocol))
